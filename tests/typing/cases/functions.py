"""Handlers bound to events, by decorator and by call."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypedDict, assert_type

from pydantic import BaseModel

from worchflow import (
    Context,
    Event,
    Retry,
    SyncContext,
    WorchflowFunction,
    create_function,
    event,
    function,
)


class Receipt(BaseModel):
    txn: str


class MailData(TypedDict):
    to: str


class Answer(TypedDict):
    ok: bool


class Pay(Event[Receipt], name="pay"):
    amount: int


class PayLater(Pay, name="pay-later"):
    days: int


class Nothing(Event[None], name="nothing"): ...


class Ask(Event[Answer], name="ask"): ...


class Maybe(Event[int | None], name="maybe"): ...


class Bare(Event, name="bare"):
    x: int = 0


mail = event("mail", MailData, int)
numbers = event("numbers", list[int], list[int])
nullable = event("nullable", int | None, str)


@function(
    Pay,
    id="all-options",
    retries=Retry(max_retries=2, delay="5s", on=(ConnectionError,)),
    timeout=timedelta(minutes=5),
    repeat_titles="reuse",
)
async def on_pay(ctx: Context[Pay]) -> Receipt:
    assert_type(ctx.data, Pay)
    assert_type(ctx.event.data.amount, int)
    assert_type(ctx.event.name, str)
    assert_type(ctx.event.id, str)
    assert_type(ctx.attempt, int)
    assert_type(ctx.token, int)
    assert_type(ctx.execution_id, str)
    assert_type(ctx.cancelled, bool)
    assert_type(ctx.idempotency_key(), str)
    assert_type(ctx.idempotency_key("Charge", key=3), str)
    ctx.log.info("paid %s", ctx.data.amount)
    print(ctx.data.tip)  # BAD
    print(ctx.steps)  # BAD
    ctx.attempt = 3  # BAD
    ctx.idempotency_key(3)  # BAD
    ctx.idempotency_key(key=1.5)  # BAD
    return Receipt(txn="x")


@function(PayLater)
async def on_pay_later(ctx: Context[PayLater]) -> Receipt:
    return Receipt(txn=str(ctx.data.amount + ctx.data.days))


@function(PayLater, retries=3, retry_delay="10s")
async def on_the_parents_data(ctx: Context[Pay]) -> Receipt:
    return Receipt(txn=str(ctx.data.amount))


@function(Nothing)
async def on_nothing(ctx: Context[Nothing]) -> None: ...


@function(Ask)
async def on_ask(ctx: Context[Ask]) -> Answer:
    return {"ok": True}


@function(Maybe)
async def on_maybe(ctx: Context[Maybe]) -> int:
    return 1


@function(Bare)
async def on_bare(ctx: Context[Bare]) -> str:
    return str(ctx.data.x)


@function(mail)
async def on_mail(ctx: Context[MailData]) -> int:
    return len(ctx.data["to"])


@function(numbers)
def on_numbers(ctx: SyncContext[list[int]]) -> list[int]:
    return ctx.data


@function(nullable)
async def on_nullable(ctx: Context[int | None]) -> str:
    return ""


@function(Pay)
def on_pay_in_a_thread(ctx: SyncContext[Pay]) -> Receipt:
    return Receipt(txn=str(ctx.data.amount))


@function("nightly")
async def nightly(ctx: Context[MailData]) -> int:
    return 1


@function("tick")
async def tick(ctx: Context[None]) -> str:
    return ""


@function("tick-in-a-thread")
def tick_in_a_thread(ctx: SyncContext[None]) -> None:
    ctx.step.run("Say it", print, "tick")


@function(on_mail, id="the-same-event")
async def on_mail_too(ctx: Context[MailData]) -> int:
    return 1


async def handler(ctx: Context[Pay]) -> Receipt:
    return Receipt(txn="x")


def sync_handler(ctx: SyncContext[Pay]) -> Receipt:
    return Receipt(txn="x")


async def mail_handler(ctx: Context[MailData]) -> int:
    return 1


class Service:
    async def handle(self, ctx: Context[Pay]) -> Receipt:
        return Receipt(txn="x")


assert_type(create_function(Pay, handler, id="c"), WorchflowFunction[Pay, Receipt])
assert_type(create_function(Pay, sync_handler), WorchflowFunction[Pay, Receipt])
assert_type(create_function(Pay, Service().handle), WorchflowFunction[Pay, Receipt])
assert_type(create_function("pay", handler), WorchflowFunction[Pay, Receipt])
assert_type(create_function(mail, mail_handler), WorchflowFunction[MailData, int])
assert_type(create_function("mail", mail_handler), WorchflowFunction[MailData, int])
assert_type(on_pay, WorchflowFunction[Pay, Receipt])
assert_type(on_nothing, WorchflowFunction[Nothing, None])
assert_type(on_maybe, WorchflowFunction[Maybe, int | None])
assert_type(on_bare, WorchflowFunction[Bare, Any])
assert_type(on_numbers, WorchflowFunction[list[int], list[int]])
assert_type(on_pay_in_a_thread, WorchflowFunction[Pay, Receipt])
assert_type(nightly, WorchflowFunction[MailData, int])
assert_type(tick, WorchflowFunction[None, str])
assert_type(tick_in_a_thread, WorchflowFunction[None, None])
several: list[WorchflowFunction] = [on_pay, on_mail, tick]
assert_type(on_pay.id, str)
assert_type(on_pay.event_name, str)

tick()
tick(None)
nightly({"to": "x"})
on_pay(Pay(amount=1))
on_nullable(None)
nightly()  # BAD
nightly({"too": "x"})  # BAD
on_pay()  # BAD
on_pay({"amount": 1})  # BAD
on_pay(Pay(amount="1"))  # BAD
on_pay(Nothing())  # BAD


@function(Pay)  # BAD
async def of_other_data(ctx: Context[PayLater]) -> Receipt:
    return Receipt(txn="x")


@function(Pay)  # BAD
async def of_other_result(ctx: Context[Pay]) -> None: ...


@function(Pay)  # BAD
async def async_with_sync_context(ctx: SyncContext[Pay]) -> Receipt:
    return Receipt(txn="x")


@function(Pay)  # BAD
def sync_with_context(ctx: Context[Pay]) -> Receipt:
    return Receipt(txn="x")


@function(Nothing)  # BAD
async def result_of_nothing(ctx: Context[Nothing]) -> int:
    return 1


@function(mail)  # BAD
async def mail_with_other_result(ctx: Context[MailData]) -> str:
    return ""


@function(mail)  # BAD
async def mail_with_other_data(ctx: Context[Pay]) -> int:
    return 1


@function(Maybe)  # BAD
async def maybe_with_other_result(ctx: Context[Maybe]) -> str:
    return ""


@function(Receipt)  # BAD
async def of_no_event(ctx: Context[Receipt]) -> int:
    return 1


@function("name")  # BAD
async def of_the_data_itself(data: MailData) -> int:
    return 1


@function("name")  # BAD
async def of_two_arguments(ctx: Context[MailData], more: int) -> int:
    return 1


create_function(Pay, mail_handler)  # BAD
create_function(mail, handler)  # BAD
create_function("name", 3)  # BAD
function(Pay, retrys=2)  # BAD
function(Pay, retries="2")  # BAD
function(Pay, timeout=b"5m")  # BAD
function(Pay, repeat_titles="never")  # BAD
function(3)  # BAD
Retry(max_retry=3)  # BAD
Retry(max_retries="3")  # BAD
Retry(on=ValueError)  # BAD
Retry(never=(3,))  # BAD
