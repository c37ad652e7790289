"""`step.sleep` and `step.sleep_until`: what is stored, and when it is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.stores import now
from tests.unit.engine.attempts import EXECUTION, Engine
from worchflow import Context, StepResultChanged, SyncContext
from worchflow.definitions.calls import SleepCall
from worchflow.engine.operations.sleep import Sleep
from worchflow.foundations.errors import StoreUnavailable
from worchflow.foundations.ids import step_id
from worchflow.model.records import ExecutionStatus, StepStatus
from worchflow.model.settlement import Completed, Failed, Suspended
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import NewWait


async def naps(ctx: Context[None]) -> str:
    await ctx.step.sleep("Nap", "50ms")
    return "rested"


def naps_in_a_thread(ctx: SyncContext[None]) -> str:
    ctx.step.sleep("Nap", 0.05)
    return "rested"


@pytest.mark.parametrize("handler", [naps, naps_in_a_thread])
async def test_a_short_sleep_is_recorded_and_not_stored_before(
    engine: Engine, handler: Any
) -> None:
    began = asyncio.get_running_loop().time()

    assert await engine.settlement(handler) == Completed('"rested"')

    assert asyncio.get_running_loop().time() - began >= 0.05
    (step,) = await engine.steps.recorded()
    assert (step.title, step.kind, step.status, step.result, step.attempts) == (
        "Nap",
        StepKind.SLEEP,
        StepStatus.COMPLETED,
        "null",
        1,
    )
    # The second time it is over at once.
    began = asyncio.get_running_loop().time()
    assert await engine.settlement(handler) == Completed('"rested"')
    assert asyncio.get_running_loop().time() - began < 0.05


async def sleeps_long(ctx: Context[None]) -> None:
    await ctx.step.sleep("Month", timedelta(days=30))


def sleeps_long_in_a_thread(ctx: SyncContext[None]) -> None:
    ctx.step.sleep("Month", timedelta(days=30))


@pytest.mark.parametrize("handler", [sleeps_long, sleeps_long_in_a_thread])
async def test_a_long_sleep_suspends_at_once(engine: Engine, handler: Any) -> None:
    began = now()
    outcome = await (await engine.runner(handler)).run()

    assert outcome is not None
    settlement = outcome.settlement
    assert isinstance(settlement, Suspended)
    assert settlement.status is ExecutionStatus.SLEEPING
    assert settlement.reason == 'the end of sleep "Month"'
    assert settlement.until is not None
    assert settlement.started_at is not None
    assert abs(settlement.until - began - timedelta(days=30)) < timedelta(seconds=10)
    assert settlement.pause == 0
    (wait,) = await engine.backend.waits.all(EXECUTION)
    assert (wait.title, wait.deadline) == ("Month", settlement.until)
    assert await engine.steps.recorded() == []
    assert outcome.notice.name == "execution:suspended"


async def test_the_deadline_stays_where_it_was_first(engine: Engine) -> None:
    first, second = [await (await engine.runner(sleeps_long)).run() for _ in range(2)]

    assert first is not None
    assert second is not None
    assert isinstance(first.settlement, Suspended)
    assert isinstance(second.settlement, Suspended)
    assert first.settlement.until == second.settlement.until


async def test_a_moment_that_has_passed_ends_it_at_once(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> None:
        await ctx.step.sleep_until("Cutoff", now() - timedelta(days=1))

    assert await engine.settlement(handler) == Completed("null")


async def test_waits_that_are_over_are_removed_with_the_next_suspension(
    engine: Engine,
) -> None:
    engine.slot.park_for = 0.01

    async def handler(ctx: Context[None]) -> None:
        await ctx.step.sleep("First", "100ms")
        await ctx.step.sleep("Second", "1h")

    outcomes: list[Any] = []
    while len(outcomes) < 2:
        outcomes.append(await (await engine.runner(handler)).run())
        assert isinstance(outcomes[-1].settlement, Suspended)
        await asyncio.sleep(0.1)

    assert await engine.steps.results() == {"First": "null"}
    assert [w.title for w in await engine.backend.waits.all(EXECUTION)] == ["Second"]


async def test_a_sleep_waits_for_a_store_that_is_away(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, failures = engine.backend.waits.add, [StoreUnavailable("away")] * 2

    async def refuse(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return await add(*args)

    monkeypatch.setattr(engine.backend.waits, "add", refuse)

    outcome = await (await engine.runner(sleeps_long)).run()

    assert outcome is not None
    assert isinstance(outcome.settlement, Suspended)


async def test_a_step_under_the_title_of_a_sleep_fails_the_execution(
    engine: Engine,
) -> None:
    await engine.settlement(naps)

    async def handler(ctx: Context[None]) -> None:
        await ctx.step.run("Nap", lambda: None)

    settlement = await engine.settlement(handler, retries=5)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == StepResultChanged.__name__
    assert "recorded as step.sleep" in settlement.error.message


async def test_a_sleep_under_the_title_of_a_step_fails_the_execution(
    engine: Engine,
) -> None:
    await engine.record("Nap")

    settlement = await engine.settlement(naps_in_a_thread, retries=5)

    assert isinstance(settlement, Failed)
    assert "recorded as step.run" in settlement.error.message


async def test_each_use_of_a_title_is_a_sleep_of_its_own(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> None:
        await ctx.step.sleep("Nap", 0)
        await ctx.step.sleep("Nap", 0)
        await ctx.step.options(key="c").sleep("Nap", 0)

    assert await engine.settlement(handler) == Completed("null")
    assert {step.step_id for step in await engine.steps.recorded()} == {
        *(step_id("Nap", use=1), step_id("Nap", use=2), step_id("Nap", key="c"))
    }


async def test_a_second_use_in_one_attempt_keeps_the_deadline(engine: Engine) -> None:
    """What was left is counted from when the store told of it."""
    attempt = await engine.attempt(naps)
    now = attempt.loop.time()
    attempt.began = now - 1000
    call, id_ = SleepCall("Nap", 500, None), step_id("Nap")
    wait = NewWait(step_id=id_, kind=StepKind.SLEEP, title="Nap", timeout=500)
    await attempt.journal.add_wait(wait)

    sleep = Sleep(attempt, call, id_, attempt.runtime.step_threads)
    waiting = await sleep._begin()

    assert waiting.at is not None
    assert now + 499 < waiting.at < now + 600
