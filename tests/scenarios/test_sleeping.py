"""An execution sleeps: without a slot, through deploys, crashes and cancellations."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import MakeApp
from tests.scenarios.killed_worker import KilledWorker
from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    ExecutionCancelled,
    ExecutionStatus,
    InvalidInput,
    SyncContext,
    Worchflow,
    WorkerOptions,
)

S = ExecutionStatus


def sleeper(app: Worchflow[Any], calls: list[str], nap: Any, *, sync: bool) -> None:
    """Register a function that charges, sleeps and ships."""
    if sync:

        @app.function("order")
        def in_a_thread(ctx: SyncContext[None]) -> str:
            ctx.step.run("Charge", lambda: calls.append("charge"))
            ctx.step.sleep("Cool down", nap)
            ctx.step.run("Ship", lambda: calls.append("ship"))
            return "shipped"

    else:

        @app.function("order")
        async def order(ctx: Context[None]) -> str:
            await ctx.step.run("Charge", lambda: calls.append("charge"))
            await ctx.step.sleep("Cool down", nap)
            await ctx.step.run("Ship", lambda: calls.append("ship"))
            return "shipped"


ORDER = {"name": "order", "data": None}
BOTH = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


@BOTH
async def test_it_leaves_its_worker_and_comes_back(
    app: Worchflow[Any], sync: bool
) -> None:
    calls: list[str] = []
    sleeper(app, calls, "1500ms", sync=sync)
    told: list[str] = []
    worker = app.worker()
    for name in ("start", "suspended", "resumed", "complete"):
        worker.on(f"execution:{name}", lambda notice: told.append(notice.name))  # type: ignore[call-overload]
    async with worker, app.client() as client:
        handle = await client.send(ORDER)
        await until(lambda: _is(handle, S.SLEEPING))
        sleeping = await client.get(handle.id)
        assert sleeping.worker is None
        assert sleeping.reason == 'the end of sleep "Cool down"'
        assert sleeping.run_at is not None

        assert await handle.result(timeout=30) == "shipped"

        execution = await client.get(handle.id)
        steps = await client.steps(handle.id)

    assert calls == ["charge", "ship"]
    assert told == [
        *("execution:start", "execution:suspended"),
        *("execution:resumed", "execution:complete"),
    ]
    assert [(step.title, step.kind) for step in steps] == [
        *(("Charge", "run"), ("Cool down", "sleep"), ("Ship", "run"))
    ]
    # The sleep is part of the one attempt there was.
    (attempt,) = execution.attempts
    assert attempt.ended_at - attempt.started_at > timedelta(seconds=1)
    assert execution.finished_at is not None
    assert execution.finished_at >= sleeping.run_at
    assert (execution.attempt_count, execution.recoveries) == (0, 0)
    assert worker.parking.suspended == worker.parking.replayed == 1


async def _is(handle: Any, status: ExecutionStatus) -> bool:
    return bool(await handle.status() is status)


@BOTH
async def test_one_slot_runs_others_while_many_sleep(
    app: Worchflow[Any], sync: bool
) -> None:
    calls: list[str] = []
    sleeper(app, calls, "300ms", sync=sync)
    async with app.worker() as worker, app.client() as client:
        began = asyncio.get_running_loop().time()
        handles = [await client.send(ORDER) for _ in range(12)]
        for handle in handles:
            assert await handle.result(timeout=30) == "shipped"
        took = asyncio.get_running_loop().time() - began

    assert calls.count("charge") == calls.count("ship") == 12
    # One after the other they would take more than this.
    assert took < 12 * 0.3
    assert worker.parking.parked >= 6


@BOTH
async def test_a_stop_lets_it_sleep_on_and_the_next_worker_goes_on(
    make_app: MakeApp, sync: bool
) -> None:
    calls: list[str] = []
    app = make_app()
    sleeper(app, calls, "900ms", sync=sync)
    async with app.client() as client:
        worker = app.worker()
        await worker.start()
        handle = await client.send(ORDER)
        await until(lambda: worker.parking.parked == 1)
        began = asyncio.get_running_loop().time()
        # It ends soon, so it is waited for; nothing new begins.
        await worker.stop()
        assert asyncio.get_running_loop().time() - began < 10

        async with app.worker():
            assert await handle.result(timeout=30) == "shipped"

    assert calls == ["charge", "ship"]


async def test_a_sleeping_execution_is_cancelled_at_once(app: Worchflow[Any]) -> None:
    calls: list[str] = []
    sleeper(app, calls, "30d", sync=False)
    async with app.worker(), app.client() as client:
        handle = await client.send(ORDER)
        await until(lambda: _is(handle, S.SLEEPING))
        assert (await client.list(status="sleeping")).items[0].id == handle.id

        await handle.cancel(reason="not needed")

        with pytest.raises(ExecutionCancelled):
            await handle.result(timeout=30)
    assert calls == ["charge"]


async def test_a_retry_sleeps_anew_only_where_the_sleep_was_not_over(
    app: Worchflow[Any],
) -> None:
    failing = [True]

    @app.function("order", retries=0)
    async def order(ctx: Context[None]) -> str:
        await ctx.step.sleep("Cool down", "1200ms")
        if failing.pop():
            failing.append(False)
            raise ValueError("once")
        return "shipped"

    async with app.worker(), app.client() as client:
        handle = await client.send(ORDER)
        await until(lambda: _is(handle, S.FAILED))
        began = asyncio.get_running_loop().time()
        await client.retry(handle.id)
        assert await handle.result(timeout=30) == "shipped"
        assert asyncio.get_running_loop().time() - began < 1.0


async def test_a_failure_that_was_caught_is_not_repeated_after_a_sleep(
    app: Worchflow[Any],
) -> None:
    calls: list[str] = []

    def charge() -> None:
        calls.append("charge")
        raise KeyError("no funds")

    @app.function("order", retries=1)
    async def order(ctx: Context[None]) -> str:
        try:
            await ctx.step.run("Charge", charge)
        except KeyError:
            await ctx.step.run("Apologise", lambda: calls.append("apologise"))
        await ctx.step.sleep("Cool down", "1200ms")
        if ctx.attempt == 1:
            raise ValueError("again")
        return "done"

    async with app.worker(), app.client() as client:
        handle = await client.send(ORDER)
        assert await handle.result(timeout=30) == "done"

    # A resume repeats the failure, the next attempt repeats the step.
    assert calls == ["charge", "apologise", "charge"]


FUNCTIONS = """
    @app.function("order")
    async def order(ctx):
        await ctx.step.run("Charge", note, "charge")
        note("before")
        await ctx.step.sleep("Cool down", "1500ms")
        note("after")
        await ctx.step.run("Ship", note, "ship")
        return "shipped"
