"""Values pass the one place above the stores unchanged, or are refused there."""

from __future__ import annotations

import inspect
import json
import logging
import math
import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, TypeVar
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

from tests.unit.serialization.codecs import Encrypting, Failing, Zipped
from tests.unit.serialization.json_values import json_values
from worchflow.foundations.errors import (
    ConfigurationError,
    PayloadTooLarge,
    SerializationError,
    StepResultChanged,
)
from worchflow.foundations.limits import PayloadLimits
from worchflow.model.records import ErrorInfo
from worchflow.serialization.exception_text import describe
from worchflow.serialization.payloads import Kind, Payloads
from worchflow.serialization.serializer import JSONSerializer

WHERE = 'step "Charge card"'
LONE = "\ud800"
SECRET = "tell-nobody"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
T = TypeVar("T")


class Deep(BaseModel):
    inner: Deep | None = None


def deep(levels: int) -> Deep:
    value = Deep()
    for _ in range(levels):
        value = Deep(inner=value)
    return value


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


class Color(Enum):
    RED = "r"


class Receipt(BaseModel):
    total: Decimal
    paid_at: datetime


class Base(BaseModel):
    a: int


class Derived(Base):
    b: int = 5


class Twin(BaseModel):
    x: int


class OtherTwin(BaseModel):
    x: int


class Excluded(BaseModel):
    x: int
    y: int = Field(default=0, exclude=True)


class Omitted(BaseModel):
    y: int = Field(exclude=True)


class Streamed(BaseModel):
    items: Iterable[int]


class Secret(BaseModel):
    password: SecretStr


