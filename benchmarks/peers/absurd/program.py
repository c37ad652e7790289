"""Absurd: three durable steps, kept in PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import uvloop
from absurd_sdk import AsyncAbsurd
from speech import Completions, on_lines, read_settings, say, serve_sender

SETTINGS = read_settings()
URL = SETTINGS["database_url"]
NAME = "three-steps"
SENDERS = 8
completions = Completions()


def control(*arguments: str) -> None:
    """Run its own tool for schemas and queues."""
    subprocess.run(
        [str(Path(sys.executable).with_name("absurdctl")), *arguments],
        check=True,
        env={**os.environ, "ABSURD_DATABASE_URL": URL, "PGDATABASE": URL},
        stdout=subprocess.DEVNULL,
    )


async def no_op():
    return 1


async def worker() -> None:
    app = AsyncAbsurd(URL)

    @app.register_task(name=NAME)
    async def three_steps(params, ctx):
        completions.begin()
        total = 0
        for title in ("first", "second", "third"):
            total += await ctx.step(title, no_op)
        completions.add()
        return total

    go = asyncio.Event()
    on_lines(lambda _: go.set())
    say(ready=True)
    await go.wait()
    await app.start_worker(
        concurrency=SETTINGS["concurrency"], poll_interval=SETTINGS["poll"]
    )


async def sender() -> None:
    # A connection serves one call at a time.
    apps = [AsyncAbsurd(URL) for _ in range(SENDERS)]

    async def send(count: int) -> None:
        left = count

        async def write_behind(app) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await app.spawn(NAME, {}, queue="default")

        await asyncio.gather(*(write_behind(app) for app in apps))

    async def one() -> None:
        spawned = await apps[0].spawn(NAME, {}, queue="default")
        await apps[0].await_task_result(spawned["task_id"], timeout=30)

    await serve_sender(send, one)


if __name__ == "__main__":
    if SETTINGS["role"] == "prepare":
        control("init")
        control("create-queue", "default")
        say(ready=True)
    else:
        uvloop.run({"worker": worker, "sender": sender}[SETTINGS["role"]]())
