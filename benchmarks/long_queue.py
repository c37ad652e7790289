"""What a long queue costs, and how long it takes to be there again after a wipe.

    .venv/bin/python -m benchmarks.long_queue [--executions 1000000]

On each store in turn: sends them as one stream, and prints what memory the sender took
for it; asks for pages of the listing and for the counts. On Redis and MongoDB then
wipes Redis under a worker and waits until all that waits is in the queue again.
Starts its own servers on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from benchmarks.servers import LargeMongoServer
from tests.servers import RedisServer
from tests.waiting import until
from worchflow import Context, Event, Worchflow, WorchflowClient

PREFIX = "long-queue"
SLOTS = 10
MEBIBYTE = 1024 * 1024
LONGEST = 600.0


class Waiting(Event[None], name="waiting"):
    number: int


def make_app(**stores: Any) -> Worchflow[Any]:
    """An app whose one function takes so long that nearly all of them wait."""
    app = Worchflow[Any]("long-queue", queue_prefix=PREFIX, **stores)

    @app.function(Waiting)
    async def wait(_: Context[Waiting]) -> None:
        await asyncio.sleep(3600)

    return app


def say(what: str, value: float, unit: str) -> None:
    """Print one line of the table."""
    print(f"  {what:44}{value:12,.1f} {unit}", flush=True)


def resident() -> float:
    """MiB of memory that this process holds now; see proc(5)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


async def stream(client: WorchflowClient[Any], count: int) -> None:
    """Send all of them; the memory of the last three quarters tells of growth."""
    began, memory = time.perf_counter(), [resident()]
    events: Iterable[Waiting] = (Waiting(number=number) for number in range(count))
    sent = 0
    async for _ in client.send_stream(events):
        sent += 1
        if sent % max(1, count // 20) == 0:
            memory.append(resident())
    say("sent in one stream", sent / (time.perf_counter() - began), "per second")
    say("memory of the sender before", memory[0], "MiB")
    say("after a quarter", memory[len(memory) // 4], "MiB")
    say("at the end", memory[-1], "MiB")


async def look(client: WorchflowClient[Any]) -> None:
    """Pages of the listing, and the counts, as somebody who watches asks for them."""

    async def pages(**filters: Any) -> list[float]:
        seconds: list[float] = []
        cursor: str | None = None
        for _ in range(20):
            began = time.perf_counter()
            page = await client.list(cursor=cursor, **filters)
            seconds.append(time.perf_counter() - began)
            cursor = page.cursor
        return seconds

    for name, filters in {
        "a page of all": {},
        "a page of those that wait": {"status": "queued"},
        "a page of none": {"status": "failed"},
    }.items():
        seconds = await pages(**filters)
        say(f"{name}, median", statistics.median(seconds) * 1000, "ms")
        say(f"{name}, slowest of {len(seconds)}", max(seconds) * 1000, "ms")
    for name in ("counts, the first time", "counts, again"):
        await timed(name, client.counts)


async def timed(name: str, act: Callable[[], Awaitable[object]]) -> None:
    """Print how long it takes."""
    began = time.perf_counter()
    await act()
    say(name, (time.perf_counter() - began) * 1000, "ms")


async def rebuild(app: Worchflow[Any], server: redis.Redis, count: int) -> None:
    """Wipe Redis while a worker is there, and wait for what waits."""

    def queued() -> int:
        return int(server.llen(f"{PREFIX}:queue"))

    def queued_twice() -> int:
        entries = server.lrange(f"{PREFIX}:queue", 0, -1)
        return len(entries) - len(set(entries))

    before = resident()
    async with app.worker(concurrency=SLOTS):
        await until(lambda: queued() <= count - SLOTS, LONGEST)
        server.flushall()
        began = time.perf_counter()
        await until(queued, LONGEST)
        say(
            "after a wipe, some are in the queue again",
            time.perf_counter() - began,
            "s",
        )
        await until(lambda: queued() >= count - SLOTS, LONGEST)
        say("all are", time.perf_counter() - began, "s")
        say("entries of the queue that it has twice", queued_twice(), "")
        say("memory of the worker before", before, "MiB")
        say("after it", resident(), "MiB")


async def on_redis_and_mongo(count: int) -> None:
    """Everything, on servers of its own."""
    print(f"Redis + MongoDB, {count:,} executions")
    with ExitStack() as stack:
        redis_server = stack.enter_context(RedisServer())
        mongo = stack.enter_context(LargeMongoServer())
        app = make_app(
            redis_url=redis_server.url, mongo_url=mongo.database_url("long_queue")
        )
        async with app.client() as client:
            await stream(client, count)
            await look(client)
        raw = stack.enter_context(redis.Redis.from_url(redis_server.url))
        say("memory of Redis", raw.info("memory")["used_memory"] / MEBIBYTE, "MiB")
        await rebuild(app, raw, count)


async def on_sqlite(count: int) -> None:
    """Sending and looking, on its own file."""
    print(f"SQLite, {count:,} executions")
    with tempfile.TemporaryDirectory(prefix="worchflow-") as folder:
        path = Path(folder) / "worchflow.db"
        app = make_app(sqlite=str(path))
        async with app.client() as client:
            await stream(client, count)
            await look(client)
        say("size of the file", path.stat().st_size / MEBIBYTE, "MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    executions = parser.parse_args().executions
    asyncio.run(on_redis_and_mongo(executions))
    asyncio.run(on_sqlite(executions))