class Private(BaseModel):
    x: int
    _seen: int = PrivateAttr(default=0)


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Doubling(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class MaybeNumber(BaseModel):
    number: float | None


class Box(BaseModel, Generic[T]):
    item: T


@dataclass
class Counting:
    x: int

    def __post_init__(self) -> None:
        self.x += 1


@dataclass
class Stamped:
    amount: int
    stamp: str = field(default_factory=lambda: uuid4().hex, init=False, compare=False)


@pydantic_dataclass
class StampedToo:
    amount: int
    stamp: str = field(default="", init=False, compare=False)

    def __post_init__(self) -> None:
        self.stamp = uuid4().hex


@dataclass
class Remembering:
    amount: int
    note: str = field(default="", compare=False)
    cache: int | None = field(default=None, init=False, compare=False)


@dataclass
class Shape:
    x: int


@dataclass
class Circle(Shape):
    radius: int = 5


class Fields(typing.TypedDict):
    x: int


@dataclass(eq=False)
class NoEquality:
    x: int


@dataclass
class Ambiguous:
    x: int

    def __eq__(self, other: object) -> Any:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def with_private(value: int) -> Private:
    private = Private(x=1)
    private._seen = value
    return private


def encode(
    value: Any, type: Any = Any, kind: Kind = "step", **options: Any
) -> tuple[str, Any]:
    return Payloads(**options).encode(value, type, kind=kind, where=WHERE)


# --- what would change silently ----------------------------------------------------

SILENT_CHANGES: list[tuple[Any, Any, str]] = [
    # Without a type
    (Any, (1, 2), r"\$ is a tuple"),
    (Any, {1, 2}, r"\$ is a set"),
    (Any, b"\xff", r"\$ is a bytes"),
    (Any, NOW, r"\$ is a datetime"),
    (Any, Decimal("1.1"), r"\$ is a Decimal"),
    (Any, Base(a=1), r"\$ is a Base"),
    (Any, Color.RED, r"\$ is a Color"),
    (Any, {1: 2}, r"\$ has a key that is an int"),
    (object, {"a": (1,)}, r"\$\.a is a tuple: that is not plain JSON"),
    # Under a type that says nothing about this part
    (dict, {1: 2}, r"\$\[1\] would not come back"),
    (dict[Any, int], {1: 1}, r"\$\[1\] would not come back"),
    (dict[int | str, int], {1: 1}, r"\$\[1\] would not come back"),
    (dict[str, Any], {"a": {1: 2}}, r"\$\.a\[1\] would not come back"),
    (dict[str, Any], {"a": [(1,)]}, r"\$\.a\[0\] is a tuple .* back as a list"),
    (dict[str, Any], {"a": {1}}, r"\$\.a is a set .* back as a list"),
    (dict[str, Any], {"a": b"\xff"}, r"\$\.a is a bytes .* back as a str"),
    (dict[str, Any], {"a": NOW}, r"\$\.a is a datetime .* back as a str"),
    (dict[str, Any], {"a": Base(a=1)}, r"\$\.a is a Base .* back as a dict"),
    (list[Any], [1, [Decimal(1)]], r"\$\[1\]\[0\] is a Decimal .* as a str"),
    (Box, Box(item=NOW), r"\$\.item is a datetime .* back as a str"),
    (Extra, Extra.model_validate({"x": 1, "y": NOW}), r"\$\.y is a datetime"),
    # Under a union whose members look the same in JSON
    (bytes | str, "abcd", r"\$ is a str .* back as a bytes"),
    (str | bytes, b"\xff", r"\$ is a bytes .* back as a str"),
    (str | datetime, NOW, r"\$ is a datetime .* back as a str"),
    (Color | str, Color.RED, r"\$ is a Color .* back as a str"),
    (list[int] | set[int], {1}, r"\$ is a set .* back as a list"),
    (Sequence[int], (1, 2), r"\$ is a tuple .* back as a list"),
    (Twin | OtherTwin, OtherTwin(x=1), r"\$ is an OtherTwin .* back as a Twin"),
    (Derived | Base, Base(a=1), r"\$ is a Base .* back as a Derived"),
    # Cut to a base class, or parts left out
    (Base, Derived(a=1, b=9), r"\$ is a Derived .* back as a Base"),
    (list[Base], [Base(a=1), Derived(a=1)], r"\$\[1\] is a Derived .* as a Base"),
    (Shape, Circle(1), r"\$ is a Circle .* back as a Shape"),
    (Fields, {"x": 1, "more": 2}, r"\$\.more would not come back"),
    (Excluded, Excluded(x=1, y=2), r"\$\.y is a field that its exclude= keeps"),
    (Omitted, Omitted(y=2), r"\$ has the field y, which its exclude= keeps"),
    (Private, with_private(7), r"\$\._seen is a private attribute, which is not"),
    (SecretStr, SecretStr(SECRET), r"\$ is a SecretStr, which is written as asterisks"),
    (Secret, Secret(password=SecretStr(SECRET)), r"\$\.password is a SecretStr"),
    # Changed by its own validation
    (Doubling, Doubling(x=1), r"\$\.x is an int .* another value"),
    (Counting, Counting(1), r"\$\.x is an int .* another value"),
    # Precision
    (
        datetime,
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=19815))),
        r"\$ is a datetime .* another value",
    ),
    # Numbers and text that JSON lacks
    (Any, math.nan, r"\$ is nan"),
    (float, math.inf, r"\$ is inf"),
    (float | None, math.nan, r"\$ is nan"),
    (list[float], [1.0, -math.inf], r"\$\[1\] is -inf"),
    (dict[str, Any], {"a": math.nan}, r"\$\.a is nan"),
    (MaybeNumber, MaybeNumber(number=math.nan), r"\$\.number is nan"),
    (MaybeNumber, MaybeNumber(number=math.inf), r"\$\.number is inf"),
    (Decimal, Decimal("NaN"), r"would not come back as Decimal: .*finite number$"),
    (str, LONE, r"\$ is text with a lone surrogate"),
    (dict[str, int], {LONE: 1}, r"\$\['\\ud800'\] is text with a lone surrogate"),
    (Any, {"a": {LONE: 1}}, r"\$\.a\['\\ud800'\] is text with a lone surrogate"),
    (dict[str, Any], {"a": {LONE: 1}}, r"\$\.a\['\\ud800'\] is text"),
    # What `==` does not look at
    (Stamped, Stamped(5), r"\$\.stamp is a field that would come back with another"),
    (StampedToo, StampedToo(5), r"\$\.stamp is a field"),
    (list[Stamped | int], [1, Stamped(5)], r"\$\[1\]\.stamp is a field"),
    (dict[str, Box[Stamped]], {"a": Box(item=Stamped(5))}, r"\$\.a\.item\.stamp is a"),
    (datetime, datetime(2026, 10, 25, 2, fold=1), r"\$ .* with fold=1"),  # noqa: DTZ001
    (time, time(2, fold=1), r"\$ .* with fold=1"),
    # Nobody can tell
    (NoEquality, NoEquality(1), r"\$ is a NoEquality, whose class .* __eq__"),
    (Ambiguous, Ambiguous(1), r"\$ is an Ambiguous"),
]


