"""A worker stops in order and in time, whatever runs, however often it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    ExecutionStatus,
    StoreUnavailable,
    SyncContext,
    Worchflow,
)


class Gate:
    """A handler's step that begins, and ends when it is let."""

    def __init__(self, app: Worchflow[Any], *, threads: bool = False) -> None:
        self.calls: list[int] = []
        self.began = threading.Event()
        self.go_on = threading.Event()

        async def held() -> str:
            self.calls.append(1)
            self.began.set()
            await until(self.go_on.is_set)
            return "through"

        def held_in_a_thread() -> str:
            self.calls.append(1)
            self.began.set()
            assert self.go_on.wait(10)
            return "through"

        @app.function("gate", retries=0)
        async def gate(ctx: Context[None]) -> str:
            return await ctx.step.run("held", held_in_a_thread if threads else held)


async def test_what_runs_is_waited_for(app: Worchflow[Any]) -> None:
    gate = Gate(app)
    async with app.client() as client:
        worker = app.worker()
        await worker.start()
        handle = await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        stopping = asyncio.create_task(worker.stop(timeout=10))
        gate.go_on.set()
        await stopping

        assert await handle.status() is ExecutionStatus.COMPLETED


async def test_nothing_is_claimed_any_more(app: Worchflow[Any]) -> None:
    gate = Gate(app)
    async with app.client() as client:
        worker = app.worker(concurrency=2)
        await worker.start()
        await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        stopping = asyncio.create_task(worker.stop(timeout=10))
        await until(lambda: worker._state == "stopping")
        later = await client.send({"name": "gate", "data": None})
        gate.go_on.set()
        await stopping

        assert await later.status() is ExecutionStatus.QUEUED
        assert gate.calls == [1]


async def test_stopping_at_once_hands_everything_back(app: Worchflow[Any]) -> None:
    gate = Gate(app)
    async with app.client() as client:
        worker = app.worker()
        await worker.start()
        handle = await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        await worker.stop(timeout=0)

        execution = await client.get(handle.id)
        assert execution.status is ExecutionStatus.QUEUED
        assert execution.attempt_count == execution.recoveries == 0
        gate.go_on.set()
        async with app.worker():
            assert await handle.result(timeout=10) == "through"


async def test_a_thread_at_the_deadline_keeps_its_execution_until_it_ends(
    app: Worchflow[Any],
) -> None:
    gate = Gate(app, threads=True)
    async with app.client() as client:
        worker = app.worker()
        await worker.start()
        handle = await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        await worker.stop(timeout=0)

        assert worker._state == "stopped"
        async with app.worker() as other:
            upkeep = other._upkeep._membership.lease
            assert upkeep is not None
            # Whoever is asked to take over finds the execution still owned.
            await other._upkeep._round(upkeep)
            assert (await client.get(handle.id)).status is ExecutionStatus.PROCESSING

            gate.go_on.set()
            assert await handle.result(timeout=10) == "through"
        assert gate.calls == [1]
        assert (await client.get(handle.id)).recoveries == 0


async def test_a_plain_handler_ends_at_its_next_step(app: Worchflow[Any]) -> None:
    calls: list[str] = []
    cleaned: list[int] = []
    first_done, go_on = threading.Event(), threading.Event()

    @app.function("plain")
    def plain(ctx: SyncContext[None]) -> list[str]:
        try:
            ctx.step.run("first", lambda: calls.append("first"))
            first_done.set()
            assert go_on.wait(10)
            ctx.step.run("second", lambda: calls.append("second"))
        except Exception:  # noqa: BLE001 - it does not see the interruption
            return ["swallowed"]
        finally:
            cleaned.append(ctx.attempt)
        return calls

    async with app.client() as client:
        worker = app.worker()
        await worker.start()
        handle = await client.send(plain())
        await until(first_done.is_set)
        stopping = asyncio.create_task(worker.stop(timeout=0))
        runner = worker._slots._runners[handle.id]
        await until(lambda: runner.attempt.scope.is_over)
        go_on.set()
        await stopping

        assert await handle.status() is ExecutionStatus.QUEUED
        assert (calls, cleaned) == (["first"], [1])
        async with app.worker():
            assert await handle.result(timeout=10) == ["first", "second"]
        assert calls == ["first", "second"]


