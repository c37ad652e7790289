"""A step with retries of its own waits for its next try without a slot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import MakeApp
from tests.scenarios.killed_worker import KilledWorker
from tests.waiting import until
from worchflow import (
    Context,
    ExecutionStatus,
    Retry,
    StepFailed,
    SyncContext,
    Worchflow,
    WorkerOptions,
)

S = ExecutionStatus
ORDER = {"name": "order", "data": None}
BOTH = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
SLOWLY = Retry(max_retries=5, delays=["1200ms"])
"""Each pause is longer than an attempt is parked."""


class Courier:
    """Answers only the last of some calls."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self) -> str:
        self.left -= 1
        if self.left:
            raise ConnectionError("nobody answers")
        return "shipped"


def ordered(app: Worchflow[Any], courier: Any, *, sync: bool) -> None:
    """Register a function whose one step calls a courier."""
    if sync:

        @app.function("order")
        def in_a_thread(ctx: SyncContext[None]) -> Any:
            return ctx.step.options(retries=SLOWLY).run("Ship", courier)

    else:

        @app.function("order")
        async def order(ctx: Context[None]) -> Any:
            return await ctx.step.options(retries=SLOWLY).run("Ship", courier)


async def _is(handle: Any, status: ExecutionStatus) -> bool:
    return bool(await handle.status() is status)


@BOTH
async def test_it_leaves_its_worker_until_then_and_counts_on(
    app: Worchflow[Any], sync: bool
) -> None:
    ordered(app, Courier(3), sync=sync)

    @app.function("other")
    async def other(ctx: Context[None]) -> str:
        return "done"

    worker = app.worker()
    async with worker, app.client() as client:
        handle = await client.send(ORDER)
        await until(lambda: _is(handle, S.SLEEPING))
        sleeping = await client.get(handle.id)
        (wait,) = await client.waits(handle.id)
        between = await client.send({"name": "other", "data": None})
        assert await between.result(timeout=30) == "done"
        assert await handle.result(timeout=30) == "shipped"
        (step,) = await client.steps(handle.id)
        execution = await client.get(handle.id)

    assert sleeping.reason == 'try 2 of step "Ship", after ConnectionError'
    assert sleeping.worker is None
    assert (wait.title, wait.kind, wait.tries) == ("Ship", "run", 1)
    assert wait.deadline == sleeping.run_at
    assert step.attempts == 3
    # They all belong to the one attempt there was.
    assert (execution.attempt_count, len(execution.attempts)) == (0, 1)
    assert worker.parking.suspended == worker.parking.replayed == 2


async def test_its_tries_end_however_often_it_was_suspended(
    app: Worchflow[Any],
) -> None:
    courier = Courier(1000)

    @app.function("order")
    async def order(ctx: Context[None]) -> str:
        policy = Retry(max_retries=2, delays=["1200ms"])
        try:
            return await ctx.step.options(retries=policy).run("Ship", courier)
        except StepFailed as failed:
            return failed.error_type

    async with app.worker(), app.client() as client:
        handle = await client.send(ORDER)
        assert await handle.result(timeout=30) == "ConnectionError"
        (step,) = await client.steps(handle.id)

    assert courier.left == 1000 - 3
    assert (step.status, step.attempts) == ("failed", 3)


async def test_items_of_a_map_and_arms_of_a_race_wait_as_well(
    app: Worchflow[Any],
) -> None:
    couriers = [Courier(2), Courier(1), Courier(2)]
    calls: list[str] = []

    def never() -> str:
        calls.append("never")
        raise ConnectionError("nobody answers")

    @app.function("order")
    async def order(ctx: Context[None]) -> list[Any]:
        step = ctx.step.options(retries=SLOWLY)
        sent = await step.map("Ship", lambda courier: courier(), couriers)
        winner, _ = await ctx.step.race(
            "First", answer=step.run("Never", never), late=ctx.step.sleep("Late", "1s")
        )
        return [*sent, winner]

    worker = app.worker(options=WorkerOptions(park_for=0.3))
    async with worker, app.client() as client:
        handle = await client.send(ORDER)
        assert await handle.result(timeout=30) == [*["shipped"] * 3, "late"]

    assert [each.left for each in couriers] == [0, 0, 0]
    # Its next try would have come after the sleep.
    assert calls == ["never"]
    assert worker.parking.suspended >= 2


