"""What ran is gone at once: no circle of objects waits for the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from worchflow import Context, SyncContext, Worchflow

EXECUTIONS = 60


@pytest.fixture
def collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def double(value: int) -> int:
    return 2 * value


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_executions_leave_no_circles(app: Worchflow[Any], kind: str) -> None:
    if kind == "async":

        @app.function("count")
        async def count(ctx: Context[int]) -> int:
            ctx.log.debug("begins")
            first = await ctx.step.run("first", double, ctx.data)
            return await ctx.step.run("second", double, first)

    else:

        @app.function("count")
        def count_plain(ctx: SyncContext[int]) -> int:
            first = ctx.step.run("first", double, ctx.data)
            return ctx.step.run("second", double, first)

    async with app.client() as client, app.worker(concurrency=10):

        async def run(number: int) -> int:
            """How many unreachable objects so many executions leave."""
            gc.collect()
            messages = [{"name": "count", "data": n} for n in range(number)]
            for handle in await client.send_many(messages):
                await handle.result(timeout=20)
            return gc.collect()

        await run(5)  # What is made once, at first use, is not what is meant.
        few, many = await run(5), await run(5 + EXECUTIONS)

    assert (many - few) / EXECUTIONS < 1
