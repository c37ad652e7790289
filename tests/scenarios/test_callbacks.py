"""Callbacks hear everything in order and never stand in the way of an execution."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    ExecutionStatus,
    Middleware,
    Worchflow,
)
from worchflow.model.notices import (
    AttemptFailed,
    ErrorRaised,
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionUpdated,
    Ready,
    StepCompleted,
)

NAMES = (
    "ready",
    "error",
    "execution:start",
    "execution:complete",
    "execution:failed",
    "execution:updated",
    "step:complete",
)


def failing_once(app: Worchflow[Any]) -> Worchflow[Any]:
    @app.function("flaky", retry_delay=0)
    async def flaky(ctx: Context[int]) -> int:
        value = await ctx.step.run("double", lambda: ctx.data * 2)
        if ctx.attempt == 1:
            raise ConnectionError("once")
        return value

    return app


class Listener(Middleware):
    """Hears through its methods what callbacks hear through `on`."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_ready(self, notice: Ready) -> None:
        self.heard.append(notice)

    async def on_execution_start(self, notice: ExecutionStarted) -> None:
        self.heard.append(notice)

    def on_execution_failed(self, notice: AttemptFailed) -> None:
        self.heard.append(notice)

    def on_execution_complete(self, notice: ExecutionCompleted) -> None:
        self.heard.append(notice)

    def on_step_complete(self, notice: StepCompleted) -> None:
        self.heard.append(notice)


async def test_a_worker_tells_everything_in_order(app: Worchflow[Any]) -> None:
    failing_once(app)
    heard: list[Any] = []
    async with app.client() as client:
        worker = app.worker()
        for name in NAMES:
            worker.on(name, heard.append)  # type: ignore[call-overload]
        async with worker:
            handle = await client.send({"name": "flaky", "data": 21})
            assert await handle.result(timeout=10) == 42
            await until(lambda: heard[-1].status == "completed")

    told = [(type(each).__name__, getattr(each, "status", None)) for each in heard]
    assert told == [
        ("Ready", None),
        ("ExecutionStarted", "processing"),
        ("ExecutionUpdated", "processing"),
        ("StepCompleted", "processing"),
        ("AttemptFailed", "retrying"),
        ("ExecutionUpdated", "retrying"),
        ("ExecutionStarted", "processing"),
        ("ExecutionUpdated", "processing"),
        ("ExecutionCompleted", "completed"),
        ("ExecutionUpdated", "completed"),
    ]
    step, failed, complete = heard[3], heard[4], heard[8]
    assert (step.title, step.result, step.attempt) == ("double", 42, 1)
    assert (failed.error.type, failed.error.message) == ("ConnectionError", "once")
    assert (failed.attempt, failed.will_retry) == (1, True)
    assert (complete.result, complete.attempt) == (42, 2)
    assert {each.execution_id for each in heard[1:]} == {handle.id}
    assert {each.event_name for each in heard[1:]} == {"flaky"}


async def test_middleware_hears_the_same(make_app: Any) -> None:
    listener = Listener()
    app = failing_once(make_app(middleware=[listener]))
    async with app.client() as client, app.worker():
        handle = await client.send({"name": "flaky", "data": 1})
        await handle.result(timeout=10)
        await until(lambda: isinstance(listener.heard[-1], ExecutionCompleted))

    kinds = [type(each).__name__ for each in listener.heard]
    assert kinds[:2] == ["Ready", "Ready"]  # the client's and the worker's
    assert sorted(kinds[2:]) == sorted(
        [
            *("ExecutionStarted", "StepCompleted", "AttemptFailed"),
            *("ExecutionStarted", "ExecutionCompleted"),
        ]
    )


async def test_a_client_tells_what_it_changes(app: Worchflow[Any]) -> None:
    heard: list[ExecutionUpdated] = []
    async with app.client() as client:
        client.on("execution:updated", heard.append)
        handle = await client.send({"name": "flaky", "data": 1}, id="f")
        await client.send({"name": "flaky", "data": 1}, id="f")
        await client.cancel(handle.id)
        await client.retry(handle.id)

    assert [each.status for each in heard] == [
        ExecutionStatus.QUEUED,
        ExecutionStatus.CANCELLED,
        ExecutionStatus.QUEUED,
    ]


async def test_what_callbacks_raise_harms_nobody(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    failing_once(app)

    def broken(notice: Any) -> None:
        raise ValueError("plain")

    async def broken_later(notice: Any) -> None:
        raise ValueError("async")

    async def cancelled_later(notice: Any) -> None:
        raise asyncio.CancelledError

    def cancelled(notice: Any) -> None:
        raise asyncio.CancelledError

    async with app.client() as client:
        worker = app.worker()
        for name in NAMES:
            for callback in (broken, broken_later, cancelled, cancelled_later):
                worker.on(name, callback)  # type: ignore[call-overload]
                client.on(name, callback)  # type: ignore[call-overload]
        async with worker:
            handle = await client.send({"name": "flaky", "data": 1})
            assert await handle.result(timeout=10) == 2

    assert "a callback for 'execution:start' failed" in caplog.text
    assert "an async callback for 'execution:complete' failed" in caplog.text


async def test_slow_callbacks_hold_up_nothing(app: Worchflow[Any]) -> None:
    failing_once(app)
    cancelled: list[str] = []

    async def endless(notice: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(notice.name)

    async with app.client() as client:
        worker = app.worker()
        worker.on("execution:start", endless)
        await worker.start()
        handle = await client.send({"name": "flaky", "data": 1})
        assert await handle.result(timeout=10) == 2
        await worker.stop(timeout=1)
        await until(lambda: cancelled)

    assert cancelled == ["execution:start"] * 2


async def test_async_callbacks_are_awaited_before_the_worker_has_stopped(
    app: Worchflow[Any],
) -> None:
    failing_once(app)
    done: list[str] = []

    async def a_while(notice: Any) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        done.append(notice.name)

    async with app.client() as client:
        async with app.worker() as worker:
            worker.on("execution:complete", a_while)
            handle = await client.send({"name": "flaky", "data": 1})
            await handle.result(timeout=10)
        assert done == ["execution:complete"]


async def test_a_failing_store_is_an_error_and_raises(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    client = Worchflow("lost", sqlite=tmp_path / "file" / "db").client()
    heard: list[ErrorRaised] = []
    client.on("error", heard.append)
    with pytest.raises(Exception, match="file") as failed:
        await client.open()

    assert [each.error for each in heard] == [failed.value]


async def test_middleware_is_made_before_it_is_given(make_app: Any) -> None:
    with pytest.raises(ConfigurationError, match="Listener is a class"):
        make_app(middleware=[Listener]).client()
    with pytest.raises(ConfigurationError, match="not a Middleware"):
        make_app(middleware=[object()]).worker()