@pytest.mark.parametrize(("type", "value", "message"), SILENT_CHANGES)
def test_what_would_change_silently_is_refused_with_its_place(
    type: Any, value: Any, message: str
) -> None:
    with pytest.raises(SerializationError, match=message) as raised:
        encode(value, type)

    text = str(raised.value)
    assert text.startswith(f"{WHERE}: ")
    assert SECRET not in text
    text.encode()


def test_a_forgotten_return_is_told_as_such() -> None:
    for kind, hint in (("result", True), ("step", True), ("event", False)):
        with pytest.raises(SerializationError) as raised:
            Payloads().encode(None, str, kind=kind, where=WHERE)

        told = f"{WHERE}: $ is None and no str (is a `return` missing?). The way out"
        assert str(raised.value).startswith(told) == hint


@pytest.mark.parametrize(
    ("type", "value", "message"),
    [
        (dict[tuple[int, int], int], {(1, 2): 3}, "Keys are text in JSON: make it a"),
        (Base, Base(a=1).model_copy(update={"a": "x"}), r"class Base: \$\.a: Input"),
        (
            list[Base],
            [Base(a=1).model_copy(update={"a": "x"})],
            r"\$\[0\] does not fit",
        ),
    ],
)
def test_advice_is_given_only_where_it_works(
    type: Any, value: Any, message: str
) -> None:
    with pytest.raises(SerializationError, match=message) as raised:
        encode(value, type)

    assert "name exactly" not in str(raised.value)


def test_what_its_type_does_not_read_is_named_with_the_type_it_has() -> None:
    with pytest.raises(SerializationError, match=r"\$ is an int and does not fit"):
        encode(5, str)


EQUAL_IS_ENOUGH: list[tuple[Any, Any]] = [
    (int, True),
    (float, 1),
    (deque[int], deque([1], maxlen=5)),
    (datetime, datetime(2026, 7, 2, tzinfo=ZoneInfo("UTC"))),
    (Derived, Derived(a=1)),
    (Remembering, Remembering(5, "kept")),
]


@pytest.mark.parametrize(("type", "value"), EQUAL_IS_ENOUGH)
def test_what_comes_back_equal_is_accepted_and_the_same_now_as_on_replay(
    type: Any, value: Any
) -> None:
    payload, decoded = encode(value, type)

    replayed = Payloads().decode_step(payload, type, where=WHERE)
    assert decoded == value
    assert (replayed, repr(replayed)) == (decoded, repr(decoded))


@given(json_values)
def test_every_json_value_is_kept_and_read_back_as_it_is(value: Any) -> None:
    payload, decoded = encode(value)

    assert json.loads(payload) == value
    assert repr(decoded) == repr(value)
    assert repr(Payloads().decode(payload, Any, where=WHERE)) == repr(value)


# --- the way out is named ----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "type", "value", "remedy"),
    [
        ("step", Any, {1}, "annotate what the function returns, or pass .*as_type="),
        ("result", Any, {1}, r"annotate what the handler returns, .*Event\[\.\.\.\]"),
        ("event", Any, {1}, "give the event a data type"),
        ("step", int, "x", "return annotation name exactly .*as_type="),
        ("result", Base, Derived(a=1), "handler's return annotation"),
        ("event", Base, Derived(a=1), "event's data type"),
    ],
)
def test_a_refusal_names_the_way_out(
    kind: Kind, type: Any, value: Any, remedy: str
) -> None:
    with pytest.raises(SerializationError, match=remedy):
        encode(value, type, kind)


def generated() -> Iterator[int]:
    yield 1


class Later:
    def __await__(self) -> Iterator[int]:
        yield 1


async def forgotten() -> str:
    return "x"


