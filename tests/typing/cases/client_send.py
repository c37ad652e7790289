"""Sending: typed messages everywhere, mappings where the client has a schema."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict

from pydantic import BaseModel
from typing_extensions import assert_type

from worchflow import (
    Context,
    Event,
    ExecutionHandle,
    SyncContext,
    WorchflowClient,
    event,
    function,
)
from worchflow.foundations.types import Message


class Receipt(BaseModel):
    txn: str


class Pay(Event[Receipt], name="pay"):
    amount: int


class Bare(Event, name="bare"):
    x: int = 0


class Nothing(Event[None], name="nothing"): ...


class MailData(TypedDict):
    to: str


class SmsData(TypedDict):
    number: int


class MailMessage(TypedDict):
    name: Literal["mail"]
    data: MailData


class SmsMessage(TypedDict):
    name: Literal["sms"]
    data: SmsData


Messages = MailMessage | SmsMessage

mail = event("mail", MailData, int)
mail_any = event("mail-any", MailData)


@function(Pay)
async def on_pay(ctx: Context[Pay]) -> Receipt:
    return Receipt(txn="x")


@function(mail)
def on_mail(ctx: SyncContext[MailData]) -> int:
    return 1


@function("nightly")
async def nightly(ctx: Context[None]) -> str:
    return ""


@function("by-name")
async def by_name(ctx: Context[MailData]) -> bytes:
    return b""


async def sends(c: WorchflowClient) -> None:
    assert_type(await c.send(Pay(amount=1)), ExecutionHandle[Receipt])
    assert_type(await c.send(Pay(amount=1), id="x"), ExecutionHandle[Receipt])
    assert_type(await (await c.send(Nothing())).result(), None)
    assert_type(await (await c.send(Bare())).result(), Any)
    assert_type(await (await c.send(mail({"to": "x"}))).result(timeout="5s"), int)
    assert_type(await (await c.send(mail_any({"to": "x"}))).result(), Any)
    assert_type(await (await c.send(on_pay(Pay(amount=1)))).result(), Receipt)
    assert_type(await (await c.send(on_mail({"to": "x"}))).result(), int)
    assert_type(await (await c.send(nightly())).result(), str)
    assert_type(await (await c.send(by_name({"to": "x"}))).result(), bytes)
    await c.send(Pay(amount=1), id=None, delay=timedelta(days=1))
    await c.send(Pay(amount=1), at=datetime.now(UTC))
    one, two = await asyncio.gather(
        c.send(Pay(amount=1)), c.send(mail({"to": "x"}))
    )
    assert_type(one, ExecutionHandle[Receipt])
    assert_type(two, ExecutionHandle[int])
    await c.send(Pay)  # BAD
    await c.send(mail)  # BAD
    await c.send(on_pay)  # BAD
    await c.send(Receipt(txn="x"))  # BAD
    await c.send({"name": "mail", "data": {"to": "x"}})  # BAD
    await c.send("pay", {"amount": 1})  # BAD
    await c.send("pay")  # BAD
    await c.send(None)  # BAD
    await c.send(Pay(amount=1), idd="x")  # BAD
    await c.send(Pay(amount=1), id=3)  # BAD
    await c.send(Pay(amount=1), delay=b"1s")  # BAD
    await c.send(Pay(amount=1), at="tomorrow")  # BAD
    await c.send(mail({"to": 1}))  # BAD
    wrong: str = await (await c.send(mail({"to": "x"}))).result()  # BAD
    print(wrong)
    c.send(Pay(amount=1))  # BAD


async def sends_many(c: WorchflowClient) -> None:
    same = await c.send_many([Pay(amount=1), Pay(amount=2)])
    assert_type(same, list[ExecutionHandle[Receipt]])
    lazily = await c.send_many(Pay(amount=i) for i in range(3))
    assert_type(lazily, list[ExecutionHandle[Receipt]])
    mails = await c.send_many([mail({"to": str(i)}) for i in range(3)])
    assert_type(mails, list[ExecutionHandle[int]])
    await c.send_many([Pay(amount=1), mail({"to": "x"}), on_pay(Pay(amount=2)), Bare()])
    await c.send_many([])
    messages: list[Message[Any]] = [Pay(amount=1), mail({"to": "x"})]
    await c.send_many(messages)
    await c.send_many([{"name": "mail", "data": {"to": "x"}}])  # BAD
    await c.send_many(["x"])  # BAD
    await c.send_many([Pay])  # BAD
    await c.send_many(Pay(amount=1))  # BAD


async def some_pays() -> AsyncIterator[Pay]:
    yield Pay(amount=1)


async def sends_streams(c: WorchflowClient) -> None:
    async for handle in c.send_stream(Pay(amount=i) for i in range(3)):
        assert_type(handle, ExecutionHandle[Receipt])
    async for handle in c.send_stream(some_pays(), batch=100):
        assert_type(handle, ExecutionHandle[Receipt])
    c.send_stream([Pay(amount=1), mail({"to": "x"})])
    c.send_stream(["x"])  # BAD
    c.send_stream(Pay(amount=1))  # BAD


async def sends_mappings(t: WorchflowClient[Messages]) -> None:
    handle = await t.send({"name": "mail", "data": {"to": "x"}})
    assert_type(handle, ExecutionHandle[Any])
    await t.send({"name": "sms", "data": {"number": 1}}, id="k")
    message: MailMessage = {"name": "mail", "data": {"to": "x"}}
    await t.send(message)
    await t.send(MailMessage(name="mail", data={"to": "x"}))
    assert_type(await t.send(Pay(amount=1)), ExecutionHandle[Receipt])
    assert_type(await t.send(mail({"to": "x"})), ExecutionHandle[int])
    await t.send_many([{"name": "mail", "data": {"to": str(i)}} for i in range(3)])
    await t.send_many([{"name": "mail", "data": {"to": "x"}}, Pay(amount=1)])
    await t.send({"name": "mial", "data": {"to": "x"}})  # BAD
    await t.send({"name": "sms", "data": {"to": "x"}})  # BAD
    await t.send({"name": "sms", "data": {"number": "1"}})  # BAD
    await t.send({"name": "mail"})  # BAD
    await t.send({"name": "mail", "data": {"to": "x"}, "id": "x"})  # BAD
    await t.send("garbage")  # BAD
    await t.send_many([{"name": "mial", "data": {"to": "x"}}])  # BAD


async def sends_anything(c: WorchflowClient[Any]) -> None:
    await c.send({"name": "x", "data": 1})


async def reads(c: WorchflowClient) -> None:
    assert_type(c.handle("x"), ExecutionHandle[Any])
    assert_type(c.handle("x", Pay), ExecutionHandle[Receipt])
    assert_type(c.handle("x", mail), ExecutionHandle[int])
    assert_type(c.handle("x", on_pay), ExecutionHandle[Receipt])
    handle = await c.send(Pay(amount=1))
    assert_type(handle.id, str)
    assert_type(handle.duplicate, bool)
    async for update in handle.updates():
        print(update.status, update.execution_id)
    wider: ExecutionHandle[object] = handle
    several: list[ExecutionHandle[object]] = [handle, await c.send(mail({"to": "x"}))]
    print(wider, several)
    page = await c.list(status="failed", function="pay", limit=10)
    print(page.items[0].id, page.cursor)
    execution = await c.get("x")
    assert_type(execution.created_at, datetime)
    for step in await c.steps("x"):
        print(step.title, step.status)
    await c.cancel("x", reason="no longer needed")
    await c.retry("x")
    c.handle("x", Receipt)  # BAD
    c.handle(3)  # BAD
    c.get("x")  # BAD
    print(execution.identifier)  # BAD
    execution.status = "failed"  # BAD


def blocks(c: WorchflowClient, t: WorchflowClient[Messages]) -> None:
    assert_type(c.sync.send(Pay(amount=1)).result(), Receipt)
    assert_type(c.sync.get("x").id, str)
    t.sync.send({"name": "mail", "data": {"to": "x"}})
    t.sync.send({"name": "mial", "data": {"to": "x"}})  # BAD
    c.sync.send("x")  # BAD


def any_client(c: WorchflowClient) -> None: ...
def mail_client(c: WorchflowClient[MailMessage]) -> None: ...
def messages_client(c: WorchflowClient[Messages]) -> None: ...


def passes_on(c: WorchflowClient, t: WorchflowClient[Messages]) -> None:
    any_client(t)
    mail_client(t)
    messages_client(c)  # BAD
