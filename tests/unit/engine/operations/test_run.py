"""`step.run`: a function is called, with retries of the step, and recorded once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from typing_extensions import override

from tests.runtimes import ManualRuntime
from tests.unit.engine.attempts import EXECUTION, Engine
from worchflow import Context, Retry, StepFailed
from worchflow.engine.execution_deadline import ExecutionDeadline
from worchflow.model.records import ExecutionStatus, StepStatus
from worchflow.model.settlement import Completed, Failed, Suspended
from worchflow.model.step_kind import StepKind
from worchflow.worker.lease import Lease


def failing(times: int, error: BaseException) -> Callable[[], Any]:
    """A function that fails so often, then gives the number of its calls."""
    calls = 0

    async def function() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error
        return calls

    return function


async def suspension(engine: Engine, handler: Any) -> Suspended:
    """Run an attempt that ends suspended."""
    outcome = await (await engine.runner(handler)).run()
    assert outcome is not None
    assert isinstance(outcome.settlement, Suspended)
    return outcome.settlement


TWICE = Retry(max_retries=2, delay=0)


async def test_a_step_is_tried_again_by_its_own_policy(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> Any:
        run = ctx.step.options(retries=TWICE).run
        return await run("Fetch", failing(2, ValueError("bad")))

    assert await engine.settlement(handler) == Completed("3")
    (recorded,) = await engine.steps.recorded()
    assert (recorded.attempts, recorded.result) == (3, "3")


async def test_a_step_out_of_tries_is_recorded_as_failed_and_raises(
    engine: Engine,
) -> None:
    caught: list[StepFailed] = []

    async def handler(ctx: Context[None]) -> str:
        try:
            run = ctx.step.options(retries=TWICE).run
            await run("Fetch", failing(9, ValueError("bad")))
        except StepFailed as error:
            caught.append(error)
        return "went another way"

    for _ in range(2):  # the second reads the record
        assert await engine.settlement(handler) == Completed('"went another way"')

    assert [each.error_type for each in caught] == ["ValueError"] * 2
    (recorded,) = await engine.steps.recorded()
    assert (recorded.status, recorded.attempts) == (StepStatus.FAILED, 3)
    assert engine.steps.asked == 1


async def test_a_long_pause_suspends_until_the_next_try(engine: Engine) -> None:
    calls: list[str] = []
    policy = Retry(max_retries=2, delays=["1h"])

    def function() -> None:
        calls.append("fetch")
        raise ValueError("bad")

    async def handler(ctx: Context[None]) -> Any:
        return await ctx.step.options(retries=policy).run("Fetch", function)

    first = await suspension(engine, handler)
    second = await suspension(engine, handler)

    assert first.status is ExecutionStatus.SLEEPING
    assert first.reason == 'try 2 of step "Fetch", after ValueError'
    (wait,) = await engine.backend.waits.all(EXECUTION)
    assert (wait.kind, wait.tries, wait.deadline) == (StepKind.RUN, 1, first.until)
    # What is stored counts, and was not tried meanwhile.
    assert (second.until, second.reason) == (first.until, 'try 2 of step "Fetch"')
    assert len(calls) == 1


async def test_the_count_of_tries_survives_a_suspension(engine: Engine) -> None:
    resumed: list[int] = []
    policy = Retry(max_retries=2, delays=["300ms"])

    def function() -> None:
        resumed.append(engine.runtime.parking.resumed)
        raise ValueError("bad")

    async def handler(ctx: Context[None]) -> Any:
        return await ctx.step.options(retries=policy).run("Fetch", function)

    engine.slot.park_for = 0.1
    await suspension(engine, handler)
    engine.slot.park_for = 60.0
    assert isinstance(await engine.settlement(handler), Failed)

    (recorded,) = await engine.steps.recorded()
    assert (recorded.status, recorded.attempts) == (StepStatus.FAILED, 3)
    # It stayed for what was left, and took a slot before its next try.
    assert resumed == [0, 1, 1]


async def test_a_try_that_would_come_after_the_deadline_is_not_waited_for(
    engine: Engine,
) -> None:
    policy = Retry(max_retries=2, delays=["1h"])

    async def handler(ctx: Context[None]) -> str:
        try:
            run = ctx.step.options(retries=policy).run
            await run("Fetch", failing(9, ValueError("bad")))
        except StepFailed:
            return "went another way, in time"
        return ""

    runner = await engine.runner(handler)
    ends = asyncio.get_running_loop().time() + 60
    at = engine.runtime.clock.now() + timedelta(seconds=60)
    runner.attempt.deadline = ExecutionDeadline(at, ends)
    outcome = await runner.run()

    assert outcome is not None
    assert isinstance(outcome.settlement, Completed)
    (recorded,) = await engine.steps.recorded()
    assert (recorded.status, recorded.attempts) == (StepStatus.FAILED, 1)


async def test_without_a_policy_a_failure_is_the_handlers(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> Any:
        return await ctx.step.run("Fetch", failing(1, KeyError("key")))

    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert (settlement.error.type, settlement.error.step) == ("KeyError", "Fetch")
    assert await engine.steps.recorded() == []


async def test_a_step_that_exits_has_failed(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> Any:
        return await ctx.step.run("Fetch", failing(1, SystemExit(2)))

    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert "the step called sys.exit" in settlement.error.message


async def test_a_result_has_the_type_that_the_code_names(engine: Engine) -> None:
    async def price() -> int:
        return "7"  # type: ignore[return-value]

    async def handler(ctx: Context[None]) -> list[Any]:
        run = ctx.step.options(as_type=tuple[int, int]).run
        pair = await run("Pair", lambda: (1, 2))
        return [isinstance(pair, tuple), await ctx.step.run("Price", price)]

    settlement = await engine.settlement(handler)

    # The annotation says int; text is not taken for one.
    assert isinstance(settlement, Failed)
    assert await engine.steps.results() == {"Pair": "[1,2]"}


async def test_a_function_starts_only_once_the_lease_is_certain(engine: Engine) -> None:
    clock = ManualRuntime()
    happened: list[str] = []

    class RenewedOnceAskedFor(Lease):
        @override
        async def regain(self) -> None:
            happened.append("waits")
            self.renewed(clock.monotonic())
            await super().regain()

    engine.lease = RenewedOnceAskedFor(engine.worker, 10.0, clock)
    engine.lease.renewed(clock.monotonic())

    async def effect() -> None:
        happened.append("runs")

    async def handler(ctx: Context[None]) -> None:
        clock.seconds += engine.lease.ttl
        await ctx.step.run("careful", effect)

    assert await engine.settlement(handler) == Completed("null")
    assert happened == ["waits", "runs"]
