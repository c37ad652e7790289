"""taskiq on a Redis stream: one no-op task, nothing durable."""

from __future__ import annotations

import asyncio

import uvloop
from speech import (
    Completions,
    gather_in_flight,
    on_lines,
    read_settings,
    say,
    serve_sender,
)
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

SETTINGS = read_settings()
completions = Completions()
broker = RedisStreamBroker(SETTINGS["redis_url"]).with_result_backend(
    RedisAsyncResultBackend(SETTINGS["redis_url"], result_ex_time=3600)
)


@broker.task(task_name="no_op")
async def no_op() -> int:
    completions.add()
    return 1


async def worker() -> None:
    go = asyncio.Event()
    on_lines(lambda _: go.set())
    say(ready=True)
    await go.wait()
    await run_receiver_task(
        broker, run_startup=True, max_async_tasks=SETTINGS["concurrency"]
    )


async def sender() -> None:
    await broker.startup()

    async def send(count: int) -> None:
        await gather_in_flight(count, SETTINGS["in_flight"], no_op.kiq)

    async def one() -> None:
        task = await no_op.kiq()
        await task.wait_result(check_interval=0.001, timeout=30)

    await serve_sender(send, one)


if __name__ == "__main__":
    uvloop.run({"worker": worker, "sender": sender}[SETTINGS["role"]]())
