"""Unit tests of worchflow.definitions.correlation_key."""

from __future__ import annotations

import dataclasses
from enum import Enum
from functools import cached_property
from typing import Any, Generic, NotRequired, TypedDict, TypeVar
from uuid import UUID

import pytest

from worchflow import ConfigurationError, Event, EventValidationError, InvalidInput
from worchflow import event as make_event
from worchflow.definitions.correlation_key import key_of, key_text
from worchflow.definitions.messages import message_parts

T = TypeVar("T")


class Color(Enum):
    RED = "red"
    NONE = None


class Word(str, Enum):  # noqa: UP042 - its text is another one
    GO = "go"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("o-1", "o-1"),
        (5, "5"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Color.RED, "red"),
        (Word.GO, "go"),
        (("a", 5), '["a","5"]'),
        (("a",), '["a"]'),
        (('"', "ü"), '["\\"","ü"]'),
    ],
)
def test_a_key_is_text(key: Any, text: str) -> None:
    assert key_text(key) == text


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (None, "must be a str, an int, a UUID or a tuple"),
        (True, "must be a str, an int"),
        (1.5, "key=1.5"),
        (b"x", "must be a str"),
        ("", "1 to 200"),
        ("a\n", "printable"),
        ("a" * 201, "1 to 200"),
        (("a" * 100, "b" * 100), "1 to 200"),
        ((), "no parts"),
        (("a", None), "key=None"),
        ((("a",),), "must be a str"),
        (["a"], "must be a str"),
        (Color.NONE, "key=None"),
    ],
)
def test_anything_else_is_no_key(key: Any, wanted: str) -> None:
    with pytest.raises(InvalidInput, match=wanted) as refused:
        key_text(key)
    assert refused.value.field == "key"


class Approved(Event[None], name="approved", key="order_id"):
    order_id: str | None
    shop: str = "berlin"

    @property
    def both(self) -> str:
        return f"{self.shop}/{self.order_id}"

    @cached_property
    def once(self) -> int:
        return 7


class ByProperty(Approved, name="by-property", key=("both", "once")):
    pass


class Inherits(Approved, name="inherits"):
    note: str = ""


class Wrapped(Event[None], Generic[T], name="wrapped", key="id"):
    id: int
    data: T


def key_of_message(message: Any) -> str | None:
    parts = message_parts(message)
    return parts.key and key_of(parts.key, parts.data, parts.name)


def test_an_event_class_names_its_key() -> None:
    assert key_of_message(Approved(order_id="o-1")) == "o-1"
    assert key_of_message(ByProperty(order_id="o-1")) == '["berlin/o-1","7"]'
    assert key_of_message(Inherits(order_id="o-2")) == "o-2"
    assert key_of_message(Wrapped[str](id=3, data="x")) == "3"


@pytest.mark.parametrize("key", ["ordre_id", 3, (), ("order_id", "x"), ("order_id", 3)])
def test_a_class_whose_key_it_does_not_have_is_refused(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="class Wrong"):

        class Wrong(Event[None], name="wrong", key=key):
            order_id: str


def test_a_typing_mistake_in_a_key_is_told() -> None:
    with pytest.raises(ConfigurationError, match='did you mean "order_id"'):
        make_event("wrong", Approved, key="ordre_id")


class Invoice(TypedDict):
    number: int
    note: NotRequired[str]


@dataclasses.dataclass
class Parcel:
    number: int

    @property
    def name(self) -> str:
        return f"p-{self.number}"


def test_the_key_of_data_of_an_existing_type() -> None:
    by_field = make_event("a", Invoice, key="number")
    by_property = make_event("b", Parcel, key=("number", "name"))
    by_function = make_event("c", int, key=lambda number: number * 2)
    unknown = make_event("d", dict[str, Any], key="whatever")

    assert key_of_message(by_field({"number": 3})) == "3"
    assert key_of_message(by_property(Parcel(3))) == '["3","p-3"]'
    assert key_of_message(by_function(4)) == "8"
    assert key_of_message(unknown({"whatever": "x"})) == "x"
    assert key_of_message(make_event("e", int)(4)) is None


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (Approved(order_id=None), 'has the key "order_id", which is None'),
        (make_event("d", dict[str, int], key="n")({}), "no such field"),
        (make_event("d", dict[str, float], key="n")({"n": 0.5}), "is none"),
        (make_event("d", int, key=lambda n: 1 // n)(0), "ZeroDivisionError"),
        (make_event("d", int, key=lambda _: None)(0), "is none"),
    ],
)
def test_an_event_that_has_a_key_always_needs_one(message: Any, wanted: str) -> None:
    with pytest.raises(EventValidationError, match=wanted) as refused:
        key_of_message(message)
    assert refused.value.field == "key"
