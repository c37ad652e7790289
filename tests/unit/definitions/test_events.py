"""Events: classes, references, messages and what they are made of."""

from __future__ import annotations

import dataclasses
import sys
from collections import ChainMap
from types import ModuleType
from typing import Any, Generic, Literal, NewType, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeAliasType, TypedDict

from worchflow.definitions.events import (
    Envelope,
    Event,
    EventRef,
    as_ref,
    event,
    event_name,
    result_type,
)
from worchflow.definitions.function import create_function
from worchflow.definitions.messages import message_parts
from worchflow.foundations.errors import ConfigurationError, EventValidationError

T = TypeVar("T")
U = TypeVar("U")


class Receipt(BaseModel):
    txn: str


class Pay(Event[Receipt], name="pay"):
    amount: int


class PayLater(Pay, name="pay-later"):
    days: int


class Unnamed(Pay):
    tip: int


class Bare(Event, name="bare"):
    x: int = 0


class Own(Event[str], name="own"):
    name: str
    id: int
    data: dict[str, int]


class Forward(Event["Later"], name="forward"):
    x: int = 0


class ForwardList(Event[list["Later"]], name="forward-list"):
    x: int = 0


class Later(BaseModel):
    a: int


class Wrapped(Event[str], Generic[T], name="wrapped"):
    item: T


class WrappedInt(Wrapped[int], name="wrapped-int"): ...


class Middle(Event[list[T]], Generic[T, U]):
    common: U


class Swapped(Middle[U, T], Generic[T, U]): ...


class Leaf(Swapped[int, bytes], name="leaf"): ...


class LateLeaf(Swapped[int, "Later"], name="late-leaf"): ...


class OpenLeaf(Middle, name="open-leaf"): ...  # type: ignore[type-arg]


class Box(BaseModel, Generic[T]):
    item: T


class BoxMiddle(Event[Box[T]], Generic[T]): ...


@dataclasses.dataclass
class Crate(Generic[T]):
    item: T


class CrateMiddle(Event[Crate[T]], Generic[T]): ...


class BareCrate(Event[Crate], Generic[T], name="crate"):  # type: ignore[type-arg]
    item: T


class BoxLeaf(BoxMiddle[int], name="box-leaf"): ...


class MailData(TypedDict):
    to: str


@dataclasses.dataclass
class Point:
    x: int


def test_an_event_class_knows_its_name_and_result() -> None:
    assert event_name(Pay) == "pay"
    assert result_type(Pay) is Receipt


def test_a_subclass_has_a_name_of_its_own_and_the_result_of_its_parent() -> None:
    assert event_name(PayLater) == "pay-later"
    assert result_type(PayLater) is Receipt


def test_an_unnamed_subclass_does_not_pass_for_its_parent() -> None:
    with pytest.raises(ConfigurationError) as caught:
        message_parts(Unnamed(amount=1, tip=2))
    assert 'does not inherit "pay"' in caught.value.message
    assert 'class Unnamed(…, name="unnamed")' in caught.value.message


@pytest.mark.parametrize("cls", [Middle, Middle[int, str], Event, Event[int]])
def test_a_class_without_a_name_is_no_event(cls: Any) -> None:
    with pytest.raises(ConfigurationError, match="has no name: write class "):
        as_ref(cls)


def test_fields_may_be_called_name_id_and_data() -> None:
    message = Own(name="n", id=1, data={"a": 1})
    assert message.model_dump() == {"name": "n", "id": 1, "data": {"a": 1}}
    assert message_parts(message)[:4] == ("own", message, Own, str)


def test_a_generic_event_class_keeps_its_name_when_its_type_is_filled_in() -> None:
    message = Wrapped[int](item=1)
    assert message_parts(message)[:4] == ("wrapped", message, Wrapped[int], str)
    assert event_name(WrappedInt) == "wrapped-int"


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Bare, Any),
        (Leaf, list[bytes]),
        (LateLeaf, list[Later]),
        (OpenLeaf, list[Any]),
        (BoxLeaf, Box[int]),
        (CrateMiddle[int], Crate[int]),
        (BareCrate[int], Crate),
        (Middle, list[Any]),
        (Middle[str, int], list[str]),
        (Forward, Later),
        (ForwardList, list[Later]),
    ],
)
def test_the_result_type_is_found_through_generic_classes_and_text(
    cls: Any, expected: Any
) -> None:
    assert result_type(cls) == expected