READ_ONCE = "make a list of it, and name list"
ADVICE: list[tuple[Any, Callable[[], Any], str]] = [
    (
        str,
        forgotten,
        "is a coroutine that was not awaited: put `await` before the call",
    ),
    (Any, forgotten, "put `await`"),
    (dict[str, int], lambda: {"a": Later()}, r"\$\.a .*put `await`"),
    (Any, generated, f"is a generator, .*{READ_ONCE}"),
    (list[int], generated, READ_ONCE),
    (Iterable[int], generated, READ_ONCE),
    (Iterator[int], generated, READ_ONCE),
    (list[str], lambda: map(str, [1]), f"is a map, .*{READ_ONCE}"),
    (list[str], {"a": 1}.keys, f"is a dict_keys, .*{READ_ONCE}"),
    (list[int], lambda: range(3), f"is a range, .*{READ_ONCE}"),
    (
        Iterable[int],
        lambda: [1],
        r"Iterable\[int\], which is read only once: name list",
    ),
    (Streamed, lambda: Streamed(items=[1]), r"\$\.items .*name list"),
    (Excluded, lambda: Excluded(x=1, y=2), "take exclude= away"),
    (Omitted, lambda: Omitted(y=2), "take exclude= away"),
    (
        list[Any],
        lambda: nested(65),
        r"up to 100 with limits=PayloadLimits\(depth=...\)$",
    ),
    (Any, lambda: nested(65), r"up to 100 with limits=PayloadLimits\(depth=...\)$"),
    (Deep, lambda: deep(300), "more than 100 levels deep: nest it less$"),
]


@pytest.mark.parametrize(("type", "make", "advice"), ADVICE)
def test_the_advice_is_for_the_mistake_that_was_made(
    type: Any, make: Callable[[], Any], advice: str
) -> None:
    value = make()

    with pytest.raises(SerializationError, match=advice) as raised:
        encode(value, type)

    assert "annotation name exactly" not in str(raised.value)
    assert "does not say how to write" not in str(raised.value)
    if inspect.iscoroutine(value):
        value.close()


@pytest.mark.parametrize(("type", "value"), [(Any, math.nan), (str, LONE)])
def test_no_annotation_is_asked_for_where_none_would_help(
    type: Any, value: Any
) -> None:
    with pytest.raises(SerializationError) as raised:
        encode(value, type)

    assert "annot" not in str(raised.value)
    assert "as_type" not in str(raised.value)


def test_a_refusal_carries_the_path_as_its_field() -> None:
    for type_ in (Any, dict[str, Any]):
        with pytest.raises(SerializationError) as raised:
            encode({"items": [{"name": (1,)}]}, type_)
        assert raised.value.field == "$.items[0].name"


# --- limits ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["event", "step", "result"])
def test_each_kind_has_its_own_size_limit_in_bytes_of_utf8(kind: Kind) -> None:
    limits = PayloadLimits(**{f"{kind}_bytes": 20})
    fits, too_large = "é" * 9, "é" * 9 + "x"

    assert len(encode(fits, str, kind, limits=limits)[0].encode()) == 20
    with pytest.raises(PayloadTooLarge, match="Charge card") as raised:
        encode(too_large, str, kind, limits=limits)
    assert (raised.value.size, raised.value.limit) == (21, 20)


def test_the_size_is_that_before_the_codec() -> None:
    limits = PayloadLimits(step_bytes=1000)
    text = "x" * 998

    payload, _ = encode(text, str, codec=Zipped(), limits=limits)

    assert len(payload) < 200
    with pytest.raises(PayloadTooLarge):
        encode(text + "x", str, codec=Zipped(), limits=limits)


def test_what_a_codec_blows_up_beyond_what_stores_take_is_refused() -> None:
    class Blowing(Zipped):
        def encode(self, data: bytes) -> bytes:
            return bytes(16 * 1024 * 1024)

    with pytest.raises(PayloadTooLarge, match="after the codec"):
        encode("x", str, codec=Blowing())


@pytest.mark.parametrize("type", [Any, list[Any]])
def test_the_depth_limit_holds_with_and_without_a_type(type: Any) -> None:
    value = nested(64)

    assert encode(value, type)[1] == value
    with pytest.raises(SerializationError, match="nested more than 64 levels"):
        encode([value], type)
    assert encode([value], type, limits=PayloadLimits(depth=65))[1] == [value]


def test_what_was_kept_under_a_higher_depth_limit_is_still_read() -> None:
    payload = "[" * 90 + "]" * 90

    assert Payloads(limits=PayloadLimits(depth=2)).decode(payload, Any, where=WHERE)


# --- reading -----------------------------------------------------------------------

