"""Children: their results have the types of their events, and so have their handles."""

from __future__ import annotations

import asyncio
from typing import Any, assert_type

from worchflow import (
    ChildHandle,
    Context,
    Event,
    SyncChildHandle,
    SyncContext,
    WorchflowClient,
    event,
    function,
)


class Receipt(Event[str], name="receipt"):
    order_id: str


RESIZE = event("resize", bytes, int)


@function(Receipt)
async def receipt(ctx: Context[Receipt]) -> str:
    step = ctx.step
    assert_type(await step.invoke("a", Receipt(order_id="o")), str)
    assert_type(await step.invoke("a", receipt(Receipt(order_id="o"))), str)
    assert_type(await step.invoke("a", RESIZE(b"x"), timeout="1h"), int)
    assert_type(await step.invoke("a", {"name": "x", "data": 1}), Any)
    keyed = step.options(key=1)
    both = await asyncio.gather(
        keyed.invoke("a", Receipt(order_id="o")), keyed.invoke("b", RESIZE(b"x"))
    )
    assert_type(both, tuple[str, int])
    child = await step.start("a", Receipt(order_id="o"), on_parent_end="leave")
    _ = assert_type(child, ChildHandle[str])
    assert_type(child.id, str)
    assert_type(await child.result(timeout=3), str)
    assert_type(await child.cancel(reason="x"), None)
    async with asyncio.TaskGroup() as group:
        later = group.create_task(child.result())
    assert_type(later.result(), str)
    wide: ChildHandle[object] = child
    narrow: ChildHandle[int] = child  # BAD
    print(wide, narrow)
    await step.invoke("a", Receipt)  # BAD
    await step.invoke(Receipt(order_id="o"), "a")  # BAD
    await step.invoke("a", "receipt")  # BAD
    await step.invoke("a")  # BAD
    await step.invoke("a", Receipt(order_id="o"), timeout=b"1h")  # BAD
    await step.invoke("a", Receipt(order_id="o"), on_parent_end="leave")  # BAD
    await step.start("a", Receipt(order_id="o"), on_parent_end="stay")  # BAD
    await step.start("a", Receipt(order_id="o"), timeout=1)  # BAD
    await child.result(3)  # BAD
    await child.cancel("x")  # BAD
    await step.options(as_type=int).invoke("a", RESIZE(b"x"))  # BAD
    return child.id


@function(RESIZE)
def resize(ctx: SyncContext[bytes]) -> int:
    assert_type(ctx.step.invoke("a", RESIZE(b"x")), int)
    child = ctx.step.start("a", Receipt(order_id="o"))
    assert_type(child, SyncChildHandle[str])
    assert_type(child.result(), str)
    child.cancel()
    ctx.step.invoke("a", Receipt)  # BAD
    return 1


async def lists(client: WorchflowClient[Any]) -> None:
    page = await client.list(parent="x")
    assert_type(page.items[0].parent, str | None)
    assert_type(page.items[0].depth, int)
    await client.list(parent=3)  # BAD
