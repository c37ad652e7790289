"""What only waits gives its slot back, and leaves; what else runs keeps it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from tests.stores import now
from tests.unit.engine.attempts import Engine
from tests.waiting import until
from worchflow import Context, StepFailed, SyncContext
from worchflow.engine import parking
from worchflow.engine.outcome import Outcome
from worchflow.engine.ownership import Interrupted, Interruption
from worchflow.model.records import StepStatus
from worchflow.model.settlement import Cancelled, Completed, Released, Suspended


async def run(engine: Engine, handler: Any, **options: Any) -> Outcome:
    """Run an attempt to its outcome."""
    outcome = await (await engine.runner(handler, **options)).run()
    assert outcome is not None
    return outcome


async def gathers(ctx: Context[None]) -> None:
    step = ctx.step
    await asyncio.gather(step.sleep("a", "1h"), step.sleep("b", "2h"))


async def groups(ctx: Context[None]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.step.sleep("a", "1h"))
        group.create_task(ctx.step.sleep("b", "2h"))


async def waits(ctx: Context[None]) -> None:
    sleeps = [ctx.step.sleep("a", 3600), ctx.step.sleep("b", 7200)]
    await asyncio.wait(list(map(asyncio.create_task, sleeps)))


@pytest.mark.parametrize("handler", [gathers, groups, waits])
async def test_what_waits_in_parallel_is_suspended_until_the_first(
    engine: Engine, handler: Any
) -> None:
    settlement = (await run(engine, handler)).settlement

    assert isinstance(settlement, Suspended)
    waiting = await engine.backend.waits.all("e-1")
    assert [wait.title for wait in waiting] == ["a", "b"]
    assert settlement.until == waiting[0].deadline
    assert settlement.reason == 'the end of sleep "a", the end of sleep "b"'


async def test_code_beside_a_wait_is_not_cut_off(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parking, "WARN_AFTER_SECONDS", 0.05)
    ended: list[str] = []

    async def own_code() -> None:
        await asyncio.sleep(0.3)
        ended.append("own code")

    async def handler(ctx: Context[None]) -> None:
        await asyncio.gather(ctx.step.sleep("a", "1h"), own_code())

    with caplog.at_level(logging.WARNING, "worchflow.engine"):
        settlement = (await run(engine, handler)).settlement

    assert isinstance(settlement, Suspended)
    assert ended == ["own code"]
    assert 'waits for the end of sleep "a", and other code' in caplog.text


async def test_a_step_beside_a_wait_is_not_cut_off(engine: Engine) -> None:
    async def slow() -> str:
        await asyncio.sleep(0.2)
        return "done"

    async def handler(ctx: Context[None]) -> None:
        await asyncio.gather(ctx.step.sleep("a", "1h"), ctx.step.run("b", slow))

    settlement = (await run(engine, handler)).settlement

    assert isinstance(settlement, Suspended)
    assert await engine.steps.results() == {"b": '"done"'}


async def test_other_threads_of_a_plain_handler_are_not_taken_for_it(
    engine: Engine,
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def handler(ctx: SyncContext[None]) -> None:
        def sleeps() -> None:
            with contextlib.suppress(Interrupted):
                ctx.step.sleep("a", "1h")

        threading.Thread(target=sleeps).start()
        began.set()
        assert go_on.wait(10)
        ctx.step.sleep("b", "1h")

    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(began.is_set)
    await asyncio.sleep(0.2)
    assert not runner.attempt.parking.is_parked
    go_on.set()
    outcome = await running

    assert outcome is not None
    assert isinstance(outcome.settlement, Suspended)


async def test_what_comes_soon_continues_in_place(engine: Engine) -> None:
    runs: list[int] = []

    async def handler(ctx: Context[None]) -> int:
        runs.append(1)
        await ctx.step.sleep("a", "100ms")
        await ctx.step.sleep("b", "100ms")
        return len(runs)

    assert (await run(engine, handler)).settlement == Completed("1")
    counts = engine.runtime.parking
    assert (counts.parked, counts.resumed, counts.suspended) == (2, 2, 0)


async def test_what_waits_on_after_one_of_its_waits_is_parked_again(
    engine: Engine,
) -> None:
    async def handler(ctx: Context[None]) -> None:
        await asyncio.gather(ctx.step.sleep("a", "100ms"), ctx.step.sleep("b", "1h"))

    engine.slot.park_for = 0.5
    async with asyncio.timeout(20):
        settlement = (await run(engine, handler)).settlement

    assert isinstance(settlement, Suspended)
    assert settlement.reason == 'the end of sleep "b"'
    assert await engine.steps.results() == {"a": "null"}
    assert engine.runtime.parking.parked == 2


async def test_what_can_continue_and_finds_no_slot_is_released(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.slot.park_for = 0.2
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(engine.slot, "ask", loop.create_future)

    async def handler(ctx: Context[None]) -> None:
        await ctx.step.sleep("a", "100ms")
        raise AssertionError("it has no slot")

    settlement = (await run(engine, handler)).settlement

    assert settlement == Released()
    # It does not sleep again.
    assert await engine.steps.results() == {"a": "null"}


async def test_a_timer_of_its_own_lets_a_parked_attempt_continue(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking.Parking, "_seconds_to_keep", lambda _: 0.1)

    async def handler(ctx: Context[None]) -> str:
        # Of its own, and in memory: it wakes the handler without any operation.
        sleep = asyncio.create_task(ctx.step.sleep("a", "300ms"))
        await asyncio.wait([sleep], timeout=0.05)
        await asyncio.sleep(0.3)
        await sleep
        return "through"

    assert (await run(engine, handler)).settlement == Completed('"through"')
    assert engine.slot.taken == 1


@pytest.mark.parametrize("before_it", [False, True], ids=["after", "before"])
async def test_a_wait_that_ends_as_it_was_kept_long_enough_asks_for_a_slot(
    engine: Engine, *, before_it: bool
) -> None:
    engine.slot.park_for = 0.4

    async def handler(ctx: Context[None]) -> str:
        await ctx.step.sleep("a", "300ms")
        return "through"

    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: runner.attempt.parking.is_parked)
    # The loop stands still: both timers are due in the same turn.
    time.sleep(0.6)  # noqa: ASYNC251
    if before_it:
        runner.attempt.parking._expire()
    outcome = await running

    assert outcome is not None
    assert outcome.settlement == Completed('"through"')
    assert engine.slot.taken == 0


async def test_a_timeout_of_its_own_ends_a_wait(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> str:
        try:
            async with asyncio.timeout(0.1):
                await ctx.step.sleep("a", "900ms")
        except TimeoutError:
            return "too long"
        return "through"

    assert (await run(engine, handler)).settlement == Completed('"too long"')


async def test_finally_runs_and_except_exception_does_not(engine: Engine) -> None:
    seen: list[str] = []

    async def handler(ctx: Context[None]) -> None:
        try:
            await ctx.step.sleep("a", "1h")
        except Exception:  # noqa: BLE001
            seen.append("except")
        finally:
            seen.append("finally")

    assert isinstance((await run(engine, handler)).settlement, Suspended)
    assert seen == ["finally"]


async def test_what_is_cancelled_while_it_is_parked_ends(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> None:
        await ctx.step.sleep("a", "900ms")

    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: runner.attempt.parking.is_parked)
    runner.attempt.scope.interrupt(Interruption.CANCELLED)
    outcome = await running

    assert outcome is not None
    assert isinstance(outcome.settlement, Cancelled)


async def test_a_worker_that_stops_suspends_what_it_has_parked(engine: Engine) -> None:
    engine.slot.park_for = 0.5

    async def handler(ctx: Context[None]) -> None:
        soon = now() + timedelta(seconds=0.4)
        step = ctx.step
        await asyncio.gather(step.sleep_until("a", soon), step.sleep("b", "1h"))

    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    assert engine.slot.suspend is not None
    assert engine.slot.suspend()
    assert not engine.slot.suspend()
    outcome = await running

    assert outcome is not None
    assert isinstance(outcome.settlement, Suspended)


async def test_a_sleep_that_the_store_does_not_know_is_waited_for(
    engine: Engine,
) -> None:
    async def handler(ctx: Context[None]) -> str:
        await ctx.step.sleep("a", "300ms")
        return "through"

    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    assert engine.slot.suspend is not None
    assert not engine.slot.suspend()
    outcome = await running

    assert outcome is not None
    assert outcome.settlement == Completed('"through"')


async def test_the_timeout_of_a_function_does_not_count_waits(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> str:
        await ctx.step.sleep("a", "400ms")
        return "through"

    settlement = (await run(engine, handler, timeout="200ms")).settlement
    assert settlement == Completed('"through"')


class DeclinedError(Exception):
    pass


async def test_a_failure_that_was_caught_is_repeated_by_a_resume_alone(
    engine: Engine,
) -> None:
    calls: list[str] = []
    caught: list[BaseException] = []

    def charge() -> None:
        calls.append("charge")
        raise DeclinedError("no funds")

    async def handler(ctx: Context[None]) -> None:
        try:
            await ctx.step.run("Charge", charge)
        except DeclinedError as error:
            caught.append(error)
        await ctx.step.sleep("a", "1h")

    for _ in range(2):
        assert isinstance((await run(engine, handler)).settlement, Suspended)

    assert calls == ["charge"]
    first, second = caught
    assert type(first) is DeclinedError
    assert isinstance(second, StepFailed)
    assert (second.title, second.error_message) == ("Charge", "no funds")
    (step,) = await engine.steps.recorded()
    assert (step.status, step.attempt) == (StepStatus.FAILED, 1)


async def test_a_replay_that_took_long_is_left_alone_for_longer(engine: Engine) -> None:
    await engine.record("before")

    async def handler(ctx: Context[None]) -> None:
        await asyncio.sleep(0.05)
        await ctx.step.run("before", lambda: None)
        await ctx.step.sleep("a", "1h")

    settlement = (await run(engine, handler)).settlement

    assert isinstance(settlement, Suspended)
    assert 0.5 <= settlement.pause < 5


async def never_awaited(ctx: Context[None]) -> str:
    ctx.step.sleep("a", "1h")  # type: ignore[unused-coroutine]
    return "returned"


async def in_a_task_of_its_own(ctx: Context[None]) -> str:
    ctx.data_task = asyncio.create_task(ctx.step.sleep("a", "1h"))  # type: ignore[attr-defined]
    return "returned"


@pytest.mark.parametrize("handler", [never_awaited, in_a_task_of_its_own])
async def test_a_sleep_that_the_handler_does_not_await_is_suspended_too(
    engine: Engine, handler: Any
) -> None:
    settlement = (await run(engine, handler)).settlement

    assert isinstance(settlement, Suspended)
    assert [wait.title for wait in await engine.backend.waits.all("e-1")] == ["a"]
