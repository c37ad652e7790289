"""`step.token`: what is stored of it, and how its answer is recorded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from tests.unit.engine.attempts import EXECUTION, Engine
from tests.waiting import until
from worchflow import Context, StepResultChanged, SyncContext, event
from worchflow.engine.answers import Answers
from worchflow.engine.sending import Sender
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.events import NewEvent
from worchflow.model.records import ExecutionStatus, StepStatus
from worchflow.model.settlement import Completed, Failed, Released, Suspended
from worchflow.model.step_kind import StepKind
from worchflow.model.tokens import ANSWER_EVENT, NO_ANSWER, answer_id


class Decision(BaseModel):
    ok: bool


async def asks(ctx: Context[None]) -> bool:
    token = await ctx.step.token("Manager", Decision)
    return (await token).ok


def asks_in_a_thread(ctx: SyncContext[None]) -> bool:
    token = ctx.step.token("Manager", Decision)
    return token.result().ok


BOTH = pytest.mark.parametrize("handler", [asks, asks_in_a_thread])


async def token_of(engine: Engine) -> str:
    """The id of the token that the execution waits for."""
    (wait,) = await engine.backend.waits.all(EXECUTION)
    assert wait.event is not None
    assert wait.event.key is not None
    return wait.event.key


async def complete(engine: Engine, token: str, answer: Any) -> None:
    async def ready() -> None:
        pass

    sender = Sender(store=engine.backend, payloads=engine.runtime.payloads)
    await Answers(sender).complete(token, answer, ready)


async def suspended(engine: Engine, handler: Any) -> Suspended:
    """Run a handler until it is suspended."""
    engine.slot.park_for = 0.05
    outcome = await (await engine.runner(handler)).run()
    assert outcome is not None
    assert isinstance(outcome.settlement, Suspended)
    return outcome.settlement


@BOTH
async def test_it_is_suspended_until_it_has_its_answer(
    engine: Engine, handler: Any
) -> None:
    settlement = await suspended(engine, handler)
    assert settlement.status is ExecutionStatus.WAITING
    assert settlement.reason == 'the answer to token "Manager"'
    assert settlement.until is None
    assert await engine.steps.recorded() == []
    token = await token_of(engine)
    assert len(token) == 32

    # Another attempt finds the same token.
    await suspended(engine, handler)
    assert await token_of(engine) == token
    await complete(engine, token, Decision(ok=True))

    assert await engine.settlement(handler) == Completed("true")
    (step,) = await engine.steps.recorded()
    assert (step.title, step.kind, step.status, step.result) == (
        *("Manager", StepKind.TOKEN, StepStatus.COMPLETED, '{"ok":true}'),
    )
    # From its record, and with the same id.
    assert await engine.settlement(handler) == Completed("true")
    assert await token_of(engine) == token


@BOTH
async def test_what_comes_while_it_is_parked_is_found_once_it_is_told(
    engine: Engine, handler: Any
) -> None:
    engine.slot.park_for = 60
    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    await complete(engine, await token_of(engine), Decision(ok=False))

    runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)
    assert outcome is not None
    assert outcome.settlement == Completed("false")


async def asks_for_a_moment(ctx: Context[None]) -> str:
    token = await ctx.step.token("Manager", Decision, timeout=0.05)
    return f"{await token}"


async def test_a_time_that_is_over_takes_the_place_of_an_answer(engine: Engine) -> None:
    assert await engine.settlement(asks_for_a_moment) == Completed('"None"')

    token = await token_of(engine)
    late = NewEvent(id=answer_id(token), name=ANSWER_EVENT, key=token, data='"late"')
    stored = await engine.backend.events.append(late)
    assert (stored.name, stored.is_new) == (NO_ANSWER, False)
    assert await engine.settlement(asks_for_a_moment) == Completed('"None"')


async def test_an_answer_that_was_in_time_is_taken_however_late_the_look(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, find = engine.backend.events, engine.backend.events.find

    async def answered_after_the_look(*arguments: Any) -> Any:
        look = await find(*arguments)
        if look.left == 0:
            # As if the server's clock had gone back: accepted later, stamped earlier.
            append = events.append

            async def in_time(event: NewEvent) -> Any:
                key = event.key
                answer = NewEvent(
                    id=event.id, name=ANSWER_EVENT, key=key, data='{"ok":true}'
                )
                stored = await append(answer)
                (wait,) = await engine.backend.waits.all(EXECUTION)
                assert wait.deadline is not None
                return replace(stored, at=wait.deadline - timedelta(milliseconds=1))

            monkeypatch.setattr(events, "append", in_time)
        return look

    monkeypatch.setattr(events, "find", answered_after_the_look)

    assert await engine.settlement(asks_for_a_moment) == Completed('"ok=True"')


async def test_an_answer_that_no_longer_decodes_fails_the_execution_at_once(
    engine: Engine,
) -> None:
    await suspended(engine, asks)
    await complete(engine, await token_of(engine), {"ok": True})

    async def changed(ctx: Context[None]) -> int:
        return await (await ctx.step.token("Manager", int))

    settlement = await engine.settlement(changed, retries=3)

    assert isinstance(settlement, Failed)
    assert 'the answer to the token "Manager" holds' in settlement.error.message
    assert await engine.steps.recorded() == []
    assert await engine.settlement(asks) == Completed("true")


async def test_stores_that_do_not_answer_are_asked_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, append = engine.backend.events, engine.backend.events.append
    failures = [StoreUnavailable("away")]

    async def failing(event: NewEvent) -> Any:
        if failures:
            raise failures.pop()
        return await append(event)

    monkeypatch.setattr(events, "append", failing)

    assert await engine.settlement(asks_for_a_moment) == Completed('"None"')
    assert failures == []


async def test_no_token_is_given_out_by_an_attempt_that_cannot_settle(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_out: list[str] = []

    async def cannot(_: object) -> bool:
        return False

    async def handler(ctx: Context[None]) -> None:
        given_out.append((await ctx.step.token("Manager", Decision)).id)

    monkeypatch.setattr(engine.steps, "flush", cannot)

    outcome = await (await engine.runner(handler)).run()

    assert outcome is not None
    assert isinstance(outcome.settlement, Released)
    assert given_out == []
    assert await engine.backend.waits.all(EXECUTION) == []


async def waits(ctx: Context[None]) -> None:
    await ctx.step.wait_for_event("Manager", event("news", str))


@pytest.mark.parametrize(
    ("first", "then", "was"), [(waits, asks, "wait"), (asks, waits, "token")]
)
async def test_a_stored_wait_of_another_kind_is_refused(
    engine: Engine, first: Any, then: Any, was: str
) -> None:
    await suspended(engine, first)

    settlement = await engine.settlement(then)

    assert isinstance(settlement, Failed)
    assert f"is recorded as step.{was}" in settlement.error.message


async def test_a_record_of_another_kind_is_refused(engine: Engine) -> None:
    await engine.record("Manager", '"x"')

    settlement = await engine.settlement(asks)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == StepResultChanged.__name__