async def test_a_wake_up_does_not_hurry_it(
    app: Worchflow[Any],
) -> None:
    moments: list[float] = []

    def fail_once() -> str:
        moments.append(asyncio.get_running_loop().time())
        if len(moments) == 1:
            raise ConnectionError("nobody answers")
        return "shipped"

    @app.function("order")
    async def order(ctx: Context[None]) -> str:
        async def ship() -> str:
            return fail_once()

        return await ctx.step.options(retries=SLOWLY).run("Ship", ship)

    backend = app.backend()
    async with app.worker(), app.client(backend=backend) as client:
        handle = await client.send(ORDER)
        await until(lambda: _is(handle, S.SLEEPING))
        await backend.waits.wake([handle.id])
        assert await handle.result(timeout=30) == "shipped"

    assert moments[1] - moments[0] > 1.1


async def test_another_attempt_counts_on(app: Worchflow[Any]) -> None:
    courier, fails = Courier(2), asyncio.Event()

    async def fail() -> None:
        await fails.wait()
        raise ValueError("another step fails meanwhile")

    @app.function("order", retries=Retry(max_retries=1, delay=0))
    async def order(ctx: Context[None]) -> str:
        ship = ctx.step.options(retries=SLOWLY).run("Ship", courier)
        if ctx.attempt == 1:
            await asyncio.gather(ship, ctx.step.run("Fail", fail))
        return await ship

    async with app.worker(), app.client() as client:
        handle = await client.send(ORDER)

        async def has_failed_once() -> bool:
            return [each.tries for each in await client.waits(handle.id)] == [1]

        await until(has_failed_once)
        fails.set()
        assert await handle.result(timeout=30) == "shipped"
        (step,) = await client.steps(handle.id)
        execution = await client.get(handle.id)

    assert (step.attempts, execution.attempt_count) == (2, 1)


async def test_a_retry_by_hand_begins_to_count_anew(app: Worchflow[Any]) -> None:
    courier = Courier(4)
    ordered(app, courier, sync=False)

    async with app.worker(), app.client() as client:
        handle = await client.send(ORDER)
        await until(lambda: _is(handle, S.SLEEPING))
        await handle.cancel()
        await until(lambda: _is(handle, S.CANCELLED))
        await client.retry(handle.id)
        assert await handle.result(timeout=30) == "shipped"
        (step,) = await client.steps(handle.id)

    assert step.attempts == 3


FUNCTIONS = """
    def ship():
        with open(log) as file:
            number = file.read().count("try")
        note(f"try{number + 1}")
        raise ConnectionError("nobody answers")

    @app.function("order", retries=0)
    async def order(ctx):
        policy = Retry(max_retries=2, delays=["1200ms"])
        await ctx.step.options(retries=policy).run("Ship", ship)
"""


@pytest.mark.parametrize(
    ("die", "tries"), [("suspended", 3), ("resumed", 3), ("try2", 4)]
)
async def test_a_killed_worker_forgets_no_try_but_the_one_it_was_in(
    make_app: MakeApp, where: dict[str, Any], tmp_path: Path, die: str, tries: int
) -> None:
    worker = KilledWorker(FUNCTIONS, where, tmp_path)
    async with make_app().client() as client:
        handle = await client.send(ORDER)
        async with worker.replaced(die):
            await until(lambda: _is(handle, S.FAILED))
        (step,) = await client.steps(handle.id)

    assert len([each for each in worker.noted() if "try" in each]) == tries
    assert (step.status, step.attempts) == ("failed", 3)