async def test_stopping_twice_keeps_the_earlier_deadline(app: Worchflow[Any]) -> None:
    gate = Gate(app)
    async with app.client() as client:
        worker = app.worker()
        await worker.start()
        handle = await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        patient = asyncio.create_task(worker.stop(timeout=1000))
        await until(lambda: worker._state == "stopping")
        await worker.stop(timeout=0)
        await patient
        await worker.stop()

        assert await handle.status() is ExecutionStatus.QUEUED


async def test_giving_up_waiting_does_not_end_the_stop(app: Worchflow[Any]) -> None:
    gate = Gate(app)
    async with app.client() as client:
        worker = app.worker()
        await worker.start()
        handle = await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.stop(timeout=10), 0.05)
        gate.go_on.set()
        await worker.stop(timeout=10)

        assert await handle.status() is ExecutionStatus.COMPLETED


async def test_a_step_may_stop_its_own_worker(app: Worchflow[Any]) -> None:
    async with app.client() as client:
        worker = app.worker()

        @app.function("suicidal")
        async def suicidal(ctx: Context[None]) -> None:
            await ctx.step.run("stop", worker.stop, 0.2)

        worker = app.worker()
        await worker.start()
        handle = await client.send(suicidal())
        await asyncio.wait_for(worker._stopped.wait(), 10)

        assert await handle.status() is ExecutionStatus.QUEUED


async def test_a_worker_that_never_started_stops(app: Worchflow[Any]) -> None:
    worker = app.worker()
    await worker.stop()
    await worker.stop()

    with pytest.raises(ConfigurationError, match="stopped; make a new Worcher"):
        await worker.start()


async def test_a_worker_starts_once(app: Worchflow[Any]) -> None:
    async with app.worker() as worker:
        with pytest.raises(ConfigurationError, match="running"):
            await worker.start()
    with pytest.raises(ConfigurationError, match="stopped"):
        await worker.start()


class EndlessStart:
    """A lifespan that is entered forever, and takes a while to leave."""

    def __init__(self, leaving: float = 0) -> None:
        self.entered = asyncio.Event()
        self.was_left = False
        self._leaving = leaving

    @asynccontextmanager
    async def lifespan(self, app: Worchflow[Any]) -> AsyncGenerator[None]:
        try:
            self.entered.set()
            await asyncio.Event().wait()
            yield
        finally:
            await asyncio.sleep(self._leaving)
            self.was_left = True


async def test_stopping_while_it_starts(make_app: Any) -> None:
    start = EndlessStart()
    worker = make_app(lifespan=start.lifespan).worker()
    starting = asyncio.create_task(worker.start())
    await asyncio.wait_for(start.entered.wait(), 10)
    await worker.stop(timeout=5)

    with pytest.raises(ConfigurationError, match="stopped while it started"):
        await starting
    assert start.was_left
    assert worker._membership._keeper is not None
    assert worker._membership._keeper._ended.is_set()


async def test_a_lifespan_that_is_entered_although_it_was_cancelled_is_left(
    make_app: Any,
) -> None:
    entering, was_left = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def lifespan(app: Worchflow[Any]) -> AsyncGenerator[None]:
        with contextlib.suppress(asyncio.CancelledError):
            entering.set()
            await asyncio.Event().wait()
        yield
        was_left.set()

    worker = make_app(lifespan=lifespan).worker()
    starting = asyncio.create_task(worker.start())
    await asyncio.wait_for(entering.wait(), 10)
    await worker.stop(timeout=5)

    with pytest.raises(ConfigurationError, match="stopped while it started"):
        await starting
    assert was_left.is_set()


async def test_giving_up_a_start_leaves_nothing_behind(make_app: Any) -> None:
    start = EndlessStart()
    worker = make_app(lifespan=start.lifespan).worker()
    starting = asyncio.create_task(worker.start())
    await asyncio.wait_for(start.entered.wait(), 10)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert worker._state == "stopped"
    assert not worker._opened


async def test_run_ends_when_it_is_cancelled(app: Worchflow[Any]) -> None:
    gate = Gate(app)
    async with app.client() as client:
        worker = app.worker()
        running = asyncio.create_task(worker.run(shutdown_timeout=0))
        handle = await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert worker._state == "stopped"
        assert await handle.status() is ExecutionStatus.QUEUED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_it_starts_ends_the_start(
    make_app: Any, number: signal.Signals
) -> None:
    start = EndlessStart(0.3)
    worker = make_app(lifespan=start.lifespan).worker()
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(start.entered.wait(), 10)
    os.kill(os.getpid(), number)

    assert await asyncio.wait_for(running, 10) is number
    assert start.was_left
    assert not worker._opened


