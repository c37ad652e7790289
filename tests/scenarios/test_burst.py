"""A worker in a burst: it ends by itself, once nothing is left to do now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from worchflow import Context, Event, ExecutionStatus, Worchflow
from worchflow.worker import claiming

pytestmark = pytest.mark.timeout(30)


class Add(Event[int], name="add"):
    number: int


class Hold(Event[None], name="hold"):
    pass


async def test_a_burst_ends_once_all_that_is_due_is_done(app: Worchflow[Any]) -> None:
    @app.function(Add)
    async def add(ctx: Context[Add]) -> int:
        return await ctx.step.run("Add", lambda: ctx.data.number + 1)

    async with app.client() as client:
        handles = await client.send_many([Add(number=n) for n in range(5)])
        later = await client.send(Add(number=5), delay="1h")

        ended_by = await app.worker(concurrency=2).run(burst=True)

        assert ended_by is None
        assert [await handle.result(timeout=5) for handle in handles] == [1, 2, 3, 4, 5]
        assert await later.status() is ExecutionStatus.QUEUED


async def test_a_burst_goes_on_taking_work_while_something_runs(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "CLAIM_WAIT_SECONDS", 0.02)
    gate, found_nothing = asyncio.Event(), asyncio.Semaphore(0)

    @app.function(Hold)
    async def hold(ctx: Context[Hold]) -> None:
        await ctx.step.run("Hold", gate.wait)

    @app.function(Add)
    async def add(ctx: Context[Add]) -> int:
        return ctx.data.number

    worker = app.worker(concurrency=2)
    claim = worker._claiming._claim

    async def counted(lease: Any) -> None:
        await claim(lease)
        found_nothing.release()

    worker._claiming._claim = counted  # type: ignore[method-assign]
    async with app.client() as client:
        held = await client.send(Hold())
        burst = asyncio.create_task(worker.run(burst=True))
        for _ in range(5):  # one took it, the others came back with nothing
            await found_nothing.acquire()
        late = await client.send(Add(number=7))

        assert await late.result(timeout=10) == 7
        assert not burst.done()
        gate.set()
        assert await burst is None
        assert await held.status() is ExecutionStatus.COMPLETED
