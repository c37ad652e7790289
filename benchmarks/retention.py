"""What pruning costs the executions that run beside it, on Redis and MongoDB.

    .venv/bin/python -m benchmarks.retention

In turn: executions of three no-op steps alone, and while executions that ended long
ago are removed as the elected worker does it. Starts its own servers on 127.0.0.1.
Only the ratio means something on a shared machine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient

from tests.servers import MongoServer, RedisServer
from worchflow import Worchflow
from worchflow.bench.programs.worchflow_program import make_app
from worchflow.model.records import ExecutionStatus
from worchflow.storage.contract.retention import prune_in_batches

STEPS = 3


async def fill(app: Worchflow[Any], mongo_url: str, count: int) -> None:
    """Executions that completed long ago, each with its steps."""
    prefix = app.backend().options.queue_prefix
    mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    db = mongo.get_default_database()
    end = datetime.now(UTC) - timedelta(days=30)
    shared = {"queuePrefix": prefix, "eventName": "three-steps", "eventData": "null"}
    shared |= {"status": "completed", "finishedAt": end, "result": 3}
    for start in range(0, count, 1000):
        ids = [f"{prefix}-{n}" for n in range(start, min(start + 1000, count))]
        await db.executions.insert_many(
            {"_id": each, "id": each, "createdAt": n, "updatedAt": n, **shared}
            for n, each in enumerate(ids)
        )
        await db.steps.insert_many(
            {
                "_id": f"{each}:{step:032x}",
                "executionId": each,
                "stepId": f"{step:032x}",
                "name": "step",
                "status": "completed",
                "result": 1,
            }
            for each in ids
            for step in range(STEPS)
        )
    await mongo.close()


async def throughput(app: Worchflow[Any], count: int, concurrency: int) -> float:
    """Seconds from a worker's start until `count` waiting executions are done."""
    function = app.registry.for_event("three-steps")
    if function is None:
        raise AssertionError("the app has this function")
    done = asyncio.Event()
    left = count

    def completed(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    async with app.client() as client:
        await client.send_many([function(1) for _ in range(count)])
        worker = app.worker(concurrency=concurrency)
        worker.on("execution:complete", completed)
        began = time.perf_counter()
        async with worker:
            await done.wait()
            return time.perf_counter() - began


async def prune(app: Worchflow[Any]) -> float:
    """Remove until cancelled or done; removed executions a second."""
    backend = app.backend().clone()
    await backend.open()
    began, removed = time.perf_counter(), 0
    try:
        async for batch in prune_in_batches(
            backend.retention, ExecutionStatus.COMPLETED, 24 * 3600.0
        ):
            removed += batch
    except asyncio.CancelledError:
        pass
    finally:
        await backend.close()
    return removed / (time.perf_counter() - began)


async def measure(
    redis_url: str, mongo_url: str, *, executions: int = 4000, ended: int = 100_000
) -> dict[str, float]:
    """Executions a second alone and beside pruning, and removed ones a second."""
    stores = {"redis_url": redis_url, "mongo_url": mongo_url}
    app = make_app({**stores, "queue_prefix": f"bench-{uuid4().hex[:8]}"})
    alone = executions / await throughput(app, executions, 100)
    await fill(app, mongo_url, ended)
    pruning = asyncio.create_task(prune(app))
    beside = executions / await throughput(app, executions, 100)
    pruning.cancel()
    return {"alone": alone, "beside": beside, "removed": await pruning}


async def main(runs: int) -> None:
    """Print the medians."""
    found: list[dict[str, float]] = []
    with RedisServer() as redis, MongoServer() as mongo:
        for run in range(runs):
            url = mongo.database_url(f"retention_{run}")
            found.append(await measure(redis.url, url))
            print(" ".join(f"{key} {value:.0f}/s" for key, value in found[-1].items()))
    ratio = statistics.median(one["beside"] / one["alone"] for one in found)
    removed = statistics.median(one["removed"] for one in found)
    print(f"beside pruning {ratio:.2f} x of alone; {removed:.0f} removed a second")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    asyncio.run(main(parser.parse_args().runs))
