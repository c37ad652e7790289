"""Whatever a handler or a step raises, the worker lives and the outcome is told."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

from worchflow import (
    Context,
    ExecutionFailed,
    NonRetryable,
    Retry,
    RetryAfter,
    StepFailed,
    SyncContext,
    Worchflow,
    WorchflowClient,
)
from worchflow.engine.runner import ExecutionRunner


class Unusual(BaseException):
    """An exception that `except Exception` does not see."""


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")


def exits() -> NoReturn:
    sys.exit(3)


def ends_an_iterator() -> int:
    return next(iter(()))


def interrupts_itself() -> NoReturn:
    raise KeyboardInterrupt


def is_cancelled_by_a_future() -> NoReturn:
    raise concurrent.futures.CancelledError


def raises_cancelled() -> NoReturn:
    raise asyncio.CancelledError


def raises_the_unusual() -> NoReturn:
    raise Unusual("odd")


def raises_the_unprintable() -> NoReturn:
    raise Unprintable


HOSTILE: list[Callable[[], Any]] = [
    exits,
    ends_an_iterator,
    interrupts_itself,
    is_cancelled_by_a_future,
    raises_cancelled,
    raises_the_unusual,
    raises_the_unprintable,
]


BY_NAME = {each.__name__: each for each in HOSTILE}


async def fails(app: Worchflow[Any], name: str) -> ExecutionFailed:
    """Send the event and expect failure."""
    async with app.client() as client, app.worker():
        return await one_fails(client, name, None)


async def one_fails(
    client: WorchflowClient[Any], name: str, data: Any
) -> ExecutionFailed:
    handle = await client.send({"name": name, "data": data})
    with pytest.raises(ExecutionFailed) as failed:
        await handle.result(timeout=10)
    return failed.value


async def all_fail(
    app: Worchflow[Any], subtests: pytest.Subtests, *but: Callable[[], Any]
) -> None:
    """Every hostile function fails its execution only, and tells where it raised."""

    @app.function("innocent")
    async def innocent(ctx: Context[None]) -> str:
        return await ctx.step.run("work", lambda: "fine")

    async with app.client() as client, app.worker():
        for name, hostile in BY_NAME.items():
            if hostile not in but:
                with subtests.test(name):
                    failed = await one_fails(client, "hostile", name)
                    assert failed.error_type
                    assert name in failed.traceback
        after = await client.send(innocent())
        assert await after.result(timeout=10) == "fine"


async def test_plain_steps_that_raise_the_unexpected(
    app: Worchflow[Any], subtests: pytest.Subtests
) -> None:
    @app.function("hostile", retries=0)
    async def handler(ctx: Context[str]) -> None:
        await ctx.step.run("hostile", BY_NAME[ctx.data])

    await all_fail(app, subtests)


async def test_plain_handlers_that_raise_the_unexpected(
    app: Worchflow[Any], subtests: pytest.Subtests
) -> None:
    @app.function("hostile", retries=0)
    def handler(ctx: SyncContext[str]) -> None:
        BY_NAME[ctx.data]()

    await all_fail(app, subtests)


async def test_async_steps_that_raise_the_unexpected(
    app: Worchflow[Any], subtests: pytest.Subtests
) -> None:
    @app.function("hostile", retries=0)
    async def handler(ctx: Context[str]) -> None:
        async def step() -> None:
            BY_NAME[ctx.data]()

        await ctx.step.run("hostile", step)

    await all_fail(app, subtests, interrupts_itself)


async def test_async_handlers_that_raise_the_unexpected(
    app: Worchflow[Any], subtests: pytest.Subtests
) -> None:
    @app.function("hostile", retries=0)
    async def handler(ctx: Context[str]) -> None:
        BY_NAME[ctx.data]()

    await all_fail(app, subtests, interrupts_itself)


async def test_steps_with_retries_of_their_own_record_the_unexpected(
    app: Worchflow[Any], subtests: pytest.Subtests
) -> None:
    calls: list[str] = []

    @app.function("hostile", retries=0)
    async def handler(ctx: Context[str]) -> str:
        def step() -> None:
            calls.append(ctx.data)
            BY_NAME[ctx.data]()

        policy = Retry(max_retries=1, delay=0)
        try:
            await ctx.step.options(retries=policy).run("hostile", step)
        except StepFailed as failed:
            return failed.error_type
        return "?"

    async with app.client() as client, app.worker():
        for name, hostile in BY_NAME.items():
            if hostile is raises_the_unusual:
                continue
            with subtests.test(name):
                handle = await client.send({"name": "hostile", "data": name})
                assert await handle.result(timeout=10) != "?"
                assert calls.count(name) == 2
                (record,) = await client.steps(handle.id)
                assert record.status == "failed"


async def test_a_group_fails_for_good_when_one_of_it_does(app: Worchflow[Any]) -> None:
    calls: list[int] = []

    async def flaky() -> None:
        raise ConnectionError

    async def final() -> None:
        raise NonRetryable("closed account")

    @app.function("group", retries=3, retry_delay=0)
    async def group(ctx: Context[None]) -> None:
        calls.append(1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ctx.step.run("flaky", flaky))
            tasks.create_task(ctx.step.run("final", final))

    failed = await fails(app, "group")

    assert failed.error_type == "ExceptionGroup"
    assert "closed account" in failed.traceback
    assert calls == [1]


async def test_a_group_of_passing_troubles_is_retried(app: Worchflow[Any]) -> None:
    async def flaky(attempt: int) -> int:
        if attempt == 1:
            raise ConnectionError
        return attempt

    @app.function("group", retries=1, retry_delay=0)
    async def group(ctx: Context[None]) -> int:
        async with asyncio.TaskGroup() as tasks:
            one = tasks.create_task(ctx.step.run("one", flaky, ctx.attempt))
            two = tasks.create_task(ctx.step.run("two", flaky, ctx.attempt))
        return one.result() + two.result()

    async with app.client() as client, app.worker():
        assert await (await client.send(group())).result(timeout=10) == 4


async def test_retry_after_in_a_step_sets_the_attempts_delay(
    app: Worchflow[Any],
) -> None:
    def busy() -> None:
        raise RetryAfter("1h")

    @app.function("patient")
    async def patient(ctx: Context[None]) -> None:
        await ctx.step.run("busy", busy)

    async with app.client() as client, app.worker() as worker:
        failed: asyncio.Queue[Any] = asyncio.Queue()
        worker.on("execution:failed", failed.put_nowait)
        handle = await client.send(patient())
        notice = await asyncio.wait_for(failed.get(), 10)

        assert notice.will_retry
        execution = await client.get(handle.id)
        assert execution.run_at is not None
        wait = execution.run_at - execution.updated_at
        assert 3590 < wait.total_seconds() < 3610


async def test_non_retryable_ends_a_steps_own_retries(app: Worchflow[Any]) -> None:
    calls: list[int] = []

    def refuse() -> None:
        calls.append(1)
        raise NonRetryable("no")

    @app.function("compensated")
    async def compensated(ctx: Context[None]) -> str:
        try:
            await ctx.step.options(retries=5).run("refuse", refuse)
        except StepFailed as failed:
            return f"{type(failed.__cause__).__name__}: {failed.error_message}"
        return "?"

    async with app.client() as client, app.worker():
        handle = await client.send(compensated())
        assert await handle.result(timeout=10) == "NonRetryable: no"
        assert calls == [1]


@dataclass
class Quarrelsome:
    n: int

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not with me")

    __hash__ = None  # type: ignore[assignment]


async def test_a_result_that_cannot_be_compared_fails_at_once(
    app: Worchflow[Any],
) -> None:
    calls: list[int] = []

    @app.function("quarrelsome", retries=1, retry_delay=0)
    async def quarrelsome(ctx: Context[None]) -> Quarrelsome:
        calls.append(ctx.attempt)
        return Quarrelsome(1)

    failed = await fails(app, "quarrelsome")

    assert failed.error_type == "SerializationError"
    assert calls == [1]


async def test_an_error_inside_the_library_is_a_failed_attempt(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, value: object) -> NoReturn:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(ExecutionRunner, "_completed", broken)

    @app.function("unlucky", retries=1, retry_delay=0)
    async def unlucky(ctx: Context[None]) -> int:
        return ctx.attempt

    async with app.client() as client, app.worker():
        handle = await client.send(unlucky())
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=4)
        assert (await client.get(handle.id)).attempt_count == 2

    assert failed.value.error_type == "ZeroDivisionError"
