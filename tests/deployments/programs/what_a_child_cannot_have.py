"""What a child is refused, and a worker that continues beside one of a child."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import redis.asyncio
from pymongo import AsyncMongoClient

from worchflow import ConfigurationError, Context, Worchflow, WorchflowClient


def in_a_child(work: Callable[[], object]) -> None:
    """Do it in a child and print how it was refused, or what came of it."""
    child = os.fork()
    if child == 0:
        try:
            print(work(), flush=True)
        except ConfigurationError as error:
            print("refused:", error, flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def run(work: Coroutine[Any, Any, object]) -> object:
    """Run it on an event loop of the child."""
    return asyncio.run(work)


memory = Worchflow("memory", sqlite=":memory:").client().sync
memory.send({"name": "order", "data": 1})
in_a_child(lambda: memory.send({"name": "order", "data": 2}))
print("memory", memory.counts()["queued"])
memory.close()

app = Worchflow("shop")


@app.function("pid")
async def pid(ctx: Context[None]) -> int:
    return os.getpid()


async def given_clients() -> None:
    """Clients that the user made, in use before the fork."""
    connection = redis.asyncio.Redis.from_url(os.environ["WORCHFLOW_REDIS_URL"])
    mongo: AsyncMongoClient[Any] = AsyncMongoClient(os.environ["WORCHFLOW_MONGO_URL"])
    db = mongo.get_default_database()
    client = WorchflowClient(redis=connection, db=db)
    async with client:
        in_a_child(lambda: run(client.counts()))
        await client.counts()
    await connection.aclose()
    await mongo.close()


async def work_here() -> None:
    """A worker of this process, and an execution that it runs."""
    async with app.client() as client, app.worker() as worker:
        in_a_child(lambda: run(worker.start()))
        in_a_child(lambda: run(worker.stop()))
        handle = await client.send({"name": "pid", "data": None})
        assert await handle.result(timeout=20) == os.getpid()


async def work_in_the_child() -> str:
    """Another one, made where it runs."""
    async with app.client() as client, app.worker():
        handle = await client.send({"name": "pid", "data": None})
        assert await handle.result(timeout=20) == os.getpid()
    return "a worker in the child"


if "WORCHFLOW_REDIS_URL" in os.environ:
    asyncio.run(given_clients())
asyncio.run(work_here())
in_a_child(lambda: run(work_in_the_child()))
