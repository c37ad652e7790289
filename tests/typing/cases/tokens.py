"""Tokens: what their answers are, with a timeout and without, and who completes them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Literal, TypedDict, assert_type

from worchflow import (
    Context,
    Event,
    SyncContext,
    SyncToken,
    Token,
    WorchflowClient,
    function,
)


class Order(Event[str], name="order"):
    order_id: str


class Decision(TypedDict):
    ok: bool


@function(Order)
async def order(ctx: Context[Order]) -> str:
    step = ctx.step
    token = await step.token("a", Decision)
    _ = assert_type(token, Token[Decision])
    assert_type(token.id, str)
    assert_type(await token, Decision)
    assert_type(await token.result(), Decision)
    later = await step.token("a", Decision, timeout="7d")
    _ = assert_type(later, Token[Decision | None])
    assert_type(await later, Decision | None)
    assert_type(await (await step.token("a", str, timeout=None)), str)
    assert_type(await (await step.token("a", list[int])), list[int])
    words = await step.token("a", Literal["yes", "no"])
    assert_type(await words, Literal["yes", "no"])
    keyed = await step.options(key="x").token("a", bool, timeout=timedelta(1))
    assert_type(await keyed, bool | None)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(token.result())
        second = group.create_task(later.result())
    assert_type(first.result(), Decision)
    assert_type(second.result(), Decision | None)
    group.create_task(token)  # BAD
    wide: Token[object] = token
    narrow: Token[int] = token  # BAD
    print(wide, narrow, (await later)["ok"])  # BAD
    await step.token("a", 3)  # BAD
    await step.token("a")  # BAD
    await step.token(Decision, "a")  # BAD
    await step.token("a", Decision, timeout=b"1h")  # BAD
    await step.token("a", Decision, key="x")  # BAD
    await step.options(as_type=int).token("a", Decision)  # BAD
    return token.id


@function(Order)
def order_in_a_thread(ctx: SyncContext[Order]) -> str:
    token = ctx.step.token("a", Decision)
    assert_type(token, SyncToken[Decision])
    assert_type(token.result(), Decision)
    assert_type(ctx.step.token("a", str, timeout=1).result(), str | None)
    ctx.step.token("a", 3)  # BAD
    return token.id


async def completes(client: WorchflowClient[Any]) -> None:
    assert_type(await client.complete("x", {"ok": True}), None)
    client.sync.complete("x", None)
    await client.complete(3, True)  # BAD
    await client.complete("x")  # BAD
    await client.complete(token_id="x", answer=1)  # BAD
