"""Steps run in parallel through plain asyncio, and keep stable identities."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from worchflow import Context, ExecutionFailed, Worchflow
from worchflow.engine import scope


async def double(n: int) -> int:
    return 2 * n


async def test_gather_runs_steps_in_parallel(app: Worchflow[Any]) -> None:
    both_started = asyncio.Barrier(2)

    async def meet(n: int) -> int:
        await both_started.wait()
        return n

    @app.function("pair")
    async def pair(ctx: Context[None]) -> list[int]:
        return list(
            await asyncio.gather(
                ctx.step.run("left", meet, 1), ctx.step.run("right", meet, 2)
            )
        )

    async with app.client() as client, app.worker():
        assert await (await client.send(pair())).result(timeout=10) == [1, 2]


async def test_a_loop_uses_one_title_many_times(app: Worchflow[Any]) -> None:
    @app.function("loop", retries=1)
    async def loop(ctx: Context[None]) -> list[int]:
        values = [await ctx.step.run("double", double, n) for n in range(5)]
        if ctx.attempt == 1:
            raise ConnectionError
        return values

    async with app.client() as client, app.worker():
        handle = await client.send(loop())

        assert await handle.result(timeout=10) == [0, 2, 4, 6, 8]
        assert len(await client.steps(handle.id)) == 5


async def test_keys_keep_steps_apart_whatever_their_order(app: Worchflow[Any]) -> None:
    calls: list[int] = []

    async def resize(n: int) -> int:
        calls.append(n)
        return n * 10

    @app.function("map", retries=1)
    async def map_(ctx: Context[None]) -> list[int]:
        numbers = [1, 2, 3] if ctx.attempt == 1 else [3, 2, 1]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(ctx.step.options(key=n).run("resize", resize, n))
                for n in numbers
            ]
        if ctx.attempt == 1:
            raise ConnectionError
        return [task.result() for task in tasks]

    async with app.client() as client, app.worker():
        assert await (await client.send(map_())).result(timeout=10) == [30, 20, 10]
        assert sorted(calls) == [1, 2, 3]


async def test_one_title_in_two_tasks_is_refused(app: Worchflow[Any]) -> None:
    async def branch(ctx: Context[None], n: int) -> int:
        return await ctx.step.run("double", double, n)

    @app.function("branches", retries=0)
    async def branches(ctx: Context[None]) -> int:
        return sum(await asyncio.gather(branch(ctx, 1), branch(ctx, 2)))

    async with app.client() as client, app.worker():
        with pytest.raises(ExecutionFailed) as failed:
            await (await client.send(branches())).result(timeout=10)

    assert failed.value.error_type == "DuplicateStep"
    assert "key=" in failed.value.message


async def test_a_step_inside_a_step_is_refused(app: Worchflow[Any]) -> None:
    @app.function("nested", retries=0)
    async def nested(ctx: Context[None]) -> int:
        async def outer() -> int:
            return await ctx.step.run("inner", double, 1)

        return await ctx.step.run("outer", outer)

    async with app.client() as client, app.worker():
        with pytest.raises(ExecutionFailed) as failed:
            await (await client.send(nested())).result(timeout=10)

    assert failed.value.error_type == "NestedStep"


async def test_a_failing_sibling_is_awaited_before_the_attempt_ends(
    app: Worchflow[Any],
) -> None:
    running = 0
    seen: list[int] = []

    async def slow() -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.Event().wait()
        finally:
            running -= 1

    async def fail() -> None:
        raise ConnectionError

    @app.function("siblings", retries=1, retry_delay=0)
    async def siblings(ctx: Context[None]) -> str:
        seen.append(running)
        if ctx.attempt == 2:
            return "done"
        await asyncio.gather(ctx.step.run("slow", slow), ctx.step.run("fail", fail))
        raise AssertionError

    async with app.client() as client, app.worker():
        assert await (await client.send(siblings())).result(timeout=10) == "done"

    assert seen == [0, 0]


async def test_a_step_that_nobody_awaited_is_joined(app: Worchflow[Any]) -> None:
    @app.function("forgetful")
    async def forgetful(ctx: Context[None]) -> str:
        task = asyncio.create_task(ctx.step.run("in a task", double, 1))
        ctx.step.run("bare", double, 2)  # type: ignore[unused-coroutine]
        del task
        return "done"

    async with app.client() as client, app.worker():
        handle = await client.send(forgetful())

        assert await handle.result(timeout=10) == "done"
        recorded = {step.title: step.result for step in await client.steps(handle.id)}
        assert recorded == {"in a task": 2, "bare": 4}


async def test_reuse_returns_the_first_result_of_a_title(app: Worchflow[Any]) -> None:
    @app.function("original", repeat_titles="reuse")
    async def original(ctx: Context[None]) -> list[int]:
        first = await ctx.step.run("double", double, 1)
        return [first, await ctx.step.run("double", double, 5)]

    async with app.client() as client, app.worker():
        assert await (await client.send(original())).result(timeout=10) == [2, 2]


@pytest.mark.parametrize("batch", [20, 21])
async def test_an_attempt_has_no_more_unfinished_steps_than_said(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(scope, "MAX_UNFINISHED", 20)
    running, most = 0, 0

    async def count(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return n

    @app.function("batches", retries=3)
    async def batches(ctx: Context[None]) -> int:
        total = 0
        for start in range(0, 5 * batch, batch):
            keys = range(start, start + batch)
            steps = [ctx.step.options(key=n).run("count", count, n) for n in keys]
            total += len(await asyncio.gather(*steps))
        return total

    async with app.client() as client, app.worker():
        handle = await client.send(batches())
        if batch == 20:
            assert await handle.result(timeout=30) == 100
            assert most == 20
        else:
            with pytest.raises(ExecutionFailed, match="in batches") as failed:
                await handle.result(timeout=30)
            assert failed.value.error_type == "StepError"
            assert most == 0
            # More attempts would only do the same.
            assert (await client.get(handle.id)).attempt_count == 1
