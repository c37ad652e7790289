"""redflow: three durable steps, kept in Redis."""

from __future__ import annotations

import asyncio

import uvloop
from redflow import StartWorkerOptions, create_client, start_worker, workflow
from redflow.registry import get_default_registry
from speech import (
    Completions,
    gather_in_flight,
    on_lines,
    read_settings,
    say,
    serve_sender,
)

SETTINGS = read_settings()
NAME = "three-steps"
completions = Completions()


async def no_op(value, *, signal=None):
    return value


# Its default of one execution at a time would be all there is to measure.
@workflow(NAME, max_concurrency=1_000)
async def three_steps(ctx):
    completions.begin()
    total = 0
    for title in ("first", "second", "third"):
        total += await ctx.step.run(title, no_op, 1)
    completions.add()
    return total


async def worker() -> None:
    go = asyncio.Event()
    on_lines(lambda _: go.set())
    say(ready=True)
    await go.wait()
    await start_worker(
        StartWorkerOptions(
            app="bench",
            url=SETTINGS["redis_url"],
            concurrency=SETTINGS["concurrency"],
        )
    )
    await asyncio.Event().wait()


async def sender() -> None:
    client = create_client(url=SETTINGS["redis_url"], app="bench")
    await client.sync_registry(get_default_registry(), app="bench")

    async def emit():
        return await client.emit_workflow(NAME, {})

    async def send(count: int) -> None:
        await gather_in_flight(count, SETTINGS["in_flight"], emit)

    async def one() -> None:
        await (await emit()).result(timeout_ms=30_000)

    await serve_sender(send, one)


if __name__ == "__main__":
    uvloop.run({"worker": worker, "sender": sender}[SETTINGS["role"]]())
