"""`step.send`: accepted once, under ids that do not change."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.engine.attempts import Engine
from worchflow import Context, Event, SyncContext
from worchflow.foundations.errors import StoreUnavailable
from worchflow.foundations.ids import derived_id, step_id
from worchflow.model.events import sent_id
from worchflow.model.settlement import Completed, Failed, Released
from worchflow.model.step_kind import StepKind


class Paid(Event[None], name="paid", key="order_id"):
    order_id: str


async def sends(ctx: Context[None]) -> str:
    return await ctx.step.send("Tell", Paid(order_id="o-1"))


def sends_in_a_thread(ctx: SyncContext[None]) -> str:
    return ctx.step.send("Tell", Paid(order_id="o-1"))


async def sends_many(ctx: Context[None]) -> list[str]:
    messages = [Paid(order_id="o-1"), {"name": "any", "data": [1]}]
    return await ctx.step.send("Tell", messages)


async def accepted(engine: Engine, id: str) -> Any:
    stored = await engine.backend.executions.get(id)
    assert stored is not None
    return stored.event_name, stored.event_data


@pytest.mark.parametrize("handler", [sends, sends_in_a_thread])
async def test_one_message_gives_its_id(engine: Engine, handler: Any) -> None:
    settlement = await engine.settlement(handler)

    (step,) = await engine.steps.recorded()
    assert step.result is not None
    assert settlement == Completed(step.result)
    assert (step.title, step.kind) == ("Tell", StepKind.SEND)
    data = '{"order_id":"o-1"}'
    assert await accepted(engine, step.result.strip('"')) == ("paid", data)
    # From its record.
    assert await engine.settlement(handler) == settlement


async def test_several_give_their_ids_in_order(engine: Engine) -> None:
    assert isinstance(await engine.settlement(sends_many), Completed)

    claim = await engine._claim()
    ids = [derived_id(claim.execution.nonce, step_id("Tell"), n) for n in range(2)]
    (step,) = await engine.steps.recorded()
    assert step.result == f'["{ids[0]}","{ids[1]}"]'
    assert await accepted(engine, ids[1]) == ("any", "[1]")
    # Those who wait for it are told as well.
    first = await engine.backend.executions.get(ids[0])
    assert first is not None
    assert sent_id(ids[0]) == f"execution:{ids[0]}"


async def test_what_was_sent_and_not_recorded_is_not_sent_again(
    engine: Engine,
) -> None:
    engine.steps.failures = [ConnectionResetError("the worker dies")]
    await engine.settlement(sends)
    assert await engine.steps.recorded() == []

    changed: list[str] = []

    async def other_data(ctx: Context[None]) -> str:
        changed.append(await ctx.step.send("Tell", Paid(order_id="o-2")))
        return changed[0]

    assert isinstance(await engine.settlement(other_data), Completed)
    assert await accepted(engine, changed[0]) == ("paid", '{"order_id":"o-1"}')


async def test_a_store_that_does_not_answer_is_asked_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions = engine.backend.executions
    insert, failures = executions.insert, [StoreUnavailable("away")]

    async def failing(new: Any) -> Any:
        outcome = await insert(new)
        if failures:
            raise failures.pop()
        return outcome

    monkeypatch.setattr(executions, "insert", failing)

    assert isinstance(await engine.settlement(sends_many), Completed)
    assert failures == []


async def test_nothing_leaves_a_claim_that_cannot_settle(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cannot(_: object) -> bool:
        return False

    monkeypatch.setattr(engine.steps, "flush", cannot)

    outcome = await (await engine.runner(sends)).run()

    assert outcome is not None
    assert isinstance(outcome.settlement, Released)
    # Else the next attempt would take it for sent.
    assert await engine.steps.recorded() == []
    claim = await engine._claim()
    first = derived_id(claim.execution.nonce, step_id("Tell"))
    assert await engine.backend.executions.get(first) is None


@pytest.mark.parametrize(
    "messages",
    [
        [Paid(order_id="o-1"), {"name": "paid", "data": {"order_id": object()}}],
        [Paid(order_id="o-1"), {"name": "paid"}],
        [Paid(order_id="o-1"), "paid"],
    ],
)
async def test_a_message_that_cannot_be_sent_fails_the_execution_at_once(
    engine: Engine, messages: list[Any]
) -> None:
    async def handler(ctx: Context[None]) -> None:
        await ctx.step.send("Tell", messages)

    settlement = await engine.settlement(handler, retries=3)

    assert isinstance(settlement, Failed)
    claim = await engine._claim()
    first = derived_id(claim.execution.nonce, step_id("Tell"), 0)
    assert await engine.backend.executions.get(first) is None
