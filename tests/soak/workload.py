"""What a soaked worker does: two small steps, one on the loop and one in a thread."""

from __future__ import annotations

from typing import Any

from worchflow import Context, Event, Worchflow


class Drop(Event[int], name="drop"):
    number: int


async def double(number: int) -> int:
    return number * 2


def increase(number: int) -> int:
    return number + 1


def add_work(app: Worchflow[Any]) -> None:
    """Register the function."""

    @app.function(Drop)
    async def drop(ctx: Context[Drop]) -> int:
        doubled = await ctx.step.run("Double", double, ctx.data.number)
        return await ctx.step.run("Increase", increase, doubled)
