"""Steps: whatever can be run, its arguments and its result."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypedDict, TypeVar, assert_type, overload
from uuid import UUID

from pydantic import BaseModel

from worchflow import Context, Event, Retry, Step, SyncContext, function

T = TypeVar("T")


class Receipt(BaseModel):
    txn: str


class MailData(TypedDict):
    to: str


class Go(Event[Receipt], name="go"):
    n: int


async def charge(amount: int, currency: str) -> Receipt:
    return Receipt(txn=currency)


def plain(amount: int, *, title: str, key: str = "", retries: int = 0) -> list[int]:
    return [amount]


async def nothing() -> None: ...


def maybe(x: int) -> int | None:
    return x


async def maybe_async(x: int) -> int | None:
    return x


def future(x: int) -> asyncio.Future[str]:
    raise NotImplementedError


def coroutine(x: int) -> Coroutine[Any, Any, bytes]:
    raise NotImplementedError


def either(x: int) -> int | Awaitable[int]:
    return x


def identity(x: T) -> T:
    return x


async def identity_async(x: T) -> T:
    return x


def first(x: list[T]) -> T:
    return x[0]


@overload
def over(x: int) -> int: ...
@overload
def over(x: str) -> str: ...
def over(x: int | str) -> int | str:
    return x


@overload
async def over_async(x: int) -> int: ...
@overload
async def over_async(x: str, y: int) -> str: ...
async def over_async(x: int | str, y: int = 0) -> int | str:
    return x


def many(*xs: int, **more: str) -> int:
    return len(xs) + len(more)


def dynamic() -> Any: ...


class Service:
    def __init__(self, url: str) -> None: ...

    async def get(self, path: str) -> bytes:
        return b""

    def post(self, path: str) -> int:
        return 1

    @staticmethod
    async def ping(x: int) -> str:
        return ""

    def __call__(self, x: int) -> float:
        return 1.0


class AsyncService:
    async def __call__(self, x: int) -> float:
        return 1.0


service = Service("x")
named: Callable[[int], Awaitable[str]] = Service.ping


@function(Go)
async def results(ctx: Context[Go]) -> Receipt:
    s = ctx.step
    assert_type(s, Step)
    assert_type(await s.run("t", charge, 1, "EUR"), Receipt)
    assert_type(await s.run("t", charge, 1, currency="EUR"), Receipt)
    assert_type(await s.run("t", charge, amount=1, currency="EUR"), Receipt)
    assert_type(await s.run("t", plain, 1, title="x", key="k", retries=1), list[int])
    assert_type(await s.run("t", lambda: 7), int)
    assert_type(await s.run("t", lambda: {"a": 1}), dict[str, int])
    assert_type(await s.run("t", lambda: charge(1, "x")), Receipt)
    assert_type(await s.run("t", lambda: ctx.data.n), int)
    await s.run("t", lambda: None)
    await s.run("t", nothing)
    assert_type(await s.run("t", maybe, 1), int | None)
    assert_type(await s.run("t", maybe_async, 1), int | None)
    assert_type(await s.run("t", future, 1), str)
    assert_type(await s.run("t", coroutine, 1), bytes)
    assert_type(await s.run("t", either, 1), int)
    assert_type(await s.run("t", identity, 1), int)
    assert_type(await s.run("t", identity, x="a"), str)
    assert_type(await s.run("t", identity_async, 1), int)
    assert_type(await s.run("t", first, [1, 2]), int)
    assert_type(await s.run("t", over, 1), int)
    assert_type(await s.run("t", over, "x"), str)
    assert_type(await s.run("t", over_async, 1), int)
    assert_type(await s.run("t", over_async, "x", 1), str)
    assert_type(await s.run("t", many, 1, 2, a="x"), int)
    assert_type(await s.run("t", functools.partial(charge, 1), "EUR"), Receipt)
    assert_type(await s.run("t", functools.partial(charge, 1, "EUR")), Receipt)
    assert_type(await s.run("t", functools.partial(plain, 1, title="x")), list[int])
    assert_type(await s.run("t", service.get, "/"), bytes)
    assert_type(await s.run("t", service.post, path="/"), int)
    assert_type(await s.run("t", Service.ping, 1), str)
    assert_type(await s.run("t", named, 1), str)
    assert_type(await s.run("t", service, 1), float)
    assert_type(await s.run("t", AsyncService(), 1), float)
    assert_type(await s.run("t", Receipt, txn="x"), Receipt)
    assert_type(await s.run("t", str, 1), str)
    assert_type(await s.run("t", max, 1, 2), int)
    assert_type(await s.run("t", sorted, [2, 1]), list[int])
    assert_type(await s.run("t", len, "abc"), int)
    assert_type(await s.run("t", dynamic), Any)
    assert_type(await s.run("t", print, "abc"), None)
    await s.run("t", asyncio.sleep, 1)
    return await s.run("t", charge, 1, "EUR")


@function(Go)
async def options(ctx: Context[Go]) -> Receipt:
    s = ctx.step
    mine = s.options(key=UUID(int=1), retries=Retry(max_retries=2), timeout="30s")
    assert_type(mine, Step)
    assert_type(await mine.run("t", charge, 1, "EUR"), Receipt)
    assert_type(await mine.options(key=3).run("t", charge, 1, "x"), Receipt)
    assert_type(await s.options(as_type=Receipt).run("t", dynamic), Receipt)
    assert_type(await s.options(as_type=list[int]).run("t", lambda: [1]), list[int])
    assert_type(await s.options(as_type=int | None).run("t", dynamic), int | None)
    assert_type(await s.options(as_type=MailData).run("t", dynamic), MailData)
    assert_type(
        await s.options(as_type=list[MailData]).run("t", dynamic), list[MailData]
    )
    word = s.options(as_type=Literal["a", "b"], retries=0)
    assert_type(await word.run("t", dynamic), Literal["a", "b"])
    assert_type(await word.options(key="k").run("t", dynamic), Literal["a", "b"])
    s.options(kee="x")  # BAD
    s.options(key=1.5)  # BAD
    s.options(retries="3")  # BAD
    s.options(timeout=b"1s")  # BAD
    s.options(as_type=3)  # BAD
    s.options(as_type="not a type")  # BAD
    s.options(as_type=Receipt, kee="x")  # BAD
    await s.options(key="x").run("t", charge, "1", "EUR")  # BAD
    await s.options(as_type=Receipt).run("t", charge, "1", "EUR")  # BAD
    wrong: str = await s.options(as_type=Receipt).run("t", dynamic)  # BAD
    print(wrong)
    return await s.run("t", charge, 1, "EUR")


@function(Go)
async def in_parallel(ctx: Context[Go]) -> Receipt:
    s = ctx.step
    a, b = await asyncio.gather(
        s.run("a", charge, 1, "EUR"), s.run("b", plain, 1, title="x")
    )
    assert_type(a, Receipt)
    assert_type(b, list[int])
    c, d, e = await asyncio.gather(
        s.run("c", lambda: 1),
        s.options(key="1").run("d", over, "x"),
        s.options(as_type=int).run("e", dynamic),
    )
    assert_type(c, int)
    assert_type(d, str)
    assert_type(e, int)
    keyed = await asyncio.gather(
        *(s.options(key=i).run("k", charge, i, "EUR") for i in range(3))
    )
    assert_type(keyed, list[Receipt])
    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(s.run("a", charge, 1, "EUR"))
        two = tasks.create_task(s.run("b", maybe, 1))
    assert_type(one.result(), Receipt)
    assert_type(two.result(), int | None)
    async with asyncio.timeout(3):
        bounded = await asyncio.wait_for(s.run("a", charge, 1, "EUR"), 3)
        assert_type(bounded, Receipt)
    return a


@function(Go)
async def wrong(ctx: Context[Go]) -> Receipt:
    s = ctx.step
    await s.run("t", charge, "1", currency="EUR")  # BAD
    await s.run("t", charge, 1)  # BAD
    await s.run("t", charge, 1, "EUR", 3)  # BAD
    await s.run("t", charge, 1, currencyy="EUR")  # BAD
    await s.run("t", plain, 1, title=3)  # BAD
    await s.run(charge, 1, "EUR")  # BAD
    await s.run(1, nothing)  # BAD
    await s.run("t", nothing())  # BAD
    await s.run("t", 5)  # BAD
    await s.run("t")  # BAD
    await s.run("t", service.get, 1)  # BAD
    await s.run("t", over, 1.5)  # BAD
    await s.run("t", first, 3)  # BAD
    await s.run("t", functools.partial(charge, "1"), "EUR")  # BAD
    await s.run("t", lambda: 1, 3)  # BAD
    await s.runn("t", nothing)  # BAD
    text: str = await s.run("t", charge, 1, "EUR")  # BAD
    print(text)
    s.run("forgotten", nothing)  # BAD
    s.run("forgotten", charge, 1, "EUR")  # BAD
    s.options(key="k").run("forgotten", lambda: 1)  # BAD
    s.options(as_type=int).run("forgotten", dynamic)  # BAD
    return s.run("t", charge, 1, "EUR")  # BAD


@function(Go)
def in_a_thread(ctx: SyncContext[Go]) -> Receipt:
    s = ctx.step
    assert_type(s.run("t", plain, 1, title="x"), list[int])
    assert_type(s.run("t", charge, 1, "x"), Receipt)
    assert_type(s.run("t", lambda: 7), int)
    assert_type(s.options(key="x", retries=2).run("t", charge, 1, "x"), Receipt)
    assert_type(s.options(as_type=Receipt).run("t", dynamic), Receipt)
    assert_type(s.options(as_type=int | None, key=1).run("t", dynamic), int | None)
    s.run("t", nothing)
    s.run("t", charge, 1)  # BAD
    s.run(charge, 1, "x")  # BAD
    s.options(kee="x")  # BAD
    number: int = s.run("t", charge, 1, "x")  # BAD
    print(number)
    return s.run("t", charge, 1, "x")
