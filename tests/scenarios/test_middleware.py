"""Middleware wraps sending, executions and steps; its errors are the code's errors."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from worchflow import (
    Context,
    ExecutionFailed,
    Middleware,
    NonRetryable,
    SyncContext,
    Worchflow,
)


class Recorder(Middleware):
    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen

    async def wrap_send(self, message: Any, call_next: Any) -> Any:
        self.seen.append(f"{self.name} send")
        handle = await call_next(message)
        self.seen.append(f"{self.name} sent {handle.id}")
        return handle

    async def wrap_execution(self, ctx: Any, call_next: Any) -> Any:
        self.seen.append(f"{self.name} execution {ctx.attempt}")
        try:
            return await call_next(ctx)
        finally:
            self.seen.append(f"{self.name} executed")

    async def wrap_step(self, ctx: Any, title: str, call_next: Any) -> Any:
        self.seen.append(f"{self.name} step {title}")
        result = await call_next()
        self.seen.append(f"{self.name} result {result}")
        return result


class Changing(Middleware):
    async def wrap_execution(self, ctx: Any, call_next: Any) -> Any:
        return f"<{await call_next(ctx)}>"

    async def wrap_step(self, ctx: Any, title: str, call_next: Any) -> Any:
        return await call_next() + 1


class Failing(Middleware):
    def __init__(self, where: str, error: type[BaseException]) -> None:
        self.where = where
        self.error = error

    async def wrap_execution(self, ctx: Any, call_next: Any) -> Any:
        if self.where == "execution" and ctx.attempt == 1:
            raise self.error("from middleware")
        return await call_next(ctx)

    async def wrap_step(self, ctx: Any, title: str, call_next: Any) -> Any:
        if self.where == "step" and ctx.attempt == 1:
            raise self.error("from middleware")
        return await call_next()


class InATask(Middleware):
    """Runs what it wraps in another task, as `wait_for` did until Python 3.12."""

    async def wrap_execution(self, ctx: Any, call_next: Any) -> Any:
        return await asyncio.create_task(call_next(ctx))

    async def wrap_step(self, ctx: Any, title: str, call_next: Any) -> Any:
        return await asyncio.create_task(call_next())


class NotAsync(Middleware):
    def wrap_execution(self, ctx: Any, call_next: Any) -> Any:  # type: ignore[override]
        return "at once"


def counting(app: Worchflow[Any], calls: list[int]) -> Worchflow[Any]:
    def count() -> int:
        calls.append(1)
        return len(calls)

    @app.function("count", retry_delay=0)
    async def handler(ctx: Context[None]) -> Any:
        first = await ctx.step.run("count", count)
        second = await ctx.step.run("count", count)
        return first + second

    return app


async def test_the_first_is_outermost_everywhere(make_app: Any) -> None:
    seen: list[str] = []
    app = make_app(middleware=[Recorder("outer", seen), Recorder("inner", seen)])

    @app.function("f")
    async def handler(ctx: Context[None]) -> int:
        return await ctx.step.run("work", lambda: 7)

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "f", "data": None}, id="i")
        await handle.result(timeout=10)

    assert seen[:4] == ["outer send", "inner send", "inner sent i", "outer sent i"]
    assert seen[4:] == [
        *("outer execution 1", "inner execution 1"),
        *("outer step work", "inner step work", "inner result 7", "outer result 7"),
        *("inner executed", "outer executed"),
    ]


async def test_a_recorded_step_is_not_wrapped_again(make_app: Any) -> None:
    seen: list[str] = []
    app = make_app(middleware=[Recorder("m", seen)])

    @app.function("f", retry_delay=0)
    async def handler(ctx: Context[None]) -> int:
        value = await ctx.step.run("work", lambda: 7)
        if ctx.attempt == 1:
            raise ConnectionError
        return value

    async with app.client() as client, app.worker():
        await (await client.send({"name": "f", "data": None})).result(timeout=10)

    assert [line for line in seen if "step" in line] == ["m step work"]
    assert [line for line in seen if "execution" in line] == [
        "m execution 1",
        "m execution 2",
    ]


async def test_what_middleware_makes_of_results_is_what_is_kept(make_app: Any) -> None:
    calls: list[int] = []
    app = counting(make_app(middleware=[Changing()]), calls)
    async with app.client() as client, app.worker():
        handle = await client.send({"name": "count", "data": None})

        assert await handle.result(timeout=10) == "<5>"
        assert [step.result for step in await client.steps(handle.id)] == [2, 3]


@pytest.mark.parametrize("place", ["execution", "step"])
async def test_what_it_raises_fails_the_attempt(make_app: Any, place: str) -> None:
    calls: list[int] = []
    app = counting(make_app(middleware=[Failing(place, ConnectionError)]), calls)
    async with app.client() as client, app.worker():
        handle = await client.send({"name": "count", "data": None})

        assert await handle.result(timeout=10) == 3
        assert (await client.get(handle.id)).attempt_count == 1


@pytest.mark.parametrize("place", ["execution", "step"])
@pytest.mark.parametrize(
    "error", [NonRetryable, SystemExit, GeneratorExit, asyncio.CancelledError]
)
async def test_whatever_it_raises_the_worker_lives(
    make_app: Any, place: str, error: type[BaseException]
) -> None:
    app = make_app(middleware=[Failing(place, error)])

    @app.function("hostile", retries=0)
    async def hostile(ctx: Context[None]) -> Any:
        return await ctx.step.run("work", lambda: 7)

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "hostile", "data": None})
        with pytest.raises(ExecutionFailed):
            await handle.result(timeout=10)
        await client.retry(handle.id)
        with pytest.raises(ExecutionFailed):
            await handle.result(timeout=10)


async def test_it_may_run_what_it_wraps_in_another_task(make_app: Any) -> None:
    calls: list[int] = []
    app = counting(make_app(middleware=[InATask()]), calls)

    @app.function("plain")
    def plain(ctx: SyncContext[None]) -> str:
        return ctx.step.run("key", lambda: ctx.idempotency_key())  # noqa: PLW0108

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "count", "data": None})
        assert await handle.result(timeout=10) == 3
        handle = await client.send({"name": "plain", "data": None})
        assert (await handle.result(timeout=10)).startswith(handle.id)


async def test_it_has_to_be_async(make_app: Any) -> None:
    app = counting(make_app(middleware=[NotAsync()]), [])
    async with app.client() as client, app.worker():
        handle = await client.send({"name": "count", "data": None})
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=10)

    assert failed.value.error_type == "TypeError"


class LeavesItsCallBehind(Middleware):
    """Begins a step's function and does not wait for it."""

    async def wrap_step(self, ctx: Any, title: str, call_next: Any) -> Any:
        self.left = asyncio.ensure_future(self._later(call_next))
        return "own result"

    async def _later(self, call_next: Any) -> None:
        await asyncio.sleep(0.05)
        await call_next()


async def test_a_middleware_that_leaves_a_call_behind_keeps_no_execution_from_its_end(
    make_app: Any,
) -> None:
    app = make_app(middleware=[LeavesItsCallBehind()])

    @app.function("order")
    def order(ctx: SyncContext[None]) -> str:
        first = ctx.step.run("Work", lambda: "of the function")
        time.sleep(0.2)
        return first

    async with app.worker(), app.client() as client:
        handle = await client.send(order(None))
        assert await handle.result(timeout=20) == "own result"