UNREADABLE: list[tuple[Any, Any, str]] = [
    (Any, None, "holds nothing"),
    (Any, b"1", "holds nothing"),
    (Any, "", "text that is not JSON"),
    (Any, "{", "text that is not JSON"),
    (Any, "[NaN]", "not finite"),
    (float, "Infinity", "not finite"),
    (Any, "[" * 100_000, "nested more than 100"),
    (list[Any], "[" * 101 + "]" * 101, "nested more than 100"),
    (Any, r'"\ud800"', "lone surrogate"),
    (str, f'"{LONE}"', "lone surrogate"),
    (int, f'"{SECRET}"', "a string, .*int: .*valid integer"),
    (Receipt, '{"amount":1}', r"an object with amount \(number\), .*Receipt: .*total"),
    (list[int], "{}", "an object with no keys"),
    (Receipt, "[1,2]", "an array of 2"),
]


@pytest.mark.parametrize(("type", "payload", "message"), UNREADABLE)
def test_a_payload_that_does_not_decode_is_refused(
    type: Any, payload: Any, message: str
) -> None:
    with pytest.raises(SerializationError, match=message) as raised:
        Payloads().decode(payload, type, where=WHERE)

    assert str(raised.value).startswith(WHERE)
    assert SECRET not in str(raised.value)
    assert not isinstance(raised.value, StepResultChanged)


def test_a_recorded_step_of_another_shape_names_both_shapes() -> None:
    payload, _ = encode({"amount": 1, "currency": SECRET})

    with pytest.raises(StepResultChanged) as raised:
        Payloads().decode_step(payload, Receipt, where=WHERE)

    assert str(raised.value) == (
        'step "Charge card" is recorded as an object with amount (number), currency '
        "(string), but the code now names Receipt: $.total: Field required; $.paid_at: "
        "Field required. Let the type read what is recorded too, or give the changed "
        "step another title"
    )


def test_a_recorded_step_that_still_decodes_is_read_as_the_new_type() -> None:
    payload, _ = encode({"x": 1})

    assert Payloads().decode_step(payload, Twin, where=WHERE) == Twin(x=1)


def test_a_missing_payload_is_not_taken_for_a_changed_step() -> None:
    with pytest.raises(SerializationError, match="holds nothing") as raised:
        Payloads().decode_step(None, Any, where=WHERE)

    assert not isinstance(raised.value, StepResultChanged)


# --- equal data of a duplicate -----------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "type", "same"),
    [
        ('{"a":1,"b":[2]}', '{ "b": [2.0], "a": 1 }', Any, True),
        ("1", "true", Any, False),
        ("[1,2]", "[2,1]", Any, False),
        ("[1,2]", "[2,1]", set[int], True),
        ("[1,2]", "[2,1]", list[int], False),
        ('"1.0"', '"1.00"', Decimal, True),
        ('{"x":1}', '{"y":1}', Twin, False),
        ("null", "{}", Any, False),
    ],
)
def test_data_is_the_same_as_json_or_as_values_of_the_type(
    one: str, other: str, type: Any, same: bool
) -> None:
    assert Payloads().same_data(one, other, type) is same
    assert Payloads().same_data(other, one, type) is same


def test_data_sealed_twice_by_a_codec_that_is_never_the_same_is_the_same() -> None:
    payloads = Payloads(codec=Encrypting())
    one, _ = payloads.encode({"a": 1}, Any, kind="event", where=WHERE)
    other, _ = payloads.encode({"a": 1}, Any, kind="event", where=WHERE)
    different, _ = payloads.encode({"a": 2}, Any, kind="event", where=WHERE)

    assert one != other
    assert payloads.same_data(one, other)
    assert not payloads.same_data(one, different)
    assert payloads.same_data(one, '{"a":1}')


def test_data_that_cannot_be_read_is_not_said_to_differ() -> None:
    with pytest.raises(SerializationError, match="event data"):
        Payloads().same_data("{", "{}")


# --- a serializer of one's own -----------------------------------------------------


class Tagging:
    """Keeps tuples, which the default does not without a type."""

    def encode(self, value: Any, type: Any) -> str:
        return json.dumps({"tuple": isinstance(value, tuple), "value": value})

    def decode(self, text: str, type: Any) -> Any:
        found = json.loads(text)
        return tuple(found["value"]) if found["tuple"] else found["value"]


def test_a_serializer_of_ones_own_replaces_the_default() -> None:
    payload, decoded = encode((1, 2), serializer=Tagging())

    assert json.loads(payload) == {"tuple": True, "value": [1, 2]}
    assert decoded == (1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1", "returned a bytes instead of JSON text"),
        ("not json", "text that is not JSON"),
        ("NaN", "not finite"),
        (r'"\ud800"', "lone surrogate"),
        (f'"{LONE}"', "lone surrogate"),
        ("[" * 65 + "]" * 65, "nested more than 64"),
    ],
)
def test_what_a_serializer_writes_is_checked(text: Any, message: str) -> None:
    class Fixed(Tagging):
        def encode(self, value: Any, type: Any) -> Any:
            return text

    with pytest.raises(SerializationError, match=message):
        encode("a", serializer=Fixed())


