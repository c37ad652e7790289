"""What `client.counts()` costs MongoDB when a lot is stored.

    .venv/bin/python -m benchmarks.counting [--executions 1000000]

Half of the executions wait, half have completed over the last week. Prints the CPU
time of the server for one count as it is done, and for one that reads all of the
index. Starts its own servers on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import AsyncMongoClient

from tests.servers import MongoServer, RedisServer
from worchflow.bench.usage import usage_of
from worchflow.model.options import BackendOptions
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.counting import Counting

PREFIX = "bench"
WEEK = 7 * 86400


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    used = usage_of(pid)
    if used is None:
        raise AssertionError("it runs")
    return used.cpu


async def fill(mongo_url: str, count: int) -> None:
    """Half waiting, half completed over the last week."""
    mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    executions = mongo.get_default_database().executions
    now = datetime.now(UTC)
    for start in range(0, count, 5000):
        documents: list[dict[str, Any]] = []
        for n in range(start, min(start + 5000, count)):
            document = {"_id": f"e{n}", "id": f"e{n}", "queuePrefix": PREFIX}
            document |= {"eventName": "pay", "eventData": "1", "createdAt": n}
            if n % 2:
                document |= {"status": "queued", "dueAt": now}
            else:
                end = now - timedelta(seconds=WEEK * (count - n) / count)
                document |= {"status": "completed", "finishedAt": end}
            documents.append(document)
        await executions.insert_many(documents, ordered=False)
    await mongo.close()


async def measure(
    redis_url: str, mongo_url: str, mongod: int, *, executions: int
) -> dict[str, float]:
    """Milliseconds of the server's CPU for each way to count."""
    options = BackendOptions(queue_prefix=PREFIX, timeout=60.0)
    backend = RedisMongoBackend.connect(redis_url, mongo_url, options)
    await backend.open()
    await fill(mongo_url, executions)
    counting = Counting(backend._open_parts.stores)  # noqa: SLF001
    found: dict[str, float] = {}
    for name, act in (
        ("for good, the first time", counting.advance),
        ("for good, again", counting.advance),
        ("count", counting.count),
        ("count by reading all", counting.count_all),
    ):
        before, began = cpu_seconds(mongod), time.perf_counter()
        await act()
        found[f"{name}, CPU ms"] = (cpu_seconds(mongod) - before) * 1000
        found[f"{name}, ms"] = (time.perf_counter() - began) * 1000
    await backend.close()
    return found


async def main(executions: int) -> None:
    """Print what one of each costs."""
    with RedisServer() as redis, MongoServer() as mongo:
        url = mongo.database_url("counting")
        found = await measure(redis.url, url, mongo.pid, executions=executions)
    print(f"{executions} executions")
    for name, value in found.items():
        print(f"{name:34}{value:10.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    asyncio.run(main(parser.parse_args().executions))
