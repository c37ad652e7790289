"""`step.send`: a handler starts other executions, once however often it runs again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    Event,
    EventValidationError,
    InvalidInput,
    NonRetryable,
    SyncContext,
    Worchflow,
)


class Mail(Event[None], name="mail"):
    to: str


class Paid(Event[None], name="paid", key="order"):
    order: str


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_what_an_attempt_sends_is_sent_once(
    app: Worchflow[Any], sync: bool
) -> None:
    attempts: list[Any] = []
    mails: list[tuple[str, Any]] = []

    def tell(ids: Any) -> None:
        attempts.append(ids)
        if len(attempts) < 3:
            raise ConnectionError

    if sync:

        @app.function("order", retries=5, retry_delay=0)
        def in_a_thread(ctx: SyncContext[None]) -> None:
            one = ctx.step.send("One", Mail(to="Ada"))
            several = ctx.step.send("Several", (Mail(to=to) for to in ("Bo", "Cy")))
            tell([one, *several])

    else:

        @app.function("order", retries=5, retry_delay=0)
        async def order(ctx: Context[None]) -> None:
            one = await ctx.step.send("One", Mail(to="Ada"))
            mail = {"name": "mail", "data": {"to": "Bo"}}
            several = await ctx.step.send("Several", [mail, Mail(to="Cy")])
            tell([one, *several])

    @app.function(Mail)
    async def mail(ctx: Context[Mail]) -> None:
        mails.append((ctx.data.to, ctx.headers.get("trace")))

    async with app.client() as client, app.worker(concurrency=4):
        handle = await client.send(
            {"name": "order", "data": None}, headers={"trace": "t-1"}
        )
        await handle.result(timeout=30)
        await until(lambda: len(mails) >= 3)
        steps = await client.steps(handle.id)
        sent = [await client.get(each) for each in attempts[0]]

    assert sorted(mails) == [("Ada", "t-1"), ("Bo", "t-1"), ("Cy", "t-1")]
    assert attempts[0] == attempts[1] == attempts[2]
    assert [each.data["to"] for each in sent] == ["Ada", "Bo", "Cy"]
    assert [(step.title, step.kind) for step in steps] == [
        *(("One", "send"), ("Several", "send"))
    ]


async def test_what_is_sent_tells_those_who_wait_for_it(app: Worchflow[Any]) -> None:
    @app.function("follow")
    async def follow(ctx: Context[str]) -> str:
        return (await ctx.step.wait_for_event("Paid", Paid, key=ctx.data)).order

    @app.function("pay")
    async def pay(ctx: Context[str]) -> None:
        await ctx.step.send("Tell", Paid(order=ctx.data))

    @app.function(Paid)
    async def paid(ctx: Context[Paid]) -> None:
        pass

    async with app.client() as client, app.worker(concurrency=3):
        follower = await client.send({"name": "follow", "data": "o-1"})
        await client.send({"name": "pay", "data": "o-1"})
        assert await follower.result(timeout=30) == "o-1"


async def test_bad_input_is_refused_before_anything_is_sent(
    app: Worchflow[Any],
) -> None:
    refused: list[str] = []

    @app.function("order", retries=0)
    async def order(ctx: Context[None]) -> None:
        step: Any = ctx.step
        ten_thousand = [Mail(to="x")] * 10_001
        for way, title, messages, wanted in (
            (step, "", Mail(to="x"), "title"),
            (step, "x", "mail", "a name alone has no data"),
            (step, "x", Mail, "send an instance of it"),
            (step, "x", None, "cannot send None"),
            (step, "x", ten_thousand, "up to 10,000"),
            (step.options(timeout=1), "x", Mail(to="x"), "options\\(timeout"),
        ):
            with pytest.raises(
                (ConfigurationError, InvalidInput, EventValidationError), match=wanted
            ):
                way.send(title, messages)
            refused.append(wanted)
        raise NonRetryable("enough")

    @app.function(Mail)
    async def mail(ctx: Context[Mail]) -> None:
        pass

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "order", "data": None})
        await until(lambda: len(refused) == 6)
        await until_ended(handle)
        assert [each.event_name for each in (await client.list()).items] == ["order"]


async def until_ended(handle: Any) -> None:
    """Wait until an execution has ended."""

    async def ended() -> bool:
        return bool((await handle.status()).is_terminal)

    await until(ended)
