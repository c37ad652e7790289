"""Functions that freeze, block or kill the worker that runs them."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from tests.chaos.fenced import FencedRegister
from tests.chaos.schedule import pause_thread
from tests.chaos.workload import Effect, Track
from worchflow import Context, Event, Middleware, Worchflow
from worchflow.ledger import Kind, Ledger

logger = logging.getLogger("tests.chaos")

HERE = "waits to be frozen"


class Point(StrEnum):
    """Where a worker freezes."""

    CLAIMED = "between the claim and the first step"
    INSIDE = "inside a step"
    CHECKPOINT = "after a step, before its checkpoint"
    SETTLEMENT = "after the handler, before the settlement"


class Freeze(Event[dict[str, int]], name="freeze"):
    point: Point
    seed: int


class Block(Event[int], name="block"):
    seconds: float
    seed: int = 0


class Poison(Event[int], name="poison"):
    seed: int = 0


class Freezer(Middleware):
    """Waits to be frozen where it is told to, where no user code runs too."""

    def at(self, ctx: Context[Any], point: Point) -> None:
        """Stay here until resumed, if the first owner is to freeze here."""
        data = ctx.data
        if isinstance(data, Freeze) and data.point is point and ctx.token == 1:
            resumed = threading.Event()
            signal.signal(signal.SIGCONT, lambda *_: resumed.set())
            logger.info(HERE)
            while not resumed.is_set():
                pause_thread(0.005)

    async def wrap_execution(
        self, ctx: Context[Any], call_next: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        result = await call_next(ctx)
        self.at(ctx, Point.SETTLEMENT)
        return result

    async def wrap_step(
        self, ctx: Context[Any], title: str, call_next: Callable[[], Awaitable[Any]]
    ) -> Any:
        result = await call_next()
        if title == "First":
            self.at(ctx, Point.CHECKPOINT)
        return result


def freezing_result(seed: int) -> dict[str, int]:
    """What an execution of `Freeze` has to end with, worked out without its steps.

    The first owner freezes, so the result is the second one's.
    """
    return {"value": seed + 3, "by token": 2}


def spin(seconds: float) -> int:
    """Keep the interpreter busy, as number crunching in a handler would."""
    until = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < until:
        turns += 1
    return turns


def add_troublemakers(
    app: Worchflow[Any], ledger: Ledger, register: FencedRegister, freezer: Freezer
) -> None:
    """Register the functions."""

    async def first(track: Track, step: str, value: int) -> Effect:
        ctx = track.ctx
        track.write(Kind.START, step)
        freezer.at(ctx, Point.INSIDE)
        register.write(ctx.execution_id, ctx.token, f"by token {ctx.token}")
        return track.done(step, value + 1)

    async def second(track: Track, step: str, value: int) -> Effect:
        track.write(Kind.START, step)
        return track.done(step, value + 2)

    @app.function(Freeze)
    async def freeze(ctx: Context[Freeze]) -> dict[str, int]:
        track = Track(ledger, ctx, 0)
        freezer.at(ctx, Point.CLAIMED)
        value = await track.run("First", first, ctx.data.seed)
        value = await track.run("Second", second, value)
        return {"value": value, "by token": ctx.token}

    async def crunch(track: Track, step: str, seconds: float) -> Effect:
        track.write(Kind.START, step)
        spin(seconds)
        return track.done(step, 1)

    @app.function(Block)
    async def block(ctx: Context[Block]) -> int:
        track = Track(ledger, ctx, 0)
        return await track.run("Crunch numbers", crunch, ctx.data.seconds)

    def swallow(track: Track, step: str) -> Effect:
        track.write(Kind.START, step)
        os.abort()

    @app.function(Poison)
    async def poison(ctx: Context[Poison]) -> int:
        return await Track(ledger, ctx, 0).run("Swallow", swallow)
