"""Whether a value of one type may stand for another: refused only if surely not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    NoReturn,
    Protocol,
    TypedDict,
    TypeVar,
)

import pytest
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from worchflow.serialization.type_fit import fits

T = TypeVar("T")
UserId = NewType("UserId", int)
Number = TypeAliasType("Number", int)


class Base(BaseModel):
    a: int = 0


class Derived(Base): ...


class Other(BaseModel): ...


class Box(BaseModel, Generic[T]):
    item: T


class IntBox(Box[int]): ...


class Crate(Generic[T]): ...


class HasA(Protocol):
    a: int


class Unknown(Any): ...


class Mail(TypedDict):
    to: str


class CopiedMail(TypedDict):
    to: str
    cc: str


class Meta(type):
    def __subclasscheck__(cls, other: type) -> bool:
        raise TypeError


class Odd(metaclass=Meta): ...


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        *((int, int), (bool, int), (int, float), (Derived, Base), (None, type(None))),
        *((Any, int), (int, Any), (int, object), (T, int), (int, T), ("int", str)),
        *((int, int | None), (None, int | None), (int | str, str | int | None)),
        *((UserId, int), (int, UserId), (Number, int), (Annotated[int, "m"], int)),
        *((Literal["a"], str), (str, Literal["a"]), (Literal["a"], Literal["b", "a"])),
        *((Literal["a", 1], Literal["a"] | int), (NoReturn, int)),
        *((list[int], list), (list, list[int]), (list[bool], list[int])),
        *((list[int], Sequence[int]), (dict[str, int], Mapping[str, int])),
        *((tuple[int, ...], tuple[int, int]), (dict, Mail), (Mail, dict[str, str])),
        *((CopiedMail, Mail), (Mail, Mail), (Base, HasA), (HasA, Base)),
        *((Box[int], Box), (Box, Box[int]), (IntBox, Box[int]), (Crate[int], Crate)),
        *((Unknown, int), (datetime, date), (int, Odd), (Crate[Any], Crate[int])),
    ],
)
def test_it_fits(given: Any, wanted: Any) -> None:
    assert fits(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        *((int, str), (str, int), (float, int), (None, int), (int, None)),
        *((Base, Derived), (Base, Other), (object, int), (date, datetime)),
        *((int | None, int), (int, str | None), (Base | Other, Base)),
        *((UserId, str), (Number, str), (Annotated[int, "m"], str)),
        *((Literal["a"], int), (int, Literal["a"]), (Literal["a", "c"], Literal["a"])),
        *((list[int], list[str]), (list[int], dict[str, int]), (list, tuple)),
        *((tuple[int], tuple[int, int]), (Sequence[int], list[int])),
        *((Mail, CopiedMail), (Mail, str), (Base, Mail), (list[Base], list[Other])),
        *((Box[int], Box[str]), (Crate[int], Crate[str]), (Base, int)),
    ],
)
def test_it_cannot_fit(given: Any, wanted: Any) -> None:
    assert not fits(given, wanted)
