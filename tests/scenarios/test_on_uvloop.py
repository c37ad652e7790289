"""Waits on uvloop, which `worchflow worker` uses where it is installed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from worchflow import Context, Worchflow, event

NEWS = event("news", str)


@pytest.mark.parametrize("seconds", [0.05, 1.2], ids=["parked", "suspended"])
def test_waits_side_by_side_end_as_on_any_loop(
    app: Worchflow[Any], seconds: float
) -> None:
    @app.function("nap")
    async def nap(ctx: Context[float]) -> float:
        await ctx.step.sleep("Nap", ctx.data)
        return ctx.data

    @app.function("many", retries=0)
    async def many(ctx: Context[float]) -> tuple[list[float], str | None]:
        step = ctx.step
        naps = [step.options(key=n).sleep("Sleep", ctx.data) for n in range(3)]
        await asyncio.gather(*naps)
        _, came = await step.race(
            "First", step.wait_for_event("News", NEWS), step.sleep("Late", ctx.data)
        )
        messages = [{"name": "nap", "data": ctx.data} for _ in range(5)]
        return await step.invoke_many("Naps", messages), came

    async def results() -> list[Any]:
        async with app.client() as client, app.worker(concurrency=2):
            handles = [
                await client.send({"name": "many", "data": seconds}) for _ in range(3)
            ]
            return [await each.result(timeout=60) for each in handles]

    assert uvloop.run(results()) == [[[seconds] * 5, None]] * 3
