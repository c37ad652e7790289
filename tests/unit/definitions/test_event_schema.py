"""A union of TypedDicts as a client's events."""

from __future__ import annotations

import typing
from typing import Annotated, Any, Literal, Never, NotRequired, TypeVar, Union

import pytest
import typing_extensions
from typing_extensions import ReadOnly, TypeAliasType

from worchflow.definitions.event_schema import EventSchema
from worchflow.foundations.errors import ConfigurationError, UnknownEvent
from worchflow.foundations.types import Schema

T = TypeVar("T")


class MailData(typing.TypedDict):
    to: str


class Mail(typing.TypedDict):
    name: Literal["mail", "letter"]
    data: MailData


class Sms(typing_extensions.TypedDict):
    name: NotRequired[Literal["sms"]]
    data: ReadOnly[Annotated[int, "number"]]


class Generic(typing_extensions.TypedDict, typing.Generic[T]):
    name: Literal["generic"]
    data: list[T]


class NameOnly(typing.TypedDict):
    name: Literal["tick"]


class NameOfText(typing.TypedDict):
    name: str
    data: int


class NameOfNumber(typing.TypedDict):
    name: Literal[3]
    data: int


class WithId(Mail):
    id: str


class OtherMail(typing.TypedDict):
    name: Literal["mail"]
    data: int


class Unreadable(typing.TypedDict):
    name: Literal["unreadable"]
    data: Nowhere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "events",
    [
        Mail | Sms | Generic[int],
        Union[Mail, Sms, Generic[int]],  # noqa: UP007
        TypeAliasType("Events", TypeAliasType("Two", Mail | Sms) | Generic[int]),
        Annotated[Mail | Sms | Generic[int], "all"],
    ],
)
def test_a_union_of_typed_dicts_gives_the_data_type_of_each_name(events: Any) -> None:
    assert EventSchema.from_types(events).data_types == {
        "mail": MailData,
        "letter": MailData,
        "sms": Annotated[int, "number"],
        "generic": list[int],
    }


def test_one_typed_dict_is_a_schema() -> None:
    assert EventSchema.from_types(Mail).data_type("mail") is MailData


def test_messages_may_carry_their_correlation_key() -> None:
    class Keyed(typing.TypedDict):
        name: Literal["keyed"]
        data: MailData
        key: str

    assert EventSchema.from_types(Keyed).data_types == {"keyed": MailData}


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    schema = EventSchema.from_types(Mail | Sms)
    with pytest.raises(UnknownEvent) as caught:
        schema.data_type("mial")
    assert 'did you mean "mail"?' in caught.value.message
    assert "mail, letter, sms" in caught.value.message
    assert caught.value.field == "name"


def test_an_unknown_name_that_resembles_none_lists_them() -> None:
    with pytest.raises(UnknownEvent, match="have no 'zebra'; they are: 'mail, letter'"):
        EventSchema.from_types(Mail).data_type("zebra")


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (int, "is not a TypedDict"),
        (Mail | int, "<class 'int'> is not a TypedDict"),
        ("Mail | Sms", "'Mail | Sms' is not a TypedDict"),
        (Mail(name="mail", data={"to": "x"}), "is not a TypedDict"),
        (NameOnly, "NameOnly has the keys ['name']"),
        (WithId, "WithId has the keys ['data', 'id', 'name']"),
        (NameOfText, "NameOfText.name is <class 'str'>"),
        (NameOfNumber, "NameOfNumber.name=3 must be text"),
        (Unreadable, "Unreadable cannot be read (name 'Nowhere'"),
        (Mail | OtherMail, '"mail" has two data types'),
    ],
)
def test_what_cannot_be_a_schema_is_refused(events: Any, reason: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EventSchema.from_types(events)
    assert reason in caught.value.message


def test_one_name_twice_with_one_data_type_is_one_event() -> None:
    class Again(typing.TypedDict):
        name: Literal["mail"]
        data: MailData

    assert list(EventSchema.from_types(Mail | Again).data_types) == ["mail", "letter"]


@pytest.mark.parametrize(
    ("events", "given"),
    [
        *[(Mail, True), (Mail | Sms, True), (int, True), ("Mail", True)],
        *[(Any, False), (Never, False), (Schema, False), (T, False)],
    ],
)
def test_only_type_variables_any_and_never_mean_no_events(
    events: Any, given: Any
) -> None:
    assert EventSchema.reads(events) is given
