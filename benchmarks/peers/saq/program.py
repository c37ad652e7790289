"""SAQ: one no-op task, nothing durable."""

from __future__ import annotations

import asyncio

import uvloop
from saq import Queue, Worker
from speech import (
    Completions,
    gather_in_flight,
    on_lines,
    read_settings,
    say,
    serve_sender,
)

SETTINGS = read_settings()
completions = Completions()


async def no_op(ctx) -> int:
    completions.add()
    return 1


async def worker() -> None:
    go = asyncio.Event()
    on_lines(lambda _: go.set())
    queue = Queue.from_url(SETTINGS["redis_url"])
    await queue.connect()
    say(ready=True)
    await go.wait()
    await Worker(queue, [no_op], concurrency=SETTINGS["concurrency"]).start()


async def sender() -> None:
    queue = Queue.from_url(SETTINGS["redis_url"])
    await queue.connect()

    async def send(count: int) -> None:
        await gather_in_flight(
            count, SETTINGS["in_flight"], lambda: queue.enqueue("no_op")
        )

    async def one() -> None:
        await queue.apply("no_op", timeout=30, poll_interval=0.001)

    await serve_sender(send, one)


if __name__ == "__main__":
    uvloop.run({"worker": worker, "sender": sender}[SETTINGS["role"]]())
