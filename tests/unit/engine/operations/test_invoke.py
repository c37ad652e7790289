"""`step.invoke` and `step.start`: one child, found again, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.stores import claim_one, joined, settle, stored
from tests.unit.engine.attempts import EXECUTION, Engine
from tests.waiting import until
from worchflow import Context, Event, SyncContext
from worchflow.engine.parking import Parking, Waiting
from worchflow.foundations.errors import (
    ExecutionCancelled,
    ExecutionFailed,
    StoreUnavailable,
)
from worchflow.foundations.ids import derived_id, part_id, step_id
from worchflow.model.children import MAX_DEPTH
from worchflow.model.records import ErrorInfo, ExecutionStatus, StepStatus
from worchflow.model.settlement import Cancelled as CancelledSettlement
from worchflow.model.settlement import Completed, Failed, RetryAt, Suspended
from worchflow.model.step_kind import StepKind

S = ExecutionStatus
ERROR = ErrorInfo(type="ValueError", message="no such order", traceback="line 1")


class Receipt(Event[str], name="receipt"):
    order: str


async def invokes(ctx: Context[None]) -> str:
    return await ctx.step.invoke("Receipt", Receipt(order="o-1"))


def invokes_in_a_thread(ctx: SyncContext[None]) -> str:
    return ctx.step.invoke("Receipt", Receipt(order="o-1"))


async def starts(ctx: Context[None]) -> str:
    child = await ctx.step.start("Receipt", Receipt(order="o-1"))
    return await child.result()


async def child_id(engine: Engine) -> str:
    nonce = (await stored(engine.backend, EXECUTION)).nonce
    return derived_id(nonce, step_id("Receipt"))


async def end_child(engine: Engine, settlement: Any) -> None:
    """Claim the child and end it."""
    worker = await joined(engine.backend, "receipt")
    claim = await claim_one(engine.backend, worker)
    assert (await settle(engine.backend, claim, settlement)).applied


async def suspended(engine: Engine, handler: Any) -> Suspended:
    """Run a handler until it is suspended."""
    engine.slot.park_for = 0.05
    outcome = await (await engine.runner(handler)).run()
    assert outcome is not None
    assert isinstance(outcome.settlement, Suspended)
    return outcome.settlement


@pytest.mark.parametrize("handler", [invokes, invokes_in_a_thread, starts])
async def test_it_is_suspended_until_its_child_has_ended(
    engine: Engine, handler: Any
) -> None:
    settlement = await suspended(engine, handler)
    child = await stored(engine.backend, id_ := await child_id(engine))

    assert (settlement.status, settlement.awaits_children) == (S.WAITING, True)
    assert settlement.until is None
    assert settlement.reason is not None
    assert settlement.reason.startswith(f"the result of child {id_} at")
    assert (child.event_name, child.event_data) == ("receipt", '{"order":"o-1"}')
    assert child.parent is not None
    assert (child.parent.id, child.parent.step_id) == (EXECUTION, step_id("Receipt"))
    assert (child.depth, child.parent.leaves) == (1, False)
    # Another attempt finds the same child.
    await suspended(engine, handler)
    await end_child(engine, Completed('"receipt"'))

    assert await engine.settlement(handler) == Completed('"receipt"')
    *_, step = await engine.steps.recorded()
    assert (step.kind, step.status, step.result) == (
        *(StepKind.INVOKE, StepStatus.COMPLETED, '"receipt"'),
    )
    # From its record.
    assert await engine.settlement(handler) == Completed('"receipt"')


async def test_a_start_is_recorded_by_itself(engine: Engine) -> None:
    await suspended(engine, starts)

    (step,) = await engine.steps.recorded()
    assert (step.title, step.kind) == ("Receipt", StepKind.START)
    assert step.result == f'"{await child_id(engine)}"'
    await end_child(engine, Completed('"receipt"'))
    await engine.settlement(starts)
    _, result = await engine.steps.recorded()
    assert result.title == "Receipt: result"
    assert result.step_id == part_id(step_id("Receipt"), "=")


async def test_what_ends_while_it_is_parked_is_found_once_it_is_told(
    engine: Engine,
) -> None:
    engine.slot.park_for = 60
    runner = await engine.runner(invokes)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    await end_child(engine, Completed('"receipt"'))

    runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)
    assert outcome is not None
    assert outcome.settlement == Completed('"receipt"')


@pytest.mark.parametrize(
    ("settlement", "kind", "said"),
    [
        (Failed(error=ERROR), ExecutionFailed, "ValueError: no such order"),
        (CancelledSettlement(reason="enough"), ExecutionCancelled, "cancelled: enough"),
        (CancelledSettlement(), ExecutionCancelled, "was cancelled"),
    ],
)
async def test_a_failure_of_the_child_is_recorded_and_fails_at_once(
    engine: Engine, settlement: Any, kind: type[Exception], said: str
) -> None:
    caught: list[Any] = []

    async def handler(ctx: Context[None]) -> str:
        try:
            return await ctx.step.invoke("Receipt", Receipt(order="o-1"))
        except Exception as error:
            caught.append(error)
            raise

    await suspended(engine, handler)
    await end_child(engine, settlement)

    for _ in range(2):
        # With retries left: what is recorded would only be raised again.
        ended = await engine.settlement(handler, retries=3)
        assert isinstance(ended, Failed)
        assert said in ended.error.message
    first, again = caught[-2:]
    assert type(first) is type(again) is kind
    assert str(first) == str(again)
    assert first.execution_id == again.execution_id == await child_id(engine)
    assert getattr(first, "reason", None) == getattr(settlement, "reason", None)


async def test_a_time_that_is_over_is_recorded_and_cancels_the_child(
    engine: Engine,
) -> None:
    caught: list[BaseException] = []

    async def handler(ctx: Context[None]) -> None:
        try:
            await ctx.step.invoke("Receipt", Receipt(order="o-1"), timeout=0.05)
        except TimeoutError as error:
            caught.append(error)
            raise

    ended = await engine.settlement(handler, retries=3)
    assert isinstance(ended, Failed)
    assert ended.error.type == "TimeoutError"
    child = await stored(engine.backend, await child_id(engine))
    assert (child.status, child.cancel_reason) == (
        S.CANCELLED,
        "its parent waited no longer than 50 ms",
    )
    assert isinstance(await engine.settlement(handler, retries=3), Failed)
    assert [str(each) for each in caught] == [str(caught[0])] * 2


async def test_a_child_that_ended_is_not_late(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> str:
        return await ctx.step.invoke("Receipt", Receipt(order="o-1"), timeout=60)

    settlement = await suspended(engine, handler)
    assert settlement.until is not None
    (wait,) = await engine.backend.waits.all(EXECUTION)
    assert wait.kind is StepKind.INVOKE
    await end_child(engine, Completed('"receipt"'))

    assert await engine.settlement(handler) == Completed('"receipt"')


async def test_a_result_of_another_type_fails_and_is_not_recorded(
    engine: Engine,
) -> None:
    await suspended(engine, invokes)
    await end_child(engine, Completed("[1]"))

    ended = await engine.settlement(invokes, retries=3)

    assert isinstance(ended, Failed)
    assert "the result of child" in ended.error.message
    assert await engine.steps.recorded() == []


async def test_data_that_does_not_fit_fails_before_anything_is_started(
    engine: Engine,
) -> None:
    async def handler(ctx: Context[None]) -> None:
        await ctx.step.invoke("Receipt", {"name": "receipt", "data": object()})

    ended = await engine.settlement(handler, retries=3)

    assert isinstance(ended, Failed)
    assert ended.error.type == "EventValidationError"
    assert await engine.backend.executions.get(await child_id(engine)) is None


async def test_there_is_an_end_to_children_of_children(engine: Engine) -> None:
    runner = await engine.runner(invokes)
    runner.attempt.claim.execution.depth = MAX_DEPTH  # type: ignore[misc]

    outcome = await runner.run()

    assert outcome is not None
    assert isinstance(outcome.settlement, Failed)
    assert "50 parents above it" in outcome.settlement.error.message
    assert await engine.backend.executions.get(await child_id(engine)) is None


async def test_a_store_that_does_not_answer_is_asked_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await suspended(engine, invokes)
    await end_child(engine, Completed('"receipt"'))
    failures = [StoreUnavailable("away")]
    children: Any = engine.backend.children
    find = children.find

    async def fails(ids: Any) -> Any:
        if failures:
            raise failures.pop()
        return await find(ids)

    monkeypatch.setattr(children, "find", fails)

    assert await engine.settlement(invokes) == Completed('"receipt"')
    assert not failures


async def test_a_claim_that_is_lost_starts_no_child(engine: Engine) -> None:
    runner = await engine.runner(invokes)
    other = await joined(engine.backend, "name")
    await settle(engine.backend, runner.attempt.claim, RetryAt(error=ERROR, delay=0))
    await claim_one(engine.backend, other)

    assert await runner.run() is None

    assert await engine.backend.executions.get(await child_id(engine)) is None


async def test_a_handle_cancels_its_child_once(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> str | None:
        child = await ctx.step.start("Receipt", Receipt(order="o-1"))
        await child.cancel(reason="enough")
        try:
            await child.result()
        except ExecutionCancelled as error:
            return error.reason
        return None

    assert await engine.settlement(handler) == Completed('"enough"')
    child = await stored(engine.backend, await child_id(engine))
    assert (child.status, child.cancel_reason) == (S.CANCELLED, "enough")
    assert await engine.settlement(handler) == Completed('"enough"')


async def test_a_child_that_the_handler_cancelled_stays_so_after_a_retry(
    engine: Engine,
) -> None:
    async def handler(ctx: Context[None]) -> str:
        child = await ctx.step.start("Receipt", Receipt(order="o-1"))
        await child.cancel()
        try:
            return await child.result()
        except ExecutionCancelled:
            raise ValueError("cancelled") from None

    runner = await engine.runner(handler)
    outcome = await runner.run()
    assert outcome is not None
    await settle(engine.backend, runner.attempt.claim, outcome.settlement)
    await engine.backend.executions.retry(EXECUTION)
    engine._held = None

    assert isinstance(await engine.settlement(handler), Failed)
    assert (await stored(engine.backend, await child_id(engine))).status is S.CANCELLED


async def test_two_tasks_that_wait_for_one_child_are_suspended(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> list[str]:
        child = await ctx.step.start("Receipt", Receipt(order="o-1"))
        return list(await asyncio.gather(child.result(), child.result()))

    settlement = await suspended(engine, handler)
    assert settlement.awaits_children
    await end_child(engine, Completed('"receipt"'))

    assert await engine.settlement(handler) == Completed('["receipt","receipt"]')


async def test_two_tasks_that_wait_for_one_child_continue_where_they_are(
    engine: Engine,
) -> None:
    engine.slot.park_for = 60

    async def handler(ctx: Context[None]) -> list[str]:
        child = await ctx.step.start("Receipt", Receipt(order="o-1"))
        return list(await asyncio.gather(child.result(), child.result()))

    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    await end_child(engine, Completed('"receipt"'))
    runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)
    assert outcome is not None
    assert outcome.settlement == Completed('["receipt","receipt"]')


async def test_the_first_timeout_counts_for_all_uses(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> None:
        child = await ctx.step.start("Receipt", Receipt(order="o-1"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.result(timeout=0.2), 0.05)
        await child.result()

    ended = await engine.settlement(handler)

    assert isinstance(ended, Failed)
    assert ended.error.type == "TimeoutError"


async def test_a_start_that_becomes_an_invoke_fails_clearly(engine: Engine) -> None:
    await suspended(engine, starts)

    ended = await engine.settlement(invokes)

    assert isinstance(ended, Failed)
    assert ended.error.type == "StepResultChanged"
    assert 'step "Receipt" is recorded as step.start' in ended.error.message


async def test_a_child_is_cancelled_before_it_is_recorded_that_its_time_is_over(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever dies in between has it done again: what is recorded is not."""
    seen: list[S] = []
    checkpoint = engine.steps.checkpoint

    async def look(claim: Any, step: Any) -> Any:
        seen.append((await stored(engine.backend, await child_id(engine))).status)
        return await checkpoint(claim, step)

    monkeypatch.setattr(engine.steps, "checkpoint", look)

    async def handler(ctx: Context[None]) -> None:
        await ctx.step.invoke("Receipt", Receipt(order="o-1"), timeout=0.05)

    assert isinstance(await engine.settlement(handler), Failed)
    assert seen == [S.CANCELLED]


async def test_a_deadline_does_not_move_from_one_use_to_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []
    wait = Parking.wait

    async def looked(self: Parking, waiting: Waiting) -> None:
        asked.append(waiting.at)
        await wait(self, waiting)

    monkeypatch.setattr(Parking, "wait", looked)

    async def handler(ctx: Context[None]) -> None:
        child = await ctx.step.start("Receipt", Receipt(order="o-1"))
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.result(timeout=60), 0.02)

    await engine.settlement(handler)

    first, *others = asked
    assert first is not None
    assert others
    assert set(others) == {first}