async def test_a_signal_before_it_starts_is_heeded(app: Worchflow[Any]) -> None:
    worker = app.worker()
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)

    assert await asyncio.wait_for(running, 10) is signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_drains_the_worker(
    app: Worchflow[Any], number: signal.Signals
) -> None:
    gate = Gate(app)
    async with app.client() as client:
        worker = app.worker()
        running = asyncio.create_task(worker.run())
        handle = await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        os.kill(os.getpid(), number)
        await until(lambda: worker._state == "stopping")
        gate.go_on.set()

        assert await asyncio.wait_for(running, 10) is number
        assert await handle.status() is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("threads", [False, True])
async def test_a_second_signal_stops_now(app: Worchflow[Any], threads: bool) -> None:
    gate = Gate(app, threads=threads)
    async with app.client() as client:
        worker = app.worker()
        running = asyncio.create_task(worker.run(shutdown_timeout=1000))
        handle = await client.send({"name": "gate", "data": None})
        await until(gate.began.is_set)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: worker._state == "stopping")
        os.kill(os.getpid(), signal.SIGTERM)

        assert await asyncio.wait_for(running, 10) is signal.SIGTERM
        status = await handle.status()
        gate.go_on.set()
        # The thread still runs, so nobody else may have its execution.
        assert status == ("processing" if threads else "queued")
        if worker._leaving_late is not None:
            await asyncio.wait_for(worker._leaving_late, 10)
        assert await handle.status() is ExecutionStatus.QUEUED


async def test_the_lifespan_is_left_by_the_task_that_entered_it(make_app: Any) -> None:
    tasks: list[Any] = []

    @asynccontextmanager
    async def lifespan(app: Worchflow[Any]) -> AsyncGenerator[None]:
        tasks.append(asyncio.current_task())
        # A task group belongs to the task that opened it.
        async with asyncio.TaskGroup():
            yield
        tasks.append(asyncio.current_task())

    worker = make_app(lifespan=lifespan).worker()
    await worker.start()
    await asyncio.create_task(worker.stop())

    assert len(tasks) == 2
    assert tasks[0] is tasks[1]


async def test_a_lifespan_that_cannot_be_entered_fails_the_start(make_app: Any) -> None:
    @asynccontextmanager
    async def lifespan(app: Worchflow[Any]) -> AsyncGenerator[None]:
        raise ConnectionError("no model server")
        yield

    worker = make_app(lifespan=lifespan).worker()
    with pytest.raises(ConnectionError, match="no model server"):
        await worker.start()

    assert worker._state == "stopped"
    assert not worker._opened
    await worker.stop()


async def test_a_lifespan_that_does_not_end_is_cut_off(make_app: Any) -> None:
    cut_off = asyncio.Event()

    @asynccontextmanager
    async def lifespan(app: Worchflow[Any]) -> AsyncGenerator[None]:
        yield
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    worker = make_app(lifespan=lifespan).worker()
    await worker.start()
    await worker.stop(timeout=0)

    await asyncio.wait_for(cut_off.wait(), 10)


async def test_what_a_lifespan_raises_at_the_end_is_told(
    make_app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def lifespan(app: Worchflow[Any]) -> AsyncGenerator[None]:
        yield
        raise ConnectionError("flush failed")

    errors: list[Any] = []
    worker = make_app(lifespan=lifespan).worker()
    worker.on("error", errors.append)
    await worker.start()
    await worker.stop()

    assert worker._state == "stopped"
    assert [str(each.error) for each in errors] == ["flush failed"]
    assert "flush failed" in caplog.text


async def test_a_start_without_its_store_fails_with_a_typed_error(
    tmp_path: Any,
) -> None:
    app = Worchflow("lost", sqlite=tmp_path / "file" / "db")
    (tmp_path / "file").write_text("in the way")
    errors: list[Any] = []
    worker = app.worker()
    worker.on("error", errors.append)
    with pytest.raises((StoreUnavailable, ConfigurationError)):
        await worker.start()

    assert len(errors) == 1
    assert worker._state == "stopped"
