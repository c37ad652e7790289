"""Values become JSON text and come back as the type that was named."""

from __future__ import annotations

import sys
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NoReturn,
    NotRequired,
    Required,
    TypeVar,
)
from uuid import UUID

import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    computed_field,
    field_serializer,
    field_validator,
    with_config,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

from tests.unit.serialization.json_values import json_values, unicode_text
from worchflow.foundations.errors import SerializationError
from worchflow.serialization.serializer import JSONSerializer, Serializer
from worchflow.serialization.type_adapters import adapter_for

BASE64 = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
NOT_UTF8 = b"\x00\xff"
T = TypeVar("T")


class Color(Enum):
    RED = "r"
    BLUE = "b"


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    A = "a"


class Bits(Flag):
    A = 1
    B = 2


class Order(BaseModel):
    when: datetime
    price: Decimal
    tags: set[str] = set()


class Blob(BaseModel):
    model_config = BASE64
    data: bytes


class Utf8Blob(BaseModel):
    data: bytes


class Aliased(BaseModel):
    x: int = Field(alias="theX")
    y: int = Field(serialization_alias="outY", validation_alias="inY")


class Generated(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper, extra="forbid")
    some_x: int


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.x * 2


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime
    pair: tuple[int, str]
    unique: set[int]
    id: UUID
    color: Color
    price: Decimal
    pause: timedelta


class Cat(BaseModel):
    kind: Literal["cat"] = Field("cat", alias="Kind")


class Dog(BaseModel):
    kind: Literal["dog"] = Field("dog", alias="Kind")


class Box(BaseModel, Generic[T]):
    item: T


class Node(BaseModel):
    children: list[Node] = []


class Twin(BaseModel):
    x: int


class OtherTwin(BaseModel):
    x: int


@dataclass
class Point:
    x: int
    data: bytes
    tags: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    point: Point
    more: list[Point]
    none: Point | None = None


@with_config(ConfigDict(ser_json_bytes="hex", val_json_bytes="hex"))
@dataclass
class Hexed:
    data: bytes


@pydantic_dataclass(config=BASE64)
class Checked:
    data: bytes


class Pair(NamedTuple):
    x: int
    day: date


class Inner(typing.TypedDict, total=False):
    x: Required[int]
    data: bytes


class Outer(Inner):
    inner: Inner | None
    many: NotRequired[dict[str, list[Inner]]]


class Tree(typing.TypedDict):
    value: int
    children: list[Tree]


@with_config(ConfigDict(extra="allow"))
class Open(typing.TypedDict):
    x: int


class Extension(typing_extensions.TypedDict):
    x: int
    data: NotRequired[bytes]


ID = UUID("12345678-1234-5678-1234-567812345678")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
UserId = NewType("UserId", int)

