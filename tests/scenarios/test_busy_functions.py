"""A function whose workers are busy, or not there, holds up no other function."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.waiting import until
from worchflow import Context
from worchflow.model.records import ExecutionStatus

MANY = 300


async def test_a_busy_function_delays_no_other(make_app: Any) -> None:
    busy, other = make_app("busy"), make_app("other")
    may_end = asyncio.Event()

    @busy.function("b")
    async def slow(ctx: Context[None]) -> None:
        await may_end.wait()

    @other.function("a")
    async def quick(ctx: Context[None]) -> str:
        return "done"

    async with (
        busy.client() as client,
        busy.worker(concurrency=2),
        other.worker(concurrency=2),
    ):
        handles = [
            handle
            async for handle in client.send_stream(
                {"name": "b", "data": None} for _ in range(MANY)
            )
        ]
        last = await client.send({"name": "a", "data": None})

        assert await last.result(timeout=60) == "done"

        counts = await client.counts()
        assert counts.get(ExecutionStatus.COMPLETED, 0) <= 1
        may_end.set()
        for handle in handles:
            await handle.result(timeout=60)


async def test_a_function_that_nobody_serves_delays_no_other(make_app: Any) -> None:
    app, absent = make_app("app"), make_app("absent")

    @absent.function("b")
    async def later(ctx: Context[None]) -> str:
        return "later"

    @app.function("a")
    async def quick(ctx: Context[None]) -> str:
        return "done"

    async with app.client() as client, app.worker(concurrency=2):
        waiting = [
            handle
            async for handle in client.send_stream(
                {"name": "b", "data": None} for _ in range(MANY)
            )
        ]
        for _ in range(10):
            handle = await client.send({"name": "a", "data": None})
            assert await handle.result(timeout=60) == "done"

        async def says_why() -> bool:
            return (await client.get(waiting[-1].id)).reason is not None

        await until(says_why)
        async with absent.worker(concurrency=50):
            for each in waiting:
                assert await each.result(timeout=60) == "later"
            assert (await client.get(waiting[0].id)).attempt_count == 0
