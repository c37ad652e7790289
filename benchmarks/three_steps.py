"""Executions of three no-op steps, beside a bare loop of the same durable writes.

    .venv/bin/python -m benchmarks.three_steps

Starts its own redis-server and single-node replica set on 127.0.0.1 and stops them.
Strict durability (majority, journaled), one process, queue filled beforehand. Only
the ratios mean something on a shared machine; they are medians of alternating runs.
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

from benchmarks import bare_loop
from tests.servers import MongoServer, RedisServer
from worchflow import Context, Worchflow, __version__


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
    ours: list[float] = []
    bare: list[float] = []
    our_latency: list[float] = []
    bare_latency: list[float] = []
    for number in range(options.runs):
        name = f"bench_{number}"
        url = mongo.database_url(name)
        async with AsyncMongoClient(url) as client:
            database = client[f"{name}_bare"]
            ids = await bare_loop.prepare(database, options.count)
            bare.append(options.count / await bare_loop.run(database, ids))
            bare_latency += await bare_loop.latency(database, options.rounds)
            app = make_app(redis_url, url)
            seconds = await throughput(app, options.count, options.concurrency)
            ours.append(options.count / seconds)
            our_latency += await latency(make_app(redis_url, url), options.rounds)
            await client.drop_database(f"{name}_bare")
            await client.drop_database(name)
        print(f"run {number + 1}: bare {bare[-1]:,.0f}/s, worchflow {ours[-1]:,.0f}/s")
    report("executions/s", statistics.median(ours), statistics.median(bare))
    report(
        "idle latency, ms",
        statistics.median(our_latency) * 1e3,
        statistics.median(bare_latency) * 1e3,
    )


def report(what: str, ours: float, bare: float) -> None:
    """One line: the ratio first."""
    print(f"{ours / bare:6.2f}  {what}: worchflow {ours:,.2f}, bare {bare:,.2f}")


def main() -> None:
    """Read the options, start the servers, measure, stop the servers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="executions a run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=100, help="latencies a run")
    options = parser.parse_args()
    redis, mongo = RedisServer(), MongoServer(replica_set=True)
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