EXACT: list[tuple[Any, Any]] = [
    (datetime, NOW),
    (datetime, datetime(1, 1, 1)),  # noqa: DTZ001
    (datetime, datetime.max.replace(tzinfo=UTC)),
    (date, date(2026, 1, 2)),
    (time, time(1, 2, 3, 4)),
    (timedelta, timedelta(days=-1, microseconds=7)),
    (timedelta, timedelta.min),
    (timedelta, timedelta(days=999_999_999)),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("0.1234567890123456789012345678901234567890")),
    (Decimal, Decimal("-0.00")),
    (UUID, ID),
    (Color, Color.RED),
    (Number, Number.ONE),
    (Word, Word.A),
    (Bits, Bits.A | Bits.B),
    (bytes, NOT_UTF8),
    (bytes | None, NOT_UTF8),
    (dict[str, bytes], {"a": NOT_UTF8}),
    (dict[bytes, int], {NOT_UTF8: 1}),
    (set[int], {1, 2}),
    (set[bytes], {NOT_UTF8}),
    (frozenset[str], frozenset("ab")),
    (set[tuple[int, int]], {(1, 2)}),
    (tuple[int, bytes], (1, NOT_UTF8)),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (Pair, Pair(1, date(2020, 1, 1))),
    (dict[int, str], {1: "a"}),
    (dict[UUID, int], {ID: 1}),
    (dict[date, int], {date(2020, 1, 1): 1}),
    (dict[Color, int], {Color.RED: 1}),
    (dict[Decimal, int], {Decimal("1.0"): 1}),
    (defaultdict[str, list[int]], defaultdict(list, {"a": [1]})),
    (OrderedDict[str, int], OrderedDict(b=1, a=2)),
    (Counter[str], Counter("aab")),
    (deque[int], deque([1, 2])),
    (Mapping[str, int], {"a": 1}),
    (Sequence[int], [1]),
    (float, 0.1 + 0.2),
    (float, 5e-324),
    (int, 2**200),
    (int | str, "1"),
    (str | int, 1),
    (int | float, 1.0),
    (Decimal | float, 1.5),
    (complex, 1 + 2j),
    (Fraction, Fraction(1, 3)),
    (Literal["a", 1], 1),
    (Annotated[int, Field(gt=0)], 1),
    (Annotated[list[int], ["unhashable"]], [1]),
    (UserId, 3),
    (Path, Path("/a")),
    (IPv4Address, IPv4Address("1.2.3.4")),
    (None, None),
    (list[int | None], [None, 1]),
    (Order, Order(when=NOW, price=Decimal("1.10"), tags={"a", "b"})),
    (list[Order], [Order(when=NOW, price=Decimal(1))]),
    (Order | None, None),
    (Blob, Blob(data=NOT_UTF8)),
    (Utf8Blob, Utf8Blob(data=b"text")),
    (Aliased, Aliased.model_validate({"theX": 1, "inY": 2})),
    (list[Aliased], [Aliased.model_validate({"theX": 1, "inY": 2})]),
    (Generated, Generated.model_validate({"SOME_X": 1})),
    (Computed, Computed(x=1)),
    (
        Strict,
        Strict(
            when=NOW,
            pair=(1, "a"),
            unique={1},
            id=ID,
            color=Color.BLUE,
            price=Decimal("1.0"),
            pause=timedelta(1),
        ),
    ),
    (Cat | Dog, Dog.model_validate({})),
    (Annotated[Cat | Dog, Field(discriminator="kind")], Dog.model_validate({})),
    (Box[datetime], Box[datetime](item=NOW)),
    (Node, Node(children=[Node()])),
    (RootModel[list[int]], RootModel[list[int]]([1])),
    (Point, Point(1, NOT_UTF8, frozenset("ab"))),
    (Nested, Nested(point=(point := Point(1, b"", frozenset())), more=[point])),
    (Annotated[Point, "metadata"], Point(1, NOT_UTF8, frozenset())),
    (Hexed, Hexed(NOT_UTF8)),
    (Checked, Checked(NOT_UTF8)),
    (Inner, {"x": 1, "data": NOT_UTF8}),
    (Inner, {"x": 1}),
    (list[Inner] | None, [{"x": 1}]),
    (Annotated[Inner, ["metadata"]], {"x": 1}),
    (Outer, {"x": 1, "inner": {"x": 2, "data": NOT_UTF8}, "many": {"a": [{"x": 3}]}}),
    (Outer, {"x": 1, "inner": None}),
    (Tree, {"value": 1, "children": [{"value": 2, "children": []}]}),
    (Open, {"x": 1, "more": 1}),
    (Extension, {"x": 1, "data": NOT_UTF8}),
]


