"""Sleeps: what they take, and that they give nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from worchflow import Context, Event, Step, SyncContext, function


class Nap(Event[None], name="nap"):
    at: datetime


@function(Nap)
async def naps(ctx: Context[Nap]) -> None:
    step = ctx.step
    await step.sleep("a", "2h")
    await step.sleep("a", timedelta(hours=2))
    await step.sleep("a", 7200)
    await step.sleep("a", 0.5)
    await step.sleep_until("a", ctx.data.at)
    await step.options(key="x").sleep("a", "2h")
    await asyncio.gather(step.sleep("a", 1), step.sleep("b", 2))
    async with asyncio.TaskGroup() as group:
        group.create_task(step.sleep("c", 1))
    await step.sleep("a", datetime.now(UTC))  # BAD
    await step.sleep("a", None)  # BAD
    await step.sleep_until("a", "2h")  # BAD
    await step.sleep_until("a", timedelta(1))  # BAD
    await step.options(as_type=int).sleep("a", "2h")  # BAD
    slept: int = await step.sleep("a", 1)  # BAD
    print(slept)
    same: Step = step.options(key=1)
    await same.sleep("a", 1)


@function(Nap)
def naps_in_a_thread(ctx: SyncContext[Nap]) -> None:
    ctx.step.sleep("a", "2h")
    ctx.step.sleep_until("a", ctx.data.at)
    ctx.step.options(key="x").sleep("a", timedelta(1))
    ctx.step.sleep("a", b"2h")  # BAD
    ctx.step.sleep_until("a", 3)  # BAD
    ctx.step.options(as_type=int).sleep("a", "2h")  # BAD
