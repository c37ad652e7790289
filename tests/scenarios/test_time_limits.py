"""Deadlines and start timeouts: on time, and wherever the execution is."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from tests.scenarios.conftest import MakeApp
from tests.waiting import until
from worchflow import (
    Context,
    ExecutionFailed,
    ExecutionStatus,
    NonRetryable,
    Retry,
    SyncContext,
    Worchflow,
    WorkerOptions,
    event,
)

S = ExecutionStatus
APART = timedelta(seconds=0.1)
"""The clocks of a store and of this process."""
PARKED, SUSPENDED = WorkerOptions(park_for=7200), WorkerOptions(park_for=0.05)
APPROVED = event("approved", bool)


def order(name: str = "order") -> dict[str, Any]:
    return {"name": name, "data": None}


async def failed(handle: Any) -> ExecutionFailed:
    """What an execution has failed with."""
    with pytest.raises(ExecutionFailed) as caught:
        await handle.result(timeout=30)
    return caught.value


async def exceeded(client: Any, handle: Any) -> Any:
    """An execution that has failed because of a limit, not before its deadline."""
    error = await failed(handle)
    assert error.error_type == "DeadlineExceeded", error
    execution = await client.get(handle.id)
    assert execution.finished_at is not None
    if execution.deadline_at is not None:
        assert execution.finished_at > execution.deadline_at - APART
    return execution


@pytest.mark.parametrize("options", [PARKED, SUSPENDED], ids=["parked", "suspended"])
@pytest.mark.parametrize("wait", ["sleep", "event"])
async def test_what_waits_fails_at_its_deadline(
    app: Worchflow[Any], options: WorkerOptions, wait: str
) -> None:
    cleaned: list[str] = []

    @app.function("order", deadline="2s")
    async def handler(ctx: Context[None]) -> None:
        try:
            if wait == "sleep":
                await ctx.step.sleep("Wait", "1h")
            else:
                await ctx.step.wait_for_event("Wait", APPROVED)
        finally:
            cleaned.append("cleaned")

    worker = app.worker(options=options)
    async with worker, app.client() as client:
        handle = await client.send(order())
        execution = await exceeded(client, handle)
        assert await client.waits(handle.id) == []

    assert "has not ended within its deadline of 2.0 s" in execution.error.message
    assert execution.error.step == "Wait"
    assert execution.attempt_count == 1
    assert execution.deadline_at - execution.created_at >= timedelta(seconds=2) - APART
    (attempt,) = execution.attempts
    assert (attempt.outcome, attempt.error) == ("failed", execution.error)
    assert attempt.ended_at - attempt.started_at > timedelta(seconds=0.5)
    # The code of what was suspended did not run once more.
    assert cleaned == ["cleaned"]
    assert worker.parking.suspended == (options is SUSPENDED)
    assert worker.parking.replayed == 0


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_what_runs_is_stopped_at_its_deadline(
    app: Worchflow[Any], sync: bool
) -> None:
    ran: list[str] = []
    never = threading.Event()
    if sync:

        @app.function("order", deadline="2s", retries=3)
        def in_a_thread(ctx: SyncContext[None]) -> None:
            def look() -> None:
                while not ctx.cancelled:
                    never.wait(0.01)
                ran.append("stopped")

            ctx.step.run("Look", look)
            ctx.step.run("Next", lambda: ran.append("next"))

    else:

        @app.function("order", deadline="2s", retries=3)
        async def on_the_loop(ctx: Context[None]) -> None:
            async def look() -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    ran.append("stopped")

            await ctx.step.run("Look", look)
            await ctx.step.run("Next", lambda: ran.append("next"))

    async with app.worker(), app.client() as client:
        execution = await exceeded(client, await client.send(order()))

    assert ran == ["stopped"]
    assert execution.error.step == "Look"
    assert (execution.attempt_count, len(execution.attempts)) == (1, 1)


async def test_what_ends_in_time_is_left_alone(app: Worchflow[Any]) -> None:
    @app.function("order", deadline="1h", start_timeout="30m")
    async def handler(ctx: Context[None]) -> str:
        await ctx.step.sleep("Nap", "100ms")
        return "shipped"

    async with app.worker(options=SUSPENDED), app.client() as client:
        handle = await client.send(order())
        assert await handle.result(timeout=30) == "shipped"
        execution = await client.get(handle.id)

    assert execution.deadline_at is not None
    hour = execution.deadline_at - execution.created_at
    assert abs(hour - timedelta(hours=1)) < timedelta(seconds=10)


async def test_an_attempt_that_could_not_start_in_time_is_not_waited_for(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    retries = Retry(max_retries=9, delay="1h", max_delay="1h", jitter=False)

    @app.function("order", deadline="10m", retries=retries)
    async def handler(ctx: Context[None]) -> None:
        raise OSError("courier is down")

    async with app.worker(), app.client() as client:
        handle = await client.send(order())
        error = await failed(handle)
        execution = await client.get(handle.id)

    # The first retry is immediate.
    assert (error.error_type, execution.attempt_count) == ("OSError", 2)
    assert [each.error.message for each in execution.attempts if each.error] == [
        *("courier is down", "courier is down")
    ]
    assert "the next would start after its deadline" in caplog.text


async def test_a_deadline_passes_while_no_worker_is_there(make_app: MakeApp) -> None:
    ran: list[str] = []
    app = make_app()

    @app.function("order", deadline="3s")
    async def handler(ctx: Context[None]) -> None:
        ran.append("began")
        await ctx.step.wait_for_event("Approval", APPROVED)

    async with app.client() as client:
        handle = await client.send(order())
        async with app.worker(options=SUSPENDED):
            await until(lambda: is_(handle, S.WAITING))
        waiting = await client.get(handle.id)
        assert waiting.run_at == waiting.deadline_at
        queued = await client.send(order())
        await asyncio.sleep(3.1)
        assert await handle.status() is S.WAITING

        async with app.worker():
            assert (await exceeded(client, handle)).attempt_count == 1
            never_ran = await exceeded(client, queued)

    assert ran == ["began"]
    assert (never_ran.attempt_count, never_ran.attempts) == (0, ())


async def is_(handle: Any, status: ExecutionStatus) -> bool:
    return bool(await handle.status() is status)


async def test_what_no_worker_starts_in_time_does_not_run(app: Worchflow[Any]) -> None:
    ran: list[str] = []

    @app.function("order", start_timeout="3s")
    async def handler(ctx: Context[None]) -> str:
        ran.append(ctx.execution_id)
        return "shipped"

    async with app.client() as client:
        late = await client.send(order())
        delayed = await client.send(order(), delay="3500ms")
        await asyncio.sleep(3.1)
        async with app.worker():
            execution = await exceeded(client, late)
            assert await delayed.result(timeout=30) == "shipped"

            await client.retry(late.id)
            assert await late.result(timeout=30) == "shipped"

    assert "within its start_timeout of 3.0 s" in execution.error.message
    assert (execution.attempt_count, execution.deadline_at) == (0, None)
    assert ran == [delayed.id, late.id]


async def test_what_was_started_in_time_may_be_resumed_later(
    app: Worchflow[Any],
) -> None:
    @app.function("order", start_timeout="3s")
    async def handler(ctx: Context[None]) -> str:
        await ctx.step.sleep("Nap", "3500ms")
        return "shipped"

    async with app.worker(options=SUSPENDED), app.client() as client:
        assert await (await client.send(order())).result(timeout=30) == "shipped"


async def test_a_retry_counts_anew_and_keeps_the_steps(app: Worchflow[Any]) -> None:
    ran: list[str] = []

    @app.function("order", deadline="3s")
    async def handler(ctx: Context[None]) -> str:
        await ctx.step.run("Charge", lambda: ran.append("charge"))
        if len(ran) == 1:
            ran.append("sleeps")
            await ctx.step.sleep("Nap", "1h")
        return "shipped"

    async with app.worker(), app.client() as client:
        handle = await client.send(order())
        first = await exceeded(client, handle)
        await client.retry(handle.id)
        assert await handle.result(timeout=30) == "shipped"
        second = await client.get(handle.id)

    assert ran == ["charge", "sleeps"]
    assert second.deadline_at > first.deadline_at


async def test_a_child_that_exceeds_its_deadline_fails_its_parent(
    app: Worchflow[Any],
) -> None:
    seen: list[str] = []

    @app.function("child", deadline="700ms")
    async def child(ctx: Context[None]) -> None:
        await ctx.step.sleep("Nap", "1h")

    @app.function("order")
    async def parent(ctx: Context[None]) -> str:
        try:
            await ctx.step.invoke("Ship", order("child"))
        except ExecutionFailed as error:
            seen.append(error.error_type)
            return "not shipped"
        raise NonRetryable("the child has ended")

    async with app.worker(options=SUSPENDED), app.client() as client:
        handle = await client.send(order())
        assert await handle.result(timeout=30) == "not shipped"

    assert seen == ["DeadlineExceeded"]


async def test_the_children_of_what_exceeds_its_deadline_are_cancelled(
    app: Worchflow[Any],
) -> None:
    @app.function("child")
    async def child(ctx: Context[None]) -> None:
        await ctx.step.sleep("Nap", "1h")

    @app.function("order", deadline="2s")
    async def parent(ctx: Context[None]) -> None:
        await ctx.step.invoke("Ship", order("child"))

    async with app.worker(options=SUSPENDED), app.client() as client:
        handle = await client.send(order())
        await exceeded(client, handle)

        async def child_is_cancelled() -> bool:
            (found,) = (await client.list(parent=handle.id)).items
            return found.status is S.CANCELLED

        await until(child_is_cancelled)


async def test_a_function_that_gets_a_deadline_counts_from_the_beginning(
    make_app: MakeApp,
) -> None:
    before, after = make_app(), make_app()

    async def handler(ctx: Context[None]) -> str:
        await ctx.step.sleep("Nap", "5s")
        return "shipped"

    before.create_function("order", handler)
    after.create_function("order", handler, deadline="1s", start_timeout="1ms")
    async with before.client() as client:
        handle = await client.send(order())
        async with before.worker(options=SUSPENDED):
            await until(lambda: is_(handle, S.SLEEPING))
        async with after.worker():
            execution = await exceeded(client, handle)

    assert "deadline of 1.0 s" in execution.error.message
