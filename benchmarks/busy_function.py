"""How long an execution waits behind many of a function that others serve.

    .venv/bin/python -m benchmarks.busy_function [--executions 100000]

Fills the queue of a Redis with executions of `b`, all slots of whose worker are taken,
and sends one `a` behind them. Then starts a worker that serves `a` alone and prints
when its handler starts; and the same for another `a` once the worker runs. Starts its
own servers on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import ExitStack
from typing import Any

import redis

from benchmarks.servers import LargeMongoServer
from tests.servers import RedisServer
from tests.waiting import until
from worchflow import Context, Worchflow

PREFIX = "busy-function"
SLOTS = 10
LONGEST = 600.0


def say(what: str, value: float, unit: str) -> None:
    """Print one line of the table."""
    print(f"  {what:44}{value:12,.3f} {unit}", flush=True)


async def measure(stores: dict[str, Any], raw: redis.Redis, count: int) -> None:
    """Everything, on these servers."""
    busy = Worchflow[Any]("busy", queue_prefix=PREFIX, **stores)
    other = Worchflow[Any]("other", queue_prefix=PREFIX, **stores)
    started: list[float] = []

    @busy.function("b")
    async def slow(_: Context[None]) -> None:
        await asyncio.sleep(3600)

    @other.function("a")
    async def quick(_: Context[None]) -> None:
        started.append(time.perf_counter())

    async with busy.client() as client, busy.worker(concurrency=SLOTS) as worker:
        event = {"name": "b", "data": None}
        async for _ in client.send_stream(event for _ in range(count)):
            pass
        await client.send({"name": "a", "data": None})
        await until(lambda: raw.llen(f"{PREFIX}:queue") == count + 1 - SLOTS, LONGEST)
        say("in the queue", raw.llen(f"{PREFIX}:queue"), "")
        began = time.perf_counter()
        async with other.worker(concurrency=SLOTS):
            await until(lambda: started, LONGEST)
            say("`a` starts after its worker does", started[0] - began, "s")
            say("in the ready list of `b`", raw.llen(f"{PREFIX}:ready:b"), "")
            began = time.perf_counter()
            await client.send({"name": "a", "data": None})
            await until(lambda: len(started) == 2, LONGEST)
            say("another `a` starts after it was sent", started[1] - began, "s")
        await worker.stop(timeout=0)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000)
    count = parser.parse_args().executions
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        mongo = stack.enter_context(LargeMongoServer())
        raw = stack.enter_context(redis.Redis.from_url(server.url))
        stores = {
            "redis_url": server.url,
            "mongo_url": mongo.database_url("busy_function"),
        }
        asyncio.run(measure(stores, raw, count))


if __name__ == "__main__":
    main()