"""


@pytest.mark.parametrize("die", ["before", "suspended", "resumed", "after"])
async def test_a_killed_worker_delays_nothing_but_what_was_left(
    make_app: MakeApp, where: dict[str, Any], tmp_path: Path, die: str
) -> None:
    worker = KilledWorker(FUNCTIONS, where, tmp_path)
    begun = datetime.now(UTC)
    async with make_app().client() as client:
        handle = await client.send(ORDER)
        async with worker.replaced(die):
            assert await handle.result(timeout=60) == "shipped"
        execution = await client.get(handle.id)

    lines = worker.noted()
    assert lines.count("charge") == 1
    assert lines.count("ship") == 1
    assert execution.finished_at is not None
    assert execution.finished_at - begun >= timedelta(seconds=1.5)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (lambda step: step.sleep("2h", "Cool down"), InvalidInput, "title comes first"),
        (lambda step: step.sleep("Cool down", -1), InvalidInput, "duration=-1"),
        (lambda step: step.sleep("Cool down", None), InvalidInput, "duration=None"),
        (lambda step: step.sleep("", "2h"), InvalidInput, "title"),
        (
            lambda step: step.sleep_until("Cutoff", datetime(2030, 1, 1)),  # noqa: DTZ001
            InvalidInput,
            "time zone",
        ),
        (lambda step: step.sleep_until("Cutoff", "tomorrow"), InvalidInput, "moment="),
        (
            lambda step: step.options(timeout="1m").sleep("Cool down", "2h"),
            ConfigurationError,
            "options(timeout=…) is for step.run",
        ),
        (
            lambda step: step.options(retries=2).sleep("Cool down", "2h"),
            ConfigurationError,
            "options(retries=…) is for step.run",
        ),
    ],
)
@BOTH
async def test_bad_input_is_refused_before_anything_is_stored(
    app: Worchflow[Any], sync: bool, bad: Any, error: type[Exception], words: str
) -> None:
    seen: list[str] = []

    if sync:

        @app.function("order", retries=0)
        def in_a_thread(ctx: SyncContext[None]) -> None:
            with pytest.raises(error) as caught:
                bad(ctx.step)
            seen.append(str(caught.value))

    else:

        @app.function("order", retries=0)
        async def order(ctx: Context[None]) -> None:
            with pytest.raises(error) as caught:
                await bad(ctx.step)
            seen.append(str(caught.value))

    async with app.worker(), app.client() as client:
        handle = await client.send(ORDER)
        await handle.result(timeout=30)
        assert await client.steps(handle.id) == []
    (message,) = seen
    assert words in message


async def test_no_more_are_parked_than_the_worker_allows(app: Worchflow[Any]) -> None:
    @app.function("order")
    async def order(ctx: Context[None]) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=2)
        await ctx.step.sleep_until("Soon", soon)

    options = WorkerOptions(park_for=5.0, max_parked=3)
    async with app.worker(options=options) as worker, app.client() as client:
        handles = [await client.send(ORDER) for _ in range(8)]
        await until(lambda: worker.parking.suspended == 5)
        for handle in handles:
            await handle.result(timeout=30)
