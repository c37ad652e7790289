"""The work under chaos: five steps, the model of their result, their ledger lines."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chaos.schedule import pause, pause_thread
from worchflow import Context, Event, Retry, Worchflow
from worchflow.ledger import Kind, Ledger

STEPS = 5
WIDTH = 2
"""Steps that one execution runs in parallel."""


class Work(Event[dict[str, int]], name="work"):
    seed: int


@dataclass(frozen=True)
class Effect:
    """A step's result, and the run of it that this is: no two runs are equal."""

    step: str
    value: int
    run: str


class Hiccup(Exception):
    """A failure that the model knows of."""


def model(seed: int) -> tuple[dict[str, int], int]:
    """What the execution of a seed has to end with, worked out without any step.

    The second are the failed attempts its record has to show: a worker's death is
    none.
    """
    reserved = seed * 7 + 1
    checked = (reserved * 3) ^ (reserved + 11)
    return {"total": checked * 2 + reserved}, int(seed % 10 in (3, 7))


class Track:
    """Writes the ledger lines of one attempt."""

    def __init__(self, ledger: Ledger, ctx: Context[Any], pace: float) -> None:
        self.ctx = ctx
        # From half to one and a half, so that no two executions move in step.
        self.pace = pace * (0.5 + ctx.data.seed % 11 / 10)
        self._ledger = ledger

    def write(self, kind: Kind, step: str, value: Any = None) -> None:
        self._ledger.write(
            kind,
            execution=self.ctx.execution_id,
            step=step,
            token=self.ctx.token,
            attempt=self.ctx.attempt,
            value=value,
        )

    def done(self, step: str, value: int) -> Effect:
        effect = Effect(step=step, value=value, run=uuid.uuid4().hex[:12])
        self.write(Kind.DONE, step, effect.run)
        return effect

    def fail(self, step: str) -> Hiccup:
        self.write(Kind.FAILED, step)
        return Hiccup(step or "attempt")

    async def run(
        self, title: str, fn: Callable[..., Any], *args: Any, **how: Any
    ) -> int:
        """One step: `fn` gets this, the step's name and `args`."""
        step = f"{title} {how.get('key', '')}".strip()
        effect: Effect = await self.ctx.step.options(**how).run(
            title, fn, self, step, *args
        )
        self.write(Kind.ACKED, step, effect.run)
        return effect.value


async def reserve(track: Track, step: str, seed: int) -> Effect:
    track.write(Kind.START, step)
    await pause(track.pace)
    return track.done(step, seed * 7 + 1)


async def triple(track: Track, step: str, value: int) -> Effect:
    track.write(Kind.START, step)
    await pause(track.pace)
    return track.done(step, value * 3)


def raise_by_eleven(track: Track, step: str, value: int) -> Effect:
    track.write(Kind.START, step)
    pause_thread(track.pace / 2)
    if track.ctx.data.seed % 10 == 7 and track.ctx.attempt == 1:
        track.fail(step)
        raise track.fail("")
    return track.done(step, value + 11)


async def double(track: Track, step: str, value: int, tries: list[int]) -> Effect:
    track.write(Kind.START, step)
    tries.append(value)
    await pause(track.pace)
    if track.ctx.data.seed % 5 == 0 and len(tries) == 1:
        raise track.fail(step)
    return track.done(step, value * 2)


def total(track: Track, step: str, doubled: int, reserved: int) -> Effect:
    track.write(Kind.START, step)
    pause_thread(track.pace)
    return track.done(step, doubled + reserved)


def add_work(app: Worchflow[Any], ledger: Ledger, pace: float) -> None:
    """Register the function; its steps run one after another and two in parallel."""

    @app.function(Work, retries=Retry(max_retries=3, delay=0.05))
    async def work(ctx: Context[Work]) -> dict[str, int]:
        track = Track(ledger, ctx, pace)
        seed = ctx.data.seed
        reserved = await track.run("Reserve", reserve, seed)
        if seed % 10 == 3 and ctx.attempt == 1:
            raise track.fail("")
        left, right = await asyncio.gather(
            track.run("Check", triple, reserved, key="left"),
            track.run("Check", raise_by_eleven, reserved, key="right"),
        )
        retries = Retry(max_retries=2, delay=0.05)
        doubled = await track.run("Double", double, left ^ right, [], retries=retries)
        return {"total": await track.run("Total", total, doubled, reserved)}
