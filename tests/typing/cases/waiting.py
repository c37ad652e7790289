"""Waits for events: what they take, and what they give with a timeout and without."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, assert_type
from uuid import uuid4

from worchflow import (
    Context,
    Event,
    SyncContext,
    WorchflowClient,
    event,
    function,
)


class Order(Event[str], name="order"):
    order_id: str


class Approved(Event[None], name="approved", key="order_id"):
    order_id: str
    by: str


class Invoice(TypedDict):
    number: int


paid = event("paid", Invoice, key=lambda invoice: invoice["number"])
seen = event("seen", int, str, key=lambda number: (number, "x"))
by_name = event("by-name", Invoice, key="number")
event("wrong", Invoice, key=lambda invoice: invoice["numbr"])  # BAD
event("wrong", int, key=lambda number: number / 2)  # BAD
event("wrong", int, key=5)  # BAD


@function(Order)
async def order(ctx: Context[Order]) -> str:
    step = ctx.step
    own = ctx.data.order_id
    assert_type(await step.wait_for_event("a", Approved, key=own), Approved)
    assert_type(
        await step.wait_for_event("a", Approved, key=own, timeout="3d"),
        Approved | None,
    )
    assert_type(await step.wait_for_event("a", paid, key=5), Invoice)
    assert_type(await step.wait_for_event("a", paid, key=5, timeout=1), Invoice | None)
    assert_type(await step.wait_for_event("a", seen), int)
    both = await asyncio.gather(
        step.wait_for_event("a", Approved, key=("x", uuid4(), 3)),
        step.wait_for_event("b", paid, since="now"),
    )
    assert_type(both, tuple[Approved, Invoice])
    await step.wait_for_event("a", Approved, since=datetime.now(UTC), timeout=None)
    await step.options(key="x").wait_for_event("a", Approved, timeout=timedelta(1))
    maybe = await step.wait_for_event("a", Approved, timeout=1)
    print(maybe.by)  # BAD
    await step.wait_for_event("a", "approved")  # BAD
    await step.wait_for_event("a", Invoice)  # BAD
    await step.wait_for_event("a", order)  # BAD
    await step.wait_for_event("a", Approved, key=1.5)  # BAD
    await step.wait_for_event("a", Approved, since="soon")  # BAD
    await step.wait_for_event("a", Approved, timeout=b"1h")  # BAD
    await step.options(as_type=int).wait_for_event("a", Approved)  # BAD
    return own


@function(Order)
def order_in_a_thread(ctx: SyncContext[Order]) -> str:
    came = ctx.step.wait_for_event("a", Approved, key=ctx.data.order_id)
    assert_type(came, Approved)
    assert_type(ctx.step.wait_for_event("a", seen, timeout="1h"), int | None)
    ctx.step.wait_for_event("a", Approved, key=b"x")  # BAD
    ctx.step.wait_for_event("a", 3)  # BAD
    return came.by


async def emits(client: WorchflowClient[Any]) -> None:
    assert_type(await client.emit(Approved(order_id="x", by="y")), str)
    await client.emit(paid({"number": 1}), id="x", key=("a", 1))
    assert_type(client.sync.emit(Approved(order_id="x", by="y"), id="x"), str)
    await client.emit(Approved(order_id="x", by="y"), key=1.5)  # BAD
    await client.emit(Approved(order_id="x", by="y"), delay="1h")  # BAD
    await client.emit(paid({"numbr": 1}))  # BAD
