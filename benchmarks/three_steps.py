"""Runs executions of three steps on one store and prints what each costs.

    python benchmarks/three_steps.py STORE EXECUTIONS

`STORE` are the arguments of `Worchflow` as JSON. Prints the microseconds of this
process's CPU for each execution, sending included. Needs nothing but the public API,
so that any commit of the library can run it (`compare.py`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time
from typing import Any

from worchflow import Context, Worchflow, WorchflowClient

CONCURRENCY = 100
WARM_UP = 50
"""Executions that are not counted."""


async def add_one(number: int) -> int:
    """What every step does."""
    return number + 1


class ThreeSteps:
    """An app of one function, and how many of its executions have not ended."""

    def __init__(self, store: dict[str, Any]) -> None:
        self.app = Worchflow[Any]("three-steps", **store)
        self._left = 0
        self._none_left = asyncio.Event()
        self.app.function("add")(self.add)

    async def add(self, ctx: Context[int]) -> int:
        """Three steps, each with the result of the one before."""
        number = ctx.data
        for title in ("first", "second", "third"):
            number = await ctx.step.run(title, add_one, number)
        self._left -= 1
        if not self._left:
            self._none_left.set()
        return number

    async def run(self, client: WorchflowClient[Any], count: int) -> None:
        """Send so many, and have a worker complete them."""
        self._left = count
        self._none_left.clear()
        await client.send_many([{"name": "add", "data": each} for each in range(count)])
        async with self.app.worker(concurrency=CONCURRENCY):
            await self._none_left.wait()


async def measure(store: dict[str, Any], count: int) -> float:
    """Microseconds of CPU for each execution."""
    steps = ThreeSteps(store)
    async with steps.app.client() as client:
        await steps.run(client, WARM_UP)
        gc.collect()
        gc.freeze()
        began = time.process_time()
        await steps.run(client, count)
        return (time.process_time() - began) / count * 1_000_000


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(asyncio.run(measure(json.loads(sys.argv[1]), int(sys.argv[2]))))
