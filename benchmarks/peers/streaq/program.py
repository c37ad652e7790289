"""streaQ: one no-op task, nothing durable."""

from __future__ import annotations

import asyncio

import uvloop
from speech import Completions, on_lines, read_settings, say, serve_sender
from streaq import Worker

SETTINGS = read_settings()
SENT_AT_ONCE = 500
completions = Completions()
queue = Worker(
    redis_url=SETTINGS["redis_url"],
    concurrency=SETTINGS["concurrency"],
    handle_signals=False,
)


@queue.task
async def no_op() -> int:
    completions.add()
    return 1


async def worker() -> None:
    go = asyncio.Event()
    on_lines(lambda _: go.set())
    say(ready=True)
    await go.wait()
    await queue.run_async()


async def sender() -> None:
    async with queue:

        async def send(count: int) -> None:
            for start in range(0, count, SENT_AT_ONCE):
                part = min(SENT_AT_ONCE, count - start)
                await queue.enqueue_many([no_op.enqueue() for _ in range(part)])

        async def one() -> None:
            task = await no_op.enqueue()
            await task.result(timeout=30)

        await serve_sender(send, one)


if __name__ == "__main__":
    uvloop.run({"worker": worker, "sender": sender}[SETTINGS["role"]]())
