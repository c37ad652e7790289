"""Tasks and threads that outlive their attempt start no step and harm no other."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.waiting import until
from worchflow import Context, ExecutionFailed, NestedStep, SyncContext, Worchflow


async def one() -> int:
    return 1


async def test_a_task_that_outlives_its_attempt_starts_no_step(
    app: Worchflow[Any],
) -> None:
    go_on, ran = asyncio.Event(), []
    leaked: list[asyncio.Task[None]] = []

    async def step() -> None:
        ran.append("step")

    @app.function("leaky")
    async def leaky(ctx: Context[None]) -> str:
        async def later() -> None:
            await go_on.wait()
            await ctx.step.run("late", step)

        leaked.append(asyncio.create_task(later()))
        await asyncio.sleep(0)
        return "done"

    async with app.client() as client, app.worker():
        handle = await client.send(leaky())
        assert await handle.result(timeout=10) == "done"
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await leaked[0]

        assert ran == []
        assert await client.steps(handle.id) == []


async def test_a_task_that_does_not_take_no_for_an_answer_stops_nobody(
    app: Worchflow[Any],
) -> None:
    go_on, stop = asyncio.Event(), []
    leaked: list[asyncio.Task[None]] = []

    @app.function("stubborn")
    async def stubborn(ctx: Context[None]) -> str:
        async def again_and_again() -> None:
            await go_on.wait()
            while not stop:
                try:
                    await ctx.step.run("late", one)
                except BaseException:  # noqa: BLE001, S112 - as hostile as it gets
                    continue

        leaked.append(asyncio.create_task(again_and_again()))
        await asyncio.sleep(0)
        return "done"

    @app.function("other")
    async def other(ctx: Context[None]) -> int:
        return await ctx.step.run("one", one)

    async with app.client() as client, app.worker():
        assert await (await client.send(stubborn())).result(timeout=10) == "done"
        go_on.set()
        assert await (await client.send(other())).result(timeout=10) == 1
        stop.append(True)
        await leaked[0]


async def test_a_thread_that_outlives_its_attempt_starts_no_step(
    app: Worchflow[Any],
) -> None:
    go_on, ended = threading.Event(), threading.Event()
    ran: list[str] = []
    raised: list[BaseException] = []

    @app.function("leaky")
    def leaky(ctx: SyncContext[None]) -> str:
        def later() -> None:
            assert go_on.wait(10)
            try:
                ctx.step.run("late", lambda: ran.append("step"))
            except BaseException as error:  # noqa: BLE001 - whatever it is
                raised.append(error)
            ended.set()

        threading.Thread(target=later).start()
        return "done"

    async with app.client() as client, app.worker():
        assert await (await client.send(leaky())).result(timeout=10) == "done"
        go_on.set()
        await until(ended.is_set)

    assert ran == []
    assert isinstance(raised[0], asyncio.CancelledError)


async def test_a_task_of_the_handler_is_cancelled_with_it(app: Worchflow[Any]) -> None:
    cancelled: list[int] = []
    in_the_air = asyncio.Event()

    @app.function("siblings", retries=1, retry_delay=0)
    async def siblings(ctx: Context[None]) -> list[int]:
        async def branch() -> None:
            await ctx.step.run("branch", one)
            in_the_air.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(ctx.attempt)

        task = asyncio.create_task(branch())
        if ctx.attempt == 2:
            task.cancel()
            return list(cancelled)
        await ctx.step.run("handler", one)
        await in_the_air.wait()
        raise ConnectionError

    async with app.client() as client, app.worker():
        assert await (await client.send(siblings())).result(timeout=10) == [1]


async def test_steps_inside_steps_are_refused_in_threads_too(
    app: Worchflow[Any],
) -> None:
    @app.function("async", retries=0)
    async def asynchronous(ctx: Context[None]) -> None:
        def outer() -> None:
            ctx.step.run("inner", one)  # type: ignore[unused-coroutine]

        with pytest.raises(NestedStep, match='inside step "outer"'):
            await ctx.step.run("outer", outer)

    @app.function("plain", retries=0)
    def plain(ctx: SyncContext[None]) -> None:
        def outer() -> None:
            ctx.step.run("inner", one)

        with pytest.raises(NestedStep, match='inside step "outer"'):
            ctx.step.run("outer", outer)

    @app.function("task", retries=0)
    async def task(ctx: Context[None]) -> None:
        async def outer() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.step.run("inner", one))

        with pytest.raises(ExceptionGroup) as group:
            await ctx.step.run("outer", outer)
        raise group.value.exceptions[0]

    async with app.client() as client, app.worker(concurrency=3):
        await (await client.send({"name": "async", "data": None})).result(timeout=10)
        await (await client.send({"name": "plain", "data": None})).result(timeout=10)


async def test_a_loop_of_its_own_cannot_run_steps(app: Worchflow[Any]) -> None:
    @app.function("loops", retries=0)
    async def loops(ctx: Context[None]) -> None:
        async def elsewhere() -> int:
            return await ctx.step.run("one", one)

        await asyncio.to_thread(asyncio.run, elsewhere())

    async with app.client() as client, app.worker():
        handle = await client.send(loops())
        with pytest.raises(ExecutionFailed, match="outside the handler's event loop"):
            await handle.result(timeout=10)


async def test_a_step_left_in_the_air_fails_the_attempt_when_it_fails(
    app: Worchflow[Any],
) -> None:
    ended = asyncio.Event()

    async def fail_later() -> None:
        await ended.wait()
        raise ConnectionError("in the background")

    @app.function("careless", retries=0)
    async def careless(ctx: Context[None]) -> str:
        task = asyncio.create_task(ctx.step.run("background", fail_later))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(ended.set)
        task.add_done_callback(lambda done: done.exception())
        return "done"

    async with app.client() as client, app.worker():
        handle = await client.send(careless())
        with pytest.raises(ExecutionFailed, match="in the background"):
            await handle.result(timeout=10)


async def test_steps_of_other_tasks_are_joined_one_after_the_other(
    app: Worchflow[Any],
) -> None:
    @app.function("chains")
    async def chains(ctx: Context[None]) -> str:
        async def chain(name: str) -> None:
            for n in range(3):
                await ctx.step.run(f"{name} {n}", one)

        tasks = [asyncio.create_task(chain(name)) for name in "ab"]
        await asyncio.sleep(0)
        return str(len(tasks))

    async with app.client() as client, app.worker():
        handle = await client.send(chains())
        assert await handle.result(timeout=10) == "2"
        titles = {step.title for step in await client.steps(handle.id)}
        assert {"a 0", "b 0"} <= titles
