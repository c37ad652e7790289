"""Steps with retries of their own, their recorded failures, and timeouts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from worchflow import (
    Context,
    ExecutionFailed,
    NonRetryable,
    Retry,
    StepFailed,
    SyncContext,
    Worchflow,
)


async def test_a_step_failure_is_a_recorded_fact(app: Worchflow[Any]) -> None:
    calls: list[str] = []
    seen: list[tuple[str, str]] = []

    def charge() -> int:
        calls.append("charge")
        raise ValueError("card declined")

    def refund() -> int:
        calls.append("refund")
        return 1

    @app.function("saga", retries=1, retry_delay=0)
    async def saga(ctx: Context[None]) -> str:
        try:
            await ctx.step.options(retries=0).run("charge", charge)
        except StepFailed as failed:
            seen.append((failed.error_type, failed.error_message))
            await ctx.step.run("refund", refund)
        if ctx.attempt == 1:
            raise ConnectionError
        return "compensated"

    async with app.client() as client, app.worker():
        handle = await client.send(saga())

        assert await handle.result(timeout=10) == "compensated"
        assert calls == ["charge", "refund"]
        assert seen == [("ValueError", "card declined")] * 2
        steps = {step.title: step for step in await client.steps(handle.id)}
        assert steps["charge"].status == "failed"
        assert steps["charge"].error is not None


async def test_a_step_retries_by_its_own_policy(app: Worchflow[Any]) -> None:
    calls: list[int] = []

    async def flaky() -> int:
        calls.append(len(calls))
        if len(calls) < 3:
            raise ConnectionError
        return len(calls)

    @app.function("own-retries", retries=0)
    async def own(ctx: Context[None]) -> int:
        policy = Retry(max_retries=5, delay=0.001, jitter=False)
        return await ctx.step.options(retries=policy).run("flaky", flaky)

    async with app.client() as client, app.worker():
        handle = await client.send(own())

        assert await handle.result(timeout=10) == 3
        assert (await client.steps(handle.id))[0].attempts == 3


async def test_an_async_step_is_cancelled_at_its_timeout(app: Worchflow[Any]) -> None:
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @app.function("slow", retries=0)
    async def slow(ctx: Context[None]) -> str:
        try:
            await ctx.step.options(retries=0, timeout=0.05).run("endless", endless)
        except StepFailed as failed:
            return failed.error_type
        return "?"

    async with app.client() as client, app.worker():
        handle = await client.send(slow())

        assert await handle.result(timeout=10) == "TimeoutError"
        assert cancelled.is_set()


@pytest.mark.parametrize("answer", ["a value", "another error"])
async def test_what_a_step_makes_of_its_timeout_is_no_outcome(
    app: Worchflow[Any], answer: str
) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if answer == "another error":
                raise ValueError(answer) from None
        return "as if nothing had happened"

    @app.function("stubborn", retries=0)
    async def handler(ctx: Context[None]) -> str:
        try:
            return await ctx.step.options(retries=0, timeout=0.05).run("s", stubborn)
        except StepFailed as failed:
            return failed.error_type

    async with app.client() as client, app.worker():
        handle = await client.send(handler())

        assert await handle.result(timeout=10) == "TimeoutError"


async def test_a_thread_over_its_timeout_is_told_and_awaited(
    app: Worchflow[Any],
) -> None:
    ended = threading.Event()

    @app.function("thread", retries=0)
    async def thread(ctx: Context[None]) -> str:
        def busy() -> None:
            while not ctx.cancelled:
                threading.Event().wait(0.005)
            ended.set()

        with pytest.raises(StepFailed):
            await ctx.step.options(retries=0, timeout=0.05).run("busy", busy)
        return str(ended.is_set())

    async with app.client() as client, app.worker():
        assert await (await client.send(thread())).result(timeout=10) == "True"


async def test_the_functions_timeout_counts_as_a_failed_attempt(
    app: Worchflow[Any],
) -> None:
    @app.function("hasty", retries=1, retry_delay=0, timeout=0.1)
    async def hasty(ctx: Context[None]) -> int:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.attempt

    async with app.client() as client, app.worker():
        assert await (await client.send(hasty())).result(timeout=10) == 2


async def test_a_non_retryable_error_fails_at_once(app: Worchflow[Any]) -> None:
    @app.function("final")
    def final(ctx: SyncContext[None]) -> None:
        def refuse() -> None:
            raise NonRetryable("no such account")

        ctx.step.run("refuse", refuse)

    async with app.client() as client, app.worker():
        handle = await client.send(final())
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=10)

        assert failed.value.error_type == "NonRetryable"
        assert failed.value.message == "no such account"
        assert "refuse" in failed.value.traceback
        assert (await client.get(handle.id)).attempt_count == 1


async def test_a_result_that_json_cannot_carry_fails_the_execution_at_once(
    app: Worchflow[Any],
) -> None:
    calls: list[int] = []

    @app.function("unserializable", retries=3)
    async def unserializable(ctx: Context[None]) -> None:
        def effect():  # type: ignore[no-untyped-def]  # noqa: ANN202
            calls.append(1)
            return {1, 2}

        try:
            await ctx.step.run("a set", effect)
        except Exception:  # noqa: BLE001 - a handler cannot argue it away
            return

    async with app.client() as client, app.worker():
        with pytest.raises(ExecutionFailed) as failed:
            await (await client.send(unserializable())).result(timeout=10)

    assert failed.value.error_type == "SerializationError"
    assert '"a set"' in failed.value.message
    assert calls == [1]
