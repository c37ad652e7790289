"""Code that is cancelled: by itself, a timeout, its worker, or its sender."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from tests.waiting import until
from worchflow import (
    Context,
    ExecutionCancelled,
    ExecutionStatus,
    Retry,
    StepFailed,
    SyncContext,
    Worchflow,
)
from worchflow.engine import scope


async def one() -> int:
    return 1


async def test_a_step_cancelled_before_it_began_is_forgotten(
    app: Worchflow[Any],
) -> None:
    ran: list[int] = []

    async def count() -> None:
        ran.append(1)

    @app.function("hasty", retries=0)
    async def hasty(ctx: Context[None]) -> int:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ctx.step.run("never begins", count), 0)
        return await ctx.step.run("continues", one)

    async with app.client() as client, app.worker():
        handle = await client.send(hasty())

        assert await handle.result(timeout=10) == 1
        assert ran == []
        assert [step.title for step in await client.steps(handle.id)] == ["continues"]


async def test_wait_for_ends_an_async_step_that_then_runs_again(
    app: Worchflow[Any],
) -> None:
    calls: list[int] = []

    async def slow_at_first() -> int:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return len(calls)

    @app.function("bounded", retries=0)
    async def bounded(ctx: Context[None]) -> int:
        step = ctx.step.options(key="k")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(step.run("slow", slow_at_first), 0.02)
        return await step.run("slow", slow_at_first)

    async with app.client() as client, app.worker():
        assert await (await client.send(bounded())).result(timeout=10) == 2


async def test_a_thread_left_behind_is_not_started_a_second_time(
    app: Worchflow[Any],
) -> None:
    calls: list[int] = []
    go_on = threading.Event()

    def effect() -> int:
        calls.append(1)
        assert go_on.wait(10)
        return len(calls)

    @app.function("impatient", retries=0)
    async def impatient(ctx: Context[None]) -> int:
        step = ctx.step.options(key="k")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(step.run("effect", effect), 0.05)
        go_on.set()
        return await step.run("effect", effect)

    async with app.client() as client, app.worker():
        handle = await client.send(impatient())

        assert await handle.result(timeout=10) == 1
        assert calls == [1]
        (step,) = await client.steps(handle.id)
        assert step.result == 1


async def test_others_do_not_share_the_first_callers_cancellation(
    app: Worchflow[Any],
) -> None:
    calls: list[int] = []
    began = asyncio.Event()

    async def work() -> int:
        calls.append(1)
        began.set()
        if len(calls) == 1:
            await asyncio.Event().wait()
        return 7

    @app.function("shared", retries=0, repeat_titles="reuse")
    async def shared(ctx: Context[None]) -> int:
        first = asyncio.create_task(ctx.step.run("work", work))
        await began.wait()
        second = asyncio.create_task(ctx.step.run("work", work))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    async with app.client() as client, app.worker():
        assert await (await client.send(shared())).result(timeout=10) == 7
        assert len(calls) == 2


async def test_concurrent_uses_of_a_reused_title_run_once(app: Worchflow[Any]) -> None:
    calls: list[str] = []

    async def named(name: str) -> str:
        calls.append(name)
        await asyncio.sleep(0)
        return name

    @app.function("original", repeat_titles="reuse")
    async def original(ctx: Context[None]) -> list[str]:
        runs = [ctx.step.run("one title", named, name) for name in ("a", "b", "c")]
        return list(await asyncio.gather(*runs))

    async with app.client() as client, app.worker():
        result = await (await client.send(original())).result(timeout=10)

    assert result == ["a", "a", "a"]
    assert calls == ["a"]


async def test_a_handler_that_cancels_its_own_task_has_failed(
    app: Worchflow[Any],
) -> None:
    @app.function("suicidal", retries=1, retry_delay=0)
    async def suicidal(ctx: Context[None]) -> int:
        if ctx.attempt == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await ctx.step.run("never", one)
        return ctx.attempt

    async with app.client() as client, app.worker():
        assert await (await client.send(suicidal())).result(timeout=10) == 2


async def test_what_a_handler_makes_of_its_cancellation_is_no_result(
    make_app: Any,
) -> None:
    began = asyncio.Event()
    runs: list[str] = []

    def program(name: str) -> Worchflow[Any]:
        app: Worchflow[Any] = make_app(name)

        @app.function("swallows")
        async def swallows(ctx: Context[None]) -> str:
            runs.append(name)
            if name == "old":
                try:
                    began.set()
                    await asyncio.Event().wait()
                except BaseException:  # noqa: BLE001 - as hostile as it gets
                    return "interrupted"
            return "finished"

        return app

    old, new = program("old"), program("new")
    async with old.client() as client:
        worker = old.worker()
        await worker.start()
        handle = await client.send({"name": "swallows", "data": None})
        await asyncio.wait_for(began.wait(), 10)
        await worker.stop(timeout=0.1)

        assert await handle.status() is ExecutionStatus.QUEUED
        async with new.worker():
            assert await handle.result(timeout=10) == "finished"
        assert runs == ["old", "new"]
        assert (await client.get(handle.id)).attempt_count == 0


async def test_what_a_step_makes_of_its_cancellation_is_not_recorded(
    make_app: Any,
) -> None:
    began = asyncio.Event()

    def program(name: str) -> Worchflow[Any]:
        app: Worchflow[Any] = make_app(name)

        async def swallow() -> str:
            if name == "old":
                try:
                    began.set()
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return "half done"
            return "done"

        @app.function("swallows")
        async def swallows(ctx: Context[None]) -> str:
            policy = Retry(max_retries=3, delay=0)
            return await ctx.step.options(retries=policy).run("work", swallow)

        return app

    old, new = program("old"), program("new")
    async with old.client() as client:
        worker = old.worker()
        await worker.start()
        handle = await client.send({"name": "swallows", "data": None})
        await asyncio.wait_for(began.wait(), 10)
        await worker.stop(timeout=0.1)

        assert await client.steps(handle.id) == []
        async with new.worker():
            assert await handle.result(timeout=10) == "done"


async def test_what_a_thread_returns_when_it_is_told_to_end_is_not_recorded(
    make_app: Any,
) -> None:
    began = threading.Event()

    def program(name: str) -> Worchflow[Any]:
        app: Worchflow[Any] = make_app(name)

        @app.function("long")
        async def long(ctx: Context[None]) -> str:
            def chunks() -> str:
                if name == "new":
                    return "all chunks"
                began.set()
                while not ctx.cancelled:
                    threading.Event().wait(0.005)
                return "some chunks"

            return await ctx.step.run("chunks", chunks)

        return app

    old, new = program("old"), program("new")
    async with old.client() as client:
        worker = old.worker()
        await worker.start()
        handle = await client.send({"name": "long", "data": None})
        await until(began.is_set)
        await worker.stop(timeout=0)

        assert await client.steps(handle.id) == []
        async with new.worker():
            assert await handle.result(timeout=10) == "all chunks"


async def test_what_a_thread_finishes_while_the_worker_stops_is_kept(
    make_app: Any,
) -> None:
    began, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def program(name: str) -> Worchflow[Any]:
        app: Worchflow[Any] = make_app(name)

        def charge() -> str:
            calls.append(name)
            began.set()
            assert go_on.wait(10)
            return f"charged by {name}"

        @app.function("pay")
        async def pay(ctx: Context[None]) -> str:
            return await ctx.step.run("charge", charge)

        return app

    old, new = program("old"), program("new")
    async with old.client() as client:
        worker = old.worker()
        await worker.start()
        handle = await client.send({"name": "pay", "data": None})
        await until(began.is_set)
        stopping = asyncio.create_task(worker.stop(timeout=0))
        await until(lambda: _interrupted(worker))
        go_on.set()
        await stopping

        async with new.worker():
            assert await handle.result(timeout=10) == "charged by old"
        assert calls == ["old"]


def _interrupted(worker: Any) -> bool:
    return any(
        runner.attempt.scope.interruption is not None
        for runner in worker._slots._runners.values()
    )


async def test_a_cleanup_that_takes_a_while_is_not_cancelled_again(
    app: Worchflow[Any],
) -> None:
    began, cleaned = asyncio.Event(), asyncio.Event()

    async def with_cleanup() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            cleaned.set()

    @app.function("tidy")
    async def tidy(ctx: Context[None]) -> None:
        await asyncio.gather(ctx.step.run("work", with_cleanup))

    async with app.client() as client, app.worker():
        handle = await client.send(tidy())
        await asyncio.wait_for(began.wait(), 10)
        await client.cancel(handle.id, reason="changed my mind")

        with pytest.raises(ExecutionCancelled) as cancelled:
            await handle.result(timeout=10)

        assert cancelled.value.reason == "changed my mind"
        assert cleaned.is_set()


async def test_steps_still_waiting_for_a_thread_do_not_begin_after_a_cancel(
    app: Worchflow[Any],
) -> None:
    ran: list[int] = []
    full, go_on = threading.Barrier(33, timeout=10), threading.Event()

    def work(n: int) -> None:
        ran.append(n)
        if not go_on.is_set():
            full.wait()
        assert go_on.wait(10)

    @app.function("many")
    async def many(ctx: Context[None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for n in range(50):
                tasks.create_task(ctx.step.options(key=n).run("work", work, n))

    async with app.client() as client, app.worker() as worker:
        handle = await client.send(many())
        await asyncio.to_thread(full.wait)
        await client.cancel(handle.id)
        await until(lambda: _interrupted(worker))
        go_on.set()

        with pytest.raises(ExecutionCancelled):
            await handle.result(timeout=10)
        assert len(ran) == 32


async def test_waiting_for_a_free_thread_is_not_the_steps_own_time(
    app: Worchflow[Any],
) -> None:
    full, go_on = threading.Barrier(33, timeout=10), threading.Event()

    def occupy() -> None:
        full.wait()
        assert go_on.wait(10)

    def quick() -> str:
        return "in time"

    @app.function("crowded", retries=0)
    async def crowded(ctx: Context[None]) -> str:
        async with asyncio.TaskGroup() as tasks:
            for n in range(32):
                tasks.create_task(ctx.step.options(key=n).run("occupy", occupy))
            await asyncio.to_thread(full.wait)
            limited = ctx.step.options(timeout=0.05, retries=0)
            task = tasks.create_task(limited.run("quick", quick))
            await asyncio.sleep(0.1)
            go_on.set()
        return task.result()

    async with app.client() as client, app.worker():
        assert await (await client.send(crowded())).result(timeout=10) == "in time"


async def test_a_function_over_its_timeout_waits_for_its_thread(
    app: Worchflow[Any],
) -> None:
    ended: list[int] = []

    @app.function("thread", retries=1, retry_delay=0, timeout=0.05)
    def thread(ctx: SyncContext[None]) -> list[int]:
        if ctx.attempt == 1:
            while not ctx.cancelled:
                threading.Event().wait(0.005)
            ended.append(ctx.attempt)
        return list(ended)

    async with app.client() as client, app.worker():
        handle = await client.send(thread())

        assert await handle.result(timeout=10) == [1]
        assert (await client.get(handle.id)).attempt_count == 1


async def test_the_functions_timeout_bounds_steps_nobody_awaited(
    app: Worchflow[Any],
) -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    @app.function("forgetful", retries=1, retry_delay=0, timeout=0.1)
    async def forgetful(ctx: Context[None]) -> int:
        if ctx.attempt == 1:
            ctx.step.run("endless", endless)  # type: ignore[unused-coroutine]
        return ctx.attempt

    async with app.client() as client, app.worker():
        assert await (await client.send(forgetful())).result(timeout=10) == 2


async def test_a_task_group_takes_a_failing_step_as_usual(app: Worchflow[Any]) -> None:
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fail() -> None:
        raise ConnectionError("down")

    @app.function("group", retries=0)
    async def group(ctx: Context[None]) -> str:
        failures = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ctx.step.run("endless", endless))
                tasks.create_task(ctx.step.options(retries=0).run("fail", fail))
        except* StepFailed as failed:
            failures = len(failed.exceptions)
        return str(failures)

    async with app.client() as client, app.worker():
        assert await (await client.send(group())).result(timeout=10) == "1"
        assert cancelled.is_set()


async def test_code_that_ignores_its_cancellation_is_cancelled_again(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "LATE_AFTER_SECONDS", 0.05)
    deaf = [True, True]

    @app.function("deaf", retries=1, retry_delay=0, timeout=0.05)
    async def handler(ctx: Context[None]) -> int:
        while ctx.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not deaf:
                    raise
                deaf.pop()
        return ctx.attempt

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "deaf", "data": None})
        assert await handle.result(timeout=10) == 2


async def test_a_handler_that_fails_when_it_is_cancelled_is_not_reported(
    app: Worchflow[Any],
) -> None:
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    began = asyncio.Event()

    @app.function("stubborn")
    async def stubborn(ctx: Context[None]) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("while it was cleaning up") from None

    async with app.client() as client, app.worker():
        handle = await client.send(stubborn())
        await began.wait()
        await handle.cancel()
        with pytest.raises(ExecutionCancelled):
            await handle.result(timeout=10)
    gc.collect()

    assert reported == []