@pytest.mark.parametrize(
    "declared", [int | None, Literal["a"], dict[str, Any], tuple[int, ...], Box]
)
def test_a_result_type_may_be_any_type(declared: Any) -> None:
    class Some(Event[declared], name="some"): ...

    assert result_type(Some) == declared


def test_a_result_of_none_is_the_class_of_none() -> None:
    class Nothing(Event[None], name="nothing"): ...

    assert result_type(Nothing) is type(None)


def test_a_result_type_as_text_is_looked_up_again_until_it_is_there(
    monkeypatch: Any,
) -> None:
    class Early(Event["Coming"], name="early"): ...  # type: ignore[name-defined]

    with pytest.raises(ConfigurationError, match="Early cannot be read from 'Coming'"):
        result_type(Early)
    monkeypatch.setitem(globals(), "Coming", Receipt)
    assert result_type(Early) is Receipt
    monkeypatch.delitem(globals(), "Coming")
    assert result_type(Early) is Receipt


def module_with(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of this name, its source run."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(f"from worchflow.definitions.events import Event\n{source}", vars(module))  # noqa: S102
    return module


def test_text_is_looked_up_in_the_module_that_wrote_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    early = "class A(Event['Same'], name='a'): ..."
    here = module_with("here", f"Same = int\n{early}", monkeypatch)
    there = module_with("there", early, monkeypatch)
    assert result_type(here.A) is int
    with pytest.raises(ConfigurationError, match="'Same' is not defined"):
        result_type(there.A)
    there.Same = str
    assert result_type(there.A) is str


def test_text_of_a_parent_is_looked_up_in_the_parents_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = "Own = int\nclass A(Event['Own'], name='a'): ..."
    module_with("parents", source, monkeypatch)
    source = "import parents\nOwn = str\nclass B(parents.A, name='b'): ..."
    assert result_type(module_with("children", source, monkeypatch).B) is int


def test_a_result_type_is_read_although_a_module_that_used_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = module_with("gone", "class A(Event[set[bytes]], name='a'): ...", monkeypatch)
    monkeypatch.delitem(sys.modules, "gone")

    class Same(Event[set[bytes]], name="same"): ...

    assert result_type(Same) == result_type(gone.A) == set[bytes]


def test_a_local_class_finds_its_result_type_among_local_names_first() -> None:
    class Later(BaseModel): ...

    class Local(Event["Later"], name="local"): ...

    assert result_type(Local, locals()) is Later


def test_a_class_of_the_module_ignores_local_names() -> None:
    class AlsoForward(Event["Later"], name="also-forward"): ...

    AlsoForward.__qualname__ = "AlsoForward"
    assert result_type(AlsoForward, {"Later": Receipt}) is Later


def test_a_result_type_that_is_no_type_is_refused() -> None:
    class Odd(Event["RED"], name="odd"): ...  # type: ignore[name-defined]

    with pytest.raises(ConfigurationError, match="is not a type"):
        result_type(Odd, {"RED": "red"} | {"RED": 3})


@pytest.mark.parametrize("name", [3, "", "a\nb", "x" * 201, b"pay"])
def test_a_class_with_an_impossible_name_is_refused_at_once(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="class Bad: name="):

        class Bad(Event[str], name=name): ...


def test_an_unknown_class_keyword_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="class Bad: unknown keyword nam;"):

        class Bad(Event[str], nam="x"): ...


def test_settings_of_pydantic_models_work_as_class_keywords_and_as_model_config() -> (
    None
):
    class Closed(Event[str], name="closed", extra="forbid"):
        x: int = 0

    class Frozen(Event[str], name="frozen"):
        model_config = ConfigDict(frozen=True)
        raw: bytes = b"\xff"

    with pytest.raises(ValueError, match="Extra inputs"):
        Closed(y=1)  # type: ignore[call-arg]
    text = Frozen().model_dump_json()
    assert Frozen.model_validate_json(text) == Frozen()


def test_local_event_classes_work() -> None:
    class Inner(BaseModel):
        a: int

    class Local(Event[Inner], name="local"):
        inner: Inner
        more: list[Inner]

    message = Local(inner=Inner(a=1), more=[Inner(a=2)])
    assert message_parts(message)[:4] == ("local", message, Local, Inner)


