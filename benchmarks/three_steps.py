"""Executions of three no-op steps, beside bare programs of the same durable writes.

    .venv/bin/python -m benchmarks.three_steps

Starts its own redis-server and single-node replica set on 127.0.0.1 and stops them.
Strict durability (majority, journaled), one process, queue filled beforehand. Only
the ratios mean something on a shared machine; they are medians over the runs, in
each of which one thing is measured right after the other.

Two ceilings: `bare_worker` makes the library's writes to both stores, coroutine by
coroutine, and does nothing else; `bare_loop` makes MongoDB's alone, in batches that
were there before it began.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import time
from typing import Any
from uuid import uuid4

import uvloop
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from benchmarks import bare_loop
from benchmarks.bare_worker import BareWorker
from tests.servers import MongoServer, RedisServer
from worchflow import Context, Worchflow, __version__
from worchflow.cli.process import calm_the_garbage_collector


async def no_op(value: int) -> int:
    """A step's function that does nothing."""
    return value


def make_app(redis_url: str, mongo_url: str) -> Worchflow[Any]:
    """An app of one function, under a prefix of its own."""
    app = Worchflow(
        "bench",
        redis_url=redis_url,
        mongo_url=mongo_url,
        queue_prefix=f"bench-{uuid4().hex[:8]}",
    )

    @app.function("three-steps")
    async def three_steps(ctx: Context[None]) -> int:
        first = await ctx.step.run("first", no_op, 1)
        second = await ctx.step.run("second", no_op, 1)
        return first + second + await ctx.step.run("third", no_op, 1)

    return app


async def throughput(app: Worchflow[Any], count: int, concurrency: int) -> float:
    """Seconds from a worker's start until `count` waiting executions are done."""
    function = app.functions[0]
    done = asyncio.Event()
    left = count

    def completed(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    async with app.client() as client:
        await client.send_many([function(None) for _ in range(count)])
        worker = app.worker(concurrency=concurrency)
        worker.on("execution:complete", completed)
        began = time.perf_counter()
        async with worker:
            await done.wait()
            return time.perf_counter() - began


async def latency(app: Worchflow[Any], rounds: int) -> list[float]:
    """Seconds from send to result, one execution at a time."""
    function = app.functions[0]
    seconds: list[float] = []
    async with app.client() as client, app.worker(concurrency=10):
        for _ in range(rounds):
            began = time.perf_counter()
            handle = await client.send(function(None))
            await handle.result(timeout=30)
            seconds.append(time.perf_counter() - began)
    return seconds


async def measure(
    redis_url: str, mongo: MongoServer, options: argparse.Namespace
) -> None:
    """Alternate both, then print the medians and their ratio."""
    rates: dict[str, list[float]] = {"loop": [], "worker": [], "worchflow": []}
    latencies: dict[str, list[float]] = {"loop": [], "worchflow": []}
    for number in range(options.runs):
        name = f"bench_{number}"
        url = mongo.database_url(name)
        async with AsyncMongoClient(url) as client:
            database = client[f"{name}_loop"]
            ids = await bare_loop.prepare(database, options.count)
            rates["loop"].append(options.count / await bare_loop.run(database, ids))
            latencies["loop"] += await bare_loop.latency(database, options.rounds)
            await client.drop_database(database)
            seconds = await bare_worker(client, redis_url, options)
            rates["worker"].append(options.count / seconds)
            app = make_app(redis_url, url)
            seconds = await throughput(app, options.count, options.concurrency)
            rates["worchflow"].append(options.count / seconds)
            app = make_app(redis_url, url)
            latencies["worchflow"] += await latency(app, options.rounds)
            await client.drop_database(name)
        now = ", ".join(f"{who} {each[-1]:,.0f}/s" for who, each in rates.items())
        print(f"run {number + 1}: {now}", flush=True)
    report("executions/s", rates, "worker")
    report("executions/s", rates, "loop")
    report("idle latency, s", latencies, "loop")


async def bare_worker(
    client: AsyncMongoClient[Any], redis_url: str, options: argparse.Namespace
) -> float:
    """Seconds the bare worker takes."""
    database = client[f"bare_{uuid4().hex[:8]}"]
    ids = await bare_loop.prepare(database, options.count)
    async with Redis.from_url(redis_url) as redis:
        worker = BareWorker(database, redis, options.concurrency)
        await worker.prepare(ids)
        seconds = await worker.run(options.count)
    await client.drop_database(database)
    return seconds


def report(what: str, values: dict[str, list[float]], ceiling: str) -> None:
    """One line: the ratio first, the median of the runs' own."""
    ours, bare = values["worchflow"], values[ceiling]
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    print(
        f"{ratio:6.2f}  {what}: worchflow {statistics.median(ours):,.4g}, "
        f"bare {ceiling} {statistics.median(bare):,.4g}"
    )


def main() -> None:
    """Read the options, start the servers, measure, stop the servers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="executions a run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=100, help="latencies a run")
    options = parser.parse_args()
    redis, mongo = RedisServer(), MongoServer(replica_set=True)
    calm_the_garbage_collector()  # as `worchflow worker` does
    print(f"worchflow {__version__}, Python {platform.python_version()}, strict")
    try:
        redis.start()
        mongo.start()
        uvloop.run(measure(redis.url, mongo, options))
    finally:
        redis.stop()
        mongo.stop()


if __name__ == "__main__":
    main()
