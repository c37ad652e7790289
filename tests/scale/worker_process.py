"""A worker of what fans out and of what waits; it tells what it ran, and replayed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.settings import Settings
from worchflow import Context, Event, Worchflow, event

REST_SECONDS = 0.002
"""How long a part takes."""


class Crowd(Event[int], name="crowd"):
    """A parent of so many children."""

    count: int


class Part(Event[int], name="part"):
    """One of these children."""

    number: int


class Items(Event[int], name="items"):
    """A map over so many items."""

    count: int
    broken: bool = False
    """Whether every tenth item fails."""


class Sleeper(Event[int], name="sleeper"):
    """One that sleeps until a moment."""

    number: int
    until: datetime


class Waiter(Event[str], name="waiter"):
    """One that waits for an event with a key."""

    number: int
    key: str


NEWS = event("news", str)
"""What these wait for."""


def main(settings: Settings) -> None:
    """Work until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(work(settings))


async def work(settings: Settings) -> None:
    """Work until told to stop; SIGUSR1 writes down how often parents were replayed."""
    app = Worchflow("scale", backend=settings.backend())
    add_work(app, Path(settings.ledger))
    worker = app.worker(options=settings.worker_options())
    replays = Path(f"{settings.ledger}.{os.getpid()}")

    def tell() -> None:
        replays.write_text(json.dumps(worker.parking.replayed))

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    await worker.run()


def add_work(app: Worchflow[Any], effects: Path) -> None:
    """The functions; each part appends its number to a file."""
    file = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def part(number: int) -> int:
        await asyncio.sleep(REST_SECONDS)
        os.write(file, b"%d\n" % number)
        return number

    async def breakable(number: int) -> int:
        value = await part(number)
        if number % 10 == 0 and not effects.with_suffix(".mended").exists():
            raise ValueError(number)
        return value

    @app.function(Items, retries=0)
    async def items(ctx: Context[Items]) -> int:
        run = breakable if ctx.data.broken else part
        numbers = range(ctx.data.count)
        return sum(await ctx.step.map("Item", run, numbers, concurrency=20))

    @app.function(Crowd, retries=0)
    async def crowd(ctx: Context[Crowd]) -> int:
        parts = [Part(number=n) for n in range(ctx.data.count)]
        return sum(await ctx.step.invoke_many("Part", parts))

    @app.function(Sleeper, retries=0)
    async def sleeper(ctx: Context[Sleeper]) -> int:
        await ctx.step.sleep_until("Sleep", ctx.data.until)
        return await ctx.step.run("Count", part, ctx.data.number)

    @app.function(Waiter, retries=0)
    async def waiter(ctx: Context[Waiter]) -> str:
        news = await ctx.step.wait_for_event("News", NEWS, key=ctx.data.key)
        await ctx.step.run("Count", part, ctx.data.number)
        return news

    @app.function(Part, retries=0)
    async def one(ctx: Context[Part]) -> int:
        return await ctx.step.run("Count", part, ctx.data.number)