def same(one: Any, other: Any) -> bool:
    """Equal, of one type, and so are the members."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, dict):
        return all(same(*pair) for pair in zip(one.items(), other.items(), strict=True))
    if isinstance(one, list | tuple | deque):
        return all(map(same, one, other))
    if isinstance(one, BaseModel):
        return same(one.__dict__, other.__dict__)
    return isinstance(one, set | frozenset | Point | Nested) or str(one) == str(other)


def through_json(value: Any, type: Any) -> Any:
    serializer = JSONSerializer()
    return serializer.decode(serializer.encode(value, type), type)


@pytest.mark.parametrize(("type", "value"), EXACT)
def test_a_typed_value_comes_back_exactly(type: Any, value: Any) -> None:
    assert same(through_json(value, type), value)


@given(json_values)
def test_every_json_value_comes_back_exactly_without_a_type(value: Any) -> None:
    for untyped in (Any, object):
        assert same(through_json(value, untyped), value)


@given(json_values)
def test_every_json_value_comes_back_exactly_inside_a_type(value: Any) -> None:
    assert same(through_json({"a": value}, dict[str, Any]), {"a": value})


@given(
    st.builds(
        Order,
        when=st.datetimes(timezones=st.just(UTC)),
        price=st.decimals(allow_nan=False, allow_infinity=False),
        tags=st.sets(unicode_text),
    )
)
def test_any_order_comes_back_exactly(order: Order) -> None:
    assert same(through_json(order, Order), order)
    assert through_json([order], list[Order]) == [order]


@given(
    st.tuples(
        st.binary(),
        st.sets(st.uuids()),
        st.dictionaries(st.integers(), st.timedeltas()),
        st.dates() | st.none(),
    )
)
def test_any_tuple_of_built_in_types_comes_back_exactly(value: Any) -> None:
    named = tuple[bytes, set[UUID], dict[int, timedelta], date | None]

    assert same(through_json(value, named), value)


@pytest.mark.parametrize("value", ["", "x", "é😀\x00\u2028", 0, -1, 1.0, True, None])
def test_small_plain_values_are_the_same_text_with_and_without_a_type(
    value: Any,
) -> None:
    serializer = JSONSerializer()

    typed = serializer.encode(value, value.__class__)

    assert typed == serializer.encode(value, Any)
    assert typed == adapter_for(value.__class__).dump_json(value).decode()


def test_a_decoded_container_is_a_copy() -> None:
    value: list[list[int]] = [[1]]

    decoded = through_json(value, Any)

    assert decoded == value
    assert decoded is not value
    assert decoded[0] is not value[0]


class Bad(BaseModel):
    secret: int

    @field_serializer("secret")
    def fail(self, value: int) -> int:
        raise ValueError(f"cannot write {value}")


class BadValidator(BaseModel):
    secret: int

    @field_validator("secret")
    @classmethod
    def fail(cls, value: int) -> int:
        if value > 5:
            raise KeyError(value)
        return value


class Late(BaseModel):
    later: NeverDefined  # type: ignore[name-defined]  # noqa: F821


@dataclass
class HoldsTypedDict:
    inner: Inner


UNWRITABLE: list[Any] = [
    (Any, {"items": [{"a b": (4242,)}]}, r"\$\.items\[0\]\['a b'\] is a tuple"),
    (Any, {"a": float("nan")}, r"\$\.a is nan"),
    (int, "4242", r"\$ is a str and does not fit its type int: .*valid integer"),
    (list[int], [1, "4242"], r"\$\[1\] does not fit its type list\[int\]"),
    (Order, {"when": NOW}, r"\$\.price does not fit its type Order"),
    (dict[str, Any], {"a": [object()]}, r"\$\.a\[0\] is an object: .*how to write it"),
    (dict[str, Any], {"a": ["\ud800"]}, r"\$\.a\[0\] is text with a lone surrogate"),
    (str, "\ud800", r"\$ is text with a lone surrogate"),
    (Utf8Blob, Utf8Blob(data=NOT_UTF8), r"\$\.data is bytes .*ser_json_bytes"),
    (list[Utf8Blob], [Utf8Blob(data=NOT_UTF8)], r"\$\[0\]\.data is bytes .*base64"),
    (Bad, Bad(secret=4242), r"was not written: `fail` raised ValueError$"),
    (Iterator[int], iter([1]), r"the type .*Iterator\[int\] is none whose values"),
    (NoReturn, 1, r"the type NoReturn is none whose values"),
    (5, 1, r"the type 5 is none whose values"),
    ("Order", 1, r"the type 'Order' cannot be resolved .*as_type="),
    (list["NeverDefined"], [], r"cannot be resolved .*as_type="),  # type: ignore[name-defined]  # noqa: F821
    (Late, 1, r"the type Late cannot be resolved \(name 'NeverDefined'.*as_type="),
    pytest.param(
        HoldsTypedDict,
        HoldsTypedDict({"x": 1}),
        r"use `typing_extensions.TypedDict`",
        marks=pytest.mark.skipif(
            sys.version_info >= (3, 12), reason="pydantic reads it from 3.12 on"
        ),
    ),
]


@pytest.mark.parametrize(("type", "value", "message"), UNWRITABLE)
def test_what_cannot_be_written_is_refused_with_its_place_but_not_its_content(
    type: Any, value: Any, message: str
) -> None:
    with pytest.raises(SerializationError, match=message) as raised:
        JSONSerializer().encode(value, type)

    assert "4242" not in str(raised.value)
    # What pydantic raised quotes the value; it must not be in a traceback either.
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_a_value_that_contains_itself_is_refused_typed_and_untyped() -> None:
    value: list[Any] = []
    value.append(value)

    for type_ in (Any, list[Any]):
        with pytest.raises(SerializationError, match="contains itself"):
            JSONSerializer().encode(value, type_)


UNREADABLE: list[tuple[Any, str, str]] = [
    (Any, "", "not JSON"),
    (Any, "{'a': 4242}", "not JSON"),
    (Any, "1 4242", "not JSON"),
    (Any, "[" * 100_000, "not JSON"),
    (int, "[", "Invalid JSON"),
    (int, '"x4242"', r"\$: Input should be a valid integer"),
    (Order, '{"price":"4242"}', r"\$\.when: Field required"),
    (list[Order], '[{"price":"4242","when":[]}]', r"\$\[0\]\.when: "),
    (dict[str, int], '{"a b":"x","c":"x","d":"x","e":"x"}', r"\$\['a b'\].*and 1 more"),
    (BadValidator, '{"secret":4242}', r"its own code raised KeyError \(.*, line \d+\)"),
    (Extension, "{}", r"\$\.x: Field required"),
    (Inner, '{"data":""}', r"\$\.x: Field required"),
    (Outer, '{"x":1,"inner":null,"many":[]}', r"\$\.many: "),
]


@pytest.mark.parametrize(("type", "text", "message"), UNREADABLE)
def test_text_of_another_shape_is_refused_with_its_place_but_not_its_content(
    type: Any, text: str, message: str
) -> None:
    with pytest.raises(SerializationError, match=message) as raised:
        JSONSerializer().decode(text, type)

    assert "4242" not in str(raised.value)


def test_members_of_a_union_are_tried_in_the_order_the_code_names_them() -> None:
    for first, second in ((Twin, OtherTwin), (OtherTwin, Twin)):
        assert isinstance(JSONSerializer().decode('{"x":1}', first | second), first)
        assert isinstance(
            JSONSerializer().decode('[{"x":1}]', list[first | second])[0],  # type: ignore[valid-type]
            first,
        )


def test_the_default_serializer_can_be_subclassed() -> None:
    class Upper(JSONSerializer):
        def encode(self, value: Any, type: Any) -> str:
            return super().encode(value, type).upper()

    assert Upper().encode("a", str) == '"A"'


def test_a_serializer_without_both_methods_cannot_be_made() -> None:
    class Half(Serializer):
        def encode(self, value: Any, type: Any, /) -> str:
            return ""

    with pytest.raises(TypeError, match="decode"):
        Half()  # type: ignore[abstract]
