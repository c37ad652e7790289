"""What ran is gone at once: no circle of objects waits for the garbage collector."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from worchflow import Context, StepFailed, SyncContext, Worchflow

EXECUTIONS = 40


class Held:
    """A variable of the user's function, as large as you like."""


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[list[str]]:
    """What the engine logs, as text; pytest would keep records, and so exceptions."""
    lines: list[str] = []
    form, logger = logging.Formatter(), logging.getLogger("worchflow.engine")

    def keep_text(record: logging.LogRecord) -> bool:
        lines.append(form.format(record))
        return False

    logger.addFilter(keep_text)
    yield lines
    logger.removeFilter(keep_text)


@pytest.fixture
def collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Functions:
    """Functions whose variables are in `alive` for as long as they exist."""

    def __init__(self, app: Worchflow[Any]) -> None:
        self.alive: weakref.WeakSet[Held] = weakref.WeakSet()
        app.function("async", retries=1, retry_delay=0)(self.an_async_one)
        app.function("plain", retries=1, retry_delay=0)(self.a_plain_one)
        app.function("slow", retries=0, timeout=0.01)(self.a_slow_one)

    def held(self) -> Held:
        one = Held()
        self.alive.add(one)
        return one

    async def fine(self) -> int:
        own = self.held()
        return 1 if own else 0

    async def failing(self) -> int:
        own = self.held()
        raise ConnectionError(f"{own}"[:4])

    def failing_in_thread(self) -> int:
        own = self.held()
        raise ConnectionError(f"{own}"[:4])

    async def an_async_one(self, ctx: Context[str]) -> None:
        own = self.held()
        ctx.log.debug("begins")
        await ctx.step.run("first", self.fine)
        match ctx.data:
            case "raises":
                raise ConnectionError(f"{own}"[:4])
            case "its step raises":
                await ctx.step.run("second", self.failing)
            case "its step raises in a thread":
                await ctx.step.run("second", self.failing_in_thread)
            case "its step fails for good":
                await ctx.step.options(retries=1).run("second", self.failing)
            case "its step's failure is caught":
                with contextlib.suppress(StepFailed):
                    await ctx.step.options(retries=0).run("second", self.failing)
            case "its steps are gathered":
                one = ctx.step.run("second", self.fine)
                await asyncio.gather(one, ctx.step.run("third", self.failing))

    def a_plain_one(self, ctx: SyncContext[str]) -> None:
        own = self.held()
        ctx.step.run("first", self.fine)
        match ctx.data:
            case "raises":
                raise ConnectionError(f"{own}"[:4])
            case "its step raises":
                ctx.step.run("second", self.failing_in_thread)
            case "its async step raises":
                ctx.step.run("second", self.failing)
            case "its step fails for good":
                ctx.step.options(retries=1).run("second", self.failing_in_thread)

    async def a_slow_one(self, ctx: Context[str]) -> None:
        own = self.held()
        await asyncio.Event().wait()
        assert own


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("async", "succeeds"),
        ("async", "raises"),
        ("async", "its step raises"),
        ("async", "its step raises in a thread"),
        ("async", "its step fails for good"),
        ("async", "its step's failure is caught"),
        ("async", "its steps are gathered"),
        ("plain", "succeeds"),
        ("plain", "raises"),
        ("plain", "its step raises"),
        ("plain", "its async step raises"),
        ("plain", "its step fails for good"),
        ("slow", "times out"),
    ],
)
async def test_what_an_execution_held_is_gone_with_it(
    app: Worchflow[Any], log_lines: list[str], name: str, how: str
) -> None:
    alive = Functions(app).alive
    ended = asyncio.Event()
    left = EXECUTIONS

    def count(notice: Any) -> None:
        nonlocal left
        left -= notice.status.is_terminal
        if not left:
            ended.set()

    async with app.client() as client, app.worker(concurrency=5) as worker:
        worker.on("execution:updated", count)
        messages = [{"name": name, "data": how} for _ in range(EXECUTIONS)]
        await client.send_many(messages)
        async with asyncio.timeout(20):
            await ended.wait()
        told = any("Traceback" in line for line in log_lines)
        assert told == (how not in {"succeeds", "times out"})
        # A thread keeps what it did last until its next work.
        assert len(alive) <= 10
