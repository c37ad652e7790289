"""A deploy changes code while executions are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from tests.stores import new_step
from worchflow import Context, Event, ExecutionFailed, ExecutionStatus, Worchflow
from worchflow.foundations.ids import step_id

MakeApp = Callable[..., Worchflow[Any]]


class OldItem(BaseModel):
    name: str


class NewItem(BaseModel):
    name: str
    price: int


class LenientItem(BaseModel):
    name: str
    price: int = 0


def old_load() -> OldItem:
    return OldItem(name="lamp")


def new_load() -> NewItem:
    return NewItem(name="lamp", price=1)


def lenient_load() -> LenientItem:
    raise AssertionError


def release(
    make_app: MakeApp, load: Callable[[], Any], calls: list[str], *, fails: bool
) -> Worchflow[Any]:
    app = make_app()

    @app.function("shop", retries=0 if fails else 3)
    async def shop(ctx: Context[None]) -> str:
        item = await ctx.step.run("load", load)
        calls.append(type(item).__name__)
        if fails:
            raise ConnectionError
        return repr(item)

    return app


async def failed_once(app: Worchflow[Any]) -> str:
    """Send, let it fail after its step, and queue it again."""
    async with app.client() as client, app.worker():
        handle = await client.send({"name": "shop", "data": None})
        with pytest.raises(ExecutionFailed):
            await handle.result(timeout=10)
    async with app.client() as client:
        await client.retry(handle.id)
    return handle.id


async def test_a_step_whose_type_no_longer_fits_fails_at_once(
    make_app: MakeApp,
) -> None:
    calls: list[str] = []
    id_ = await failed_once(release(make_app, old_load, calls, fails=True))

    after = release(make_app, new_load, calls, fails=False)
    async with after.client() as client, after.worker():
        with pytest.raises(ExecutionFailed) as failed:
            await client.handle(id_).result(timeout=10)

        assert failed.value.error_type == "StepResultChanged"
        assert '"load"' in failed.value.message
        assert "NewItem" in failed.value.message
        # It was no use trying again, and the recorded result is still there.
        assert (await client.get(id_)).attempt_count == 1
        assert (await client.steps(id_))[0].result == {"name": "lamp"}
    assert calls == ["OldItem"]


async def test_a_type_that_reads_the_old_result_goes_on(make_app: MakeApp) -> None:
    calls: list[str] = []
    id_ = await failed_once(release(make_app, old_load, calls, fails=True))

    after = release(make_app, lenient_load, calls, fails=False)
    async with after.client() as client, after.worker():
        result = await client.handle(id_).result(timeout=10)

    assert result == "LenientItem(name='lamp', price=0)"
    assert calls == ["OldItem", "LenientItem"]


async def test_an_event_that_no_longer_fits_fails_at_once(make_app: MakeApp) -> None:
    class Old(Event[None], name="order"):
        number: int

    class New(Event[None], name="order"):
        number: int
        customer: str

    before, after = make_app(), make_app()

    @after.function(New)
    async def order(ctx: Context[New]) -> None:
        raise AssertionError

    async with before.client() as client, after.worker():
        handle = await client.send(Old(number=1))
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=10)

        assert failed.value.error_type == "EventValidationError"
        assert "customer" in failed.value.message
        assert (await client.get(handle.id)).attempt_count == 1


async def test_what_somebody_else_recorded_first_is_adopted(
    app: Worchflow[Any],
) -> None:
    began = asyncio.Event()
    go_on = asyncio.Event()

    async def load() -> str:
        began.set()
        await go_on.wait()
        return "mine"

    @app.function("race")
    async def race(ctx: Context[None]) -> str:
        return await ctx.step.run("load", load)

    observer = app.backend()
    await observer.open()
    try:
        async with app.client() as client, app.worker() as worker:
            handle = await client.send(race())
            await asyncio.wait_for(began.wait(), 10)
            runner = worker._slots._runners[handle.id]
            recorded = new_step(
                step_id=step_id("load"), title="load", result='"theirs"'
            )
            await observer.steps.checkpoint(runner.attempt.claim, recorded)
            go_on.set()

            assert await handle.result(timeout=10) == "theirs"
            assert (await client.steps(handle.id))[0].result == "theirs"
    finally:
        await observer.close()


async def test_an_event_nobody_serves_yet_waits_and_costs_nothing(
    make_app: MakeApp,
) -> None:
    before, after = make_app(), make_app()

    @before.function("old")
    async def old(ctx: Context[None]) -> str:
        return "old"

    @after.function("new")
    async def new(ctx: Context[None]) -> str:
        return "new"

    async with before.client() as client, before.worker():
        waiting = await client.send({"name": "new", "data": None})
        # What is behind it is not held up.
        behind = await client.send({"name": "old", "data": None})
        assert await behind.result(timeout=10) == "old"
        execution = await client.get(waiting.id)
        assert execution.status is ExecutionStatus.QUEUED
        assert execution.attempt_count == 0

        async with after.worker():
            assert await waiting.result(timeout=20) == "new"
        assert (await client.get(waiting.id)).attempt_count == 0


class Order(Event[int], name="order"):
    amount: int = 1


async def test_an_old_sender_may_send_a_field_that_is_gone(make_app: MakeApp) -> None:
    app, old_sender = make_app(), make_app()

    @app.function(Order)
    async def order(ctx: Context[Order]) -> int:
        return ctx.data.amount

    data = {"amount": 5, "colour": "red"}
    async with old_sender.client() as client, app.worker():
        handle = await client.send({"name": "order", "data": data})
        assert await handle.result(timeout=10) == 5
