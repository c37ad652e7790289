"""`concurrency` is a hard bound, and no reason to leave slots empty."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from worchflow import ConfigurationError, Context, SyncContext, Worchflow
from worchflow.model.options import WorkerOptions


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def leave(self) -> None:
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_than_that_run_at_once(
    app: Worchflow[Any], concurrency: int
) -> None:
    crowd = Crowd()

    @app.function("crowded", retries=1, retry_delay=0)
    async def crowded(ctx: Context[int]) -> int:
        crowd.enter()
        try:
            await ctx.step.run("thread", lambda: None)
            await asyncio.sleep(0)
            if ctx.attempt == 1 and ctx.data % 5 == 0:
                raise ConnectionError
            await ctx.step.run("more", lambda: None)
        finally:
            crowd.leave()
        return ctx.data

    async with app.client() as client, app.worker(concurrency=concurrency):
        messages = [{"name": "crowded", "data": n} for n in range(40)]
        handles = await client.send_many(messages)
        results = [await handle.result(timeout=15) for handle in handles]

    assert results == list(range(40))
    assert 1 <= crowd.most <= concurrency


async def test_every_slot_is_used(app: Worchflow[Any]) -> None:
    all_here = asyncio.Barrier(5)

    @app.function("meeting")
    async def meeting(ctx: Context[None]) -> None:
        await all_here.wait()

    async with app.client() as client, app.worker(concurrency=5):
        handles = await client.send_many([meeting() for _ in range(10)])
        for handle in handles:
            await handle.result(timeout=10)


async def test_few_free_slots_are_filled_while_much_work_waits(
    app: Worchflow[Any],
) -> None:
    """A claim waits a moment for more free slots, and never for busy ones."""
    done = asyncio.Event()

    @app.function("long")
    async def long(ctx: Context[None]) -> None:
        await done.wait()

    @app.function("short")
    async def short(ctx: Context[int]) -> int:
        return ctx.data

    async with app.client() as client, app.worker(concurrency=20):
        blocking = await client.send_many([long() for _ in range(19)])
        handles = await client.send_many([short(n) for n in range(30)])
        results = [await handle.result(timeout=10) for handle in handles]
        assert results == list(range(30))
        assert not done.is_set()
        done.set()
        for handle in blocking:
            await handle.result(timeout=10)


async def test_plain_handlers_have_a_thread_for_each_slot(app: Worchflow[Any]) -> None:
    all_here = threading.Barrier(40, timeout=10)

    @app.function("meeting")
    def meeting(ctx: SyncContext[None]) -> None:
        # Handlers wait for their steps in threads; neither may starve the other.
        all_here.wait()
        ctx.step.run("work", all_here.wait)

    async with app.client() as client, app.worker(concurrency=40):
        handles = await client.send_many([meeting() for _ in range(40)])
        for handle in handles:
            await handle.result(timeout=15)


async def test_a_free_slot_is_not_waited_for_by_a_claim_in_progress(
    app: Worchflow[Any],
) -> None:
    first_began, go_on = asyncio.Event(), asyncio.Event()

    @app.function("first")
    async def first(ctx: Context[None]) -> None:
        first_began.set()
        await go_on.wait()

    @app.function("second")
    async def second(ctx: Context[None]) -> str:
        go_on.set()
        return "second"

    async with app.client() as client, app.worker(concurrency=2):
        one = await client.send(first())
        await asyncio.wait_for(first_began.wait(), 10)
        two = await client.send(second())

        assert await two.result(timeout=10) == "second"
        await one.result(timeout=10)


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "2", None, True, 10_001])
def test_it_is_a_number_that_makes_sense(concurrency: Any) -> None:
    with pytest.raises(ConfigurationError, match="concurrency="):
        WorkerOptions(concurrency=concurrency)
    with pytest.raises(ConfigurationError, match="concurrency="):
        Worchflow("app", sqlite=":memory:").worker(concurrency=concurrency)