def test_what_a_serializer_changes_is_refused() -> None:
    class Upper(JSONSerializer):
        def encode(self, value: Any, type: Any) -> str:
            return super().encode(value, type).upper()

    with pytest.raises(SerializationError, match="another value"):
        encode("a", str, serializer=Upper())


def test_a_serializer_that_raises_is_reported_without_its_words() -> None:
    class Broken(Tagging):
        def encode(self, value: Any, type: Any) -> str:
            raise RuntimeError(f"cannot take {value}")

    class Unreading(Tagging):
        def decode(self, text: str, type: Any) -> Any:
            raise RuntimeError(f"cannot take {text}")

    for serializer in (Broken(), Unreading()):
        with pytest.raises(
            SerializationError, match=r"RuntimeError \(test_payloads.py, line \d+\)"
        ) as raised:
            encode(SECRET, serializer=serializer)
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"serializer": Tagging}, "serializer=Tagging is a class"),
        ({"serializer": object()}, "serializer=.*object.* needs a method encode"),
        ({"codec": Zipped}, "codec=Zipped is a class"),
        ({"codec": object()}, "codec=.* needs a method encode"),
    ],
)
def test_a_serializer_or_codec_that_cannot_work_is_refused_at_once(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Payloads(**options)


# --- errors as text ----------------------------------------------------------------


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:  # noqa: BLE001
        return caught


def test_an_error_is_kept_as_its_description_and_read_back() -> None:
    error = raised(KeyError("order"), raised(ValueError("the first cause")))

    info = Payloads().encode_error(error)

    assert info == describe(error)
    assert Payloads().decode_error(info) == info


def test_the_codec_covers_message_and_traceback() -> None:
    payloads = Payloads(codec=Encrypting())
    error = raised(ValueError(SECRET))

    info = payloads.encode_error(error)

    assert info.type == "ValueError"
    assert SECRET not in info.message + info.traceback
    assert payloads.decode_error(info) == Payloads().encode_error(error)


def test_an_error_that_the_codec_refuses_is_kept_without_its_text() -> None:
    info = Payloads(codec=Failing()).encode_error(raised(ValueError(SECRET)))

    assert info.type == "ValueError"
    assert SECRET not in info.message + info.traceback
    assert "codec's encode raised ValueError" in info.message


def test_an_error_from_before_the_codec_is_read_as_it_is() -> None:
    info = Payloads().encode_error(raised(ValueError("plain")))

    assert Payloads(codec=Zipped()).decode_error(info) == info


@pytest.mark.parametrize("codec", [None, Failing(), Encrypting()])
@pytest.mark.parametrize(
    "stored",
    [
        None,
        1,
        '{"worchflow:codec":"AAAA"}',
        '{"worchflow:codec":"!"}',
        '{"worchflow:codec":[]}',
    ],
)
def test_an_unreadable_error_becomes_a_placeholder(codec: Any, stored: Any) -> None:
    info = ErrorInfo(type="ValueError", message=stored, traceback=stored)

    decoded = Payloads(codec=codec).decode_error(info)

    assert decoded.type == "ValueError"
    assert decoded.message.startswith("[not readable: ")
    assert decoded.traceback.startswith("[not readable: ")


@pytest.mark.parametrize("text", ["[" * 100_000 + "worchflow:codec", LONE, ""])
def test_any_other_text_is_read_as_it_is(text: str) -> None:
    info = ErrorInfo(type="E", message=text, traceback=text)

    assert Payloads(codec=Zipped()).decode_error(info) == info


# --- nothing shows -----------------------------------------------------------------


def test_neither_log_nor_repr_shows_a_payload(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    payloads = Payloads(codec=Zipped())

    payload, _ = payloads.encode(SECRET, Any, kind="step", where=WHERE)
    payloads.decode(payload, Any, where=WHERE)
    payloads.encode_error(raised(ValueError(SECRET)))
    with pytest.raises(SerializationError):
        payloads.encode({SECRET}, Any, kind="step", where=WHERE)

    assert caplog.records == []
    assert SECRET not in repr(payloads)