@pytest.mark.parametrize(
    "data_type",
    [
        *(MailData, Point, Receipt, int, list[int], int | None, Any, Pay),
        *(Literal["a"], NewType("UserId", int), TypeAliasType("Ids", list[int])),
    ],
)
def test_an_event_can_have_any_existing_type(data_type: Any) -> None:
    ref = event("some", data_type, data_type)
    assert message_parts(ref({"x": 1}))[:4] == ("some", {"x": 1}, data_type, data_type)


def test_none_as_a_type_is_the_class_of_none() -> None:
    assert message_parts(event("tick", None, None)(None))[:4] == (
        *("tick", None),
        *(type(None), type(None)),
    )


def test_a_result_type_left_out_is_any() -> None:
    assert event("mail", MailData).result_type is Any


@pytest.mark.parametrize("value", [3, "MailData", {"to": str}, Receipt(txn="t"), [int]])
def test_a_value_in_place_of_a_type_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'event "x": data_type=.* not a type'):
        event("x", value)
    with pytest.raises(
        ConfigurationError, match=r'event "x": result_type=.* not a typ'
    ):
        event("x", int, value)


@pytest.mark.parametrize("name", [None, "", "a\tb"])
def test_an_impossible_event_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name="):
        event(name, int)


def test_references_are_values() -> None:
    assert event("x", int, str) == EventRef("x", int, str)
    assert as_ref(Pay) == EventRef("pay", Pay, Receipt)
    assert as_ref(event("x", int)) == EventRef("x", int)


def test_a_message_as_a_mapping_has_data_of_any_type() -> None:
    data = {"to": "x"}
    for message in (
        {"name": "mail", "data": data},
        ChainMap({"data": data, "name": "mail"}),
    ):
        assert message_parts(message)[:4] == ("mail", data, Any, Any)


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ({"name": "x"}, '"data": None'),
        ({"data": 1}, "has ['data']"),
        ({"name": "x", "data": 1, "id": "i"}, "an id goes into send(…, id=…)"),
        ({"name": "x", "data": 1, 3: 4}, "has ['name', 'data', 3]"),
        ({"name": 3, "data": 1}, "name=3 must be text"),
        ({"name": "", "data": 1}, "name='' must be text"),
        (Pay, "send an instance of it, Pay(…)"),
        (Receipt, 'event("name", Receipt)'),
        (event("x", int), "call it with the event's data, ref(data)"),
        (create_function("x", lambda ctx: None), "function(data)"),
        (print, "function(data)"),
        ("pay", "cannot send the text 'pay': a name alone has no data"),
        (Receipt(txn="t"), "an object of type Receipt: send an instance of an Event"),
        (None, "cannot send None: send an instance of an Event class"),
        (3, "an object of type int: send"),
    ],
)
def test_anything_else_is_no_message_and_the_error_tells_the_way_out(
    message: Any, hint: Any
) -> None:
    with pytest.raises(EventValidationError) as caught:
        message_parts(message)
    assert hint in caught.value.message
    assert caught.value.field in {"message", "name"}


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        (Pay(amount=1), "Pay(…) is one event: name the class, Pay"),
        (Receipt, 'class Receipt(Event[…], name="receipt")'),
        (MailData, 'event("mail-data", MailData)'),
        (test_references_are_values, "@function(EventClass)"),
        (3, '3 names no event: use an Event class, event("name", DataType)'),
    ],
)
def test_anything_else_names_no_event_and_the_error_tells_the_way_out(
    source: Any, hint: Any
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_ref(source)
    assert hint in caught.value.message


def test_no_repr_and_no_error_shows_data() -> None:
    secret = "s3cret"
    envelope = event("x", str)(secret)
    assert isinstance(envelope, Envelope)
    shown = [repr(envelope), repr(message_parts(envelope))]
    for message in ({"name": "x", "dat": secret}, Receipt(txn=secret), [secret]):
        with pytest.raises(EventValidationError) as caught:
            message_parts(message)
        shown.append(str(caught.value))
    assert secret not in "".join(shown)
    assert repr(message_parts(envelope)) == "MessageParts('x')"
