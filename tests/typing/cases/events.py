"""Event classes and references."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypedDict, TypeVar, assert_type

from pydantic import BaseModel, ConfigDict, Field, field_validator

from worchflow import Context, Event, EventRef, event, function

T = TypeVar("T")


class Receipt(BaseModel):
    txn: str


class MailData(TypedDict):
    to: str


@dataclass
class Point:
    x: int


class Pay(Event[Receipt], name="pay"):
    amount: int


class PayLater(Pay, name="pay-later"):
    days: int = 30


class Bare(Event, name="bare"):
    x: int = 0


class Names(Event[str], name="names"):
    name: str
    id: int
    data: dict[str, int]


class Wrapped(Event[str], Generic[T], name="wrapped"):
    item: T


class WrappedInt(Wrapped[int], name="wrapped-int"): ...


class Middle(Event[T], Generic[T]):
    common: str = ""


class Leaf(Middle[Receipt], name="leaf"):
    x: int


class Checked(Event[Decimal], name="checked"):
    model_config = ConfigDict(extra="forbid", frozen=True)
    at: datetime
    n: int = Field(default=1, ge=0)
    tags: list[str] = Field(default_factory=list[str])

    @field_validator("n")
    @classmethod
    def check(cls, value: int) -> int:
        return value


def fields(names: Names, at: datetime) -> None:
    assert_type(names.id, int)
    assert_type(names.data, dict[str, int])
    assert_type(Wrapped[int](item=1).item, int)
    assert_type(WrappedInt(item=1).item, int)
    assert_type(PayLater(amount=1).days, int)
    Leaf(x=1, common="c")
    Bare()
    Checked(at=at).model_copy(update={"n": 2})
    Pay(amount="1")  # BAD
    Pay()  # BAD
    PayLater(days=1)  # BAD
    WrappedInt(item="1")  # BAD
    Checked(at=at, x=1)  # BAD
    Names(name="n", id="1", data={})  # BAD


mail = event("mail", MailData, int)
assert_type(mail, EventRef[MailData, int])
assert_type(event("mail", MailData), EventRef[MailData, Any])
assert_type(event("point", Point, Point), EventRef[Point, Point])
assert_type(event("numbers", list[int], list[int]), EventRef[list[int], list[int]])
assert_type(event("either", int | str, int | None), EventRef[int | str, int | None])
assert_type(event("one", int | str), EventRef[int | str, Any])
assert_type(event("two", int, int | None), EventRef[int, int | None])
assert_type(event("nothing", None, None), EventRef[None, None])
assert_type(
    event("word", MailData, Literal["a", "b"]),
    EventRef[MailData, Literal["a", "b"]],
)
assert_type(
    event("pair", dict[str, int], tuple[int, str]),
    EventRef[dict[str, int], tuple[int, str]],
)
declared: EventRef[int | str, int | None] = event("declared", int | str, int | None)
made: EventRef[int | str, int | None] = EventRef("made", int | str, int | None)

mail({"to": "x"})
event("either", int | str)(3)
mail({"to": 1})  # BAD
mail({"too": "x"})  # BAD
mail({})  # BAD
mail()  # BAD
mail("x")  # BAD
event("point", Point)({"x": 1})  # BAD
event("either", int | str)(1.5)  # BAD
event("no type")  # BAD
event("no type", 3)  # BAD
event(3, int)  # BAD


@function(Leaf)
async def on_leaf(ctx: Context[Leaf]) -> Receipt:
    return Receipt(txn=ctx.data.common + str(ctx.data.x))


@function(WrappedInt)
async def on_wrapped(ctx: Context[WrappedInt]) -> str:
    assert_type(ctx.data.item, int)
    return ""


def local() -> None:
    class Local(Event[list[int]], name="local"):
        x: int

    @function(Local)
    async def handle(ctx: Context[Local]) -> list[int]:
        return [ctx.data.x]

    handle(Local(x=1))
    handle(Local(x="1"))  # BAD
