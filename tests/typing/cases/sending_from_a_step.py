"""`step.send`: one message gives an id, several give a list of them."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, assert_type

from worchflow import Context, Event, SyncContext, event, function


class Order(Event[str], name="order"):
    order_id: str


class Mail(Event[None], name="mail"):
    to: str


class News(TypedDict):
    name: Literal["news"]
    data: int


paid = event("paid", int)


@function(Order)
async def order(ctx: Context[Order]) -> str:
    step = ctx.step
    assert_type(await step.send("a", Mail(to="x")), str)
    assert_type(await step.send("a", paid(3)), str)
    assert_type(await step.send("a", order_in_a_thread(Order(order_id="x"))), str)
    assert_type(await step.send("a", {"name": "x", "data": None}), str)
    news = News(name="news", data=1)
    assert_type(await step.send("a", news), str)
    assert_type(await step.send("a", [Mail(to="x"), Mail(to="y")]), list[str])
    assert_type(await step.send("a", (paid(n) for n in range(3))), list[str])
    mixed: list[Any] = [Mail(to="x"), paid(3), news]
    assert_type(await step.send("a", mixed), list[str])
    await step.options(key=3).send("a", [{"name": "x", "data": None}])
    await step.send("a", 3)  # BAD
    await step.send("a", Mail)  # BAD
    await step.send("a", [3])  # BAD
    await step.send("a")  # BAD
    await step.send(Mail(to="x"), "a")  # BAD
    await step.send("a", Mail(to="x"), delay="1h")  # BAD
    return "x"


@function(Order)
def order_in_a_thread(ctx: SyncContext[Order]) -> str:
    assert_type(ctx.step.send("a", Mail(to="x")), str)
    assert_type(ctx.step.send("a", [paid(3)]), list[str])
    ctx.step.send("a", 3)  # BAD
    return "x"
