"""arq: one no-op task, nothing durable."""

from __future__ import annotations

import asyncio

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from speech import (
    Completions,
    gather_in_flight,
    on_lines,
    read_settings,
    say,
    serve_sender,
)

SETTINGS = read_settings()
REDIS = RedisSettings.from_dsn(SETTINGS["redis_url"])
POLL = 0.01
completions = Completions()


async def no_op(ctx) -> int:
    completions.add()
    return 1


async def worker() -> None:
    go = asyncio.Event()
    on_lines(lambda _: go.set())
    say(ready=True)
    await go.wait()
    await Worker(
        [no_op],
        redis_settings=REDIS,
        max_jobs=SETTINGS["concurrency"],
        poll_delay=POLL,
        handle_signals=False,
    ).async_run()


async def sender() -> None:
    pool = await create_pool(REDIS)

    async def send(count: int) -> None:
        await gather_in_flight(
            count, SETTINGS["in_flight"], lambda: pool.enqueue_job("no_op")
        )

    async def one() -> None:
        job = await pool.enqueue_job("no_op")
        await job.result(timeout=30, poll_delay=POLL / 10)

    await serve_sender(send, one)


if __name__ == "__main__":
    uvloop.run({"worker": worker, "sender": sender}[SETTINGS["role"]]())
