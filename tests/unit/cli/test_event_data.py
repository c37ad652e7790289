"""The data of an event on the command line: left out, or wrong."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from worchflow.cli.event_data import (
    MAX_NAMED,
    MAX_VALUE_LENGTH,
    default_data,
    with_values,
)
from worchflow.foundations.errors import EventValidationError


class Nothing(BaseModel):
    note: str = ""


class Pay(BaseModel):
    amount: int
    customer: str


class Mail(TypedDict):
    to: str


REFUSED = EventValidationError("what the library said", field="data")


@pytest.mark.parametrize(
    ("data_type", "data"), [(Nothing, {}), (Any, None), (type(None), None)]
)
def test_an_event_that_needs_no_data_gets_none(data_type: Any, data: Any) -> None:
    assert default_data("tick", data_type) == data


@pytest.mark.parametrize(
    ("data_type", "says"),
    [
        (Pay, 'the fields amount, customer: give it with -d \'{"amount": "…", "cus'),
        (Mail, 'the field to: give it with -d \'{"to": "…"}\''),
        (int, "needs data: give it with -d, as JSON"),
    ],
)
def test_data_that_is_missing_is_told_with_its_fields(
    data_type: Any, says: str
) -> None:
    with pytest.raises(EventValidationError) as caught:
        default_data("pay", data_type)
    assert says in caught.value.message
    assert caught.value.field == "data"


def test_a_mistake_is_told_with_its_place_and_the_value_that_was_typed() -> None:
    told = with_values(REFUSED, {"amount": "much\x1b[2J"}, Pay).message

    first, second = told.removeprefix("--data does not fit: ").split("; $")
    assert first.startswith("$.amount: Input should be a valid integer")
    assert first.endswith(r'; it is "much\u001b[2J"')
    assert second == ".customer: Field required"


def test_long_values_and_long_lists_of_mistakes_are_cut() -> None:
    many = [f"{number}" + "x" * 100 for number in range(MAX_NAMED + 2)]

    told = with_values(REFUSED, many, list[int]).message

    assert told.count("it is ") == MAX_NAMED
    assert told.endswith("; and 2 more")
    value = told.split("it is ")[1].split("; ")[0]
    assert len(value) == MAX_VALUE_LENGTH
    assert value.endswith("…")


@pytest.mark.parametrize(
    "data",
    [
        {"amount": 1, "customer": "ada"},  # fits: what was wrong is something else
        {"amount": 1, "customer": "ada", "tip": 2},  # the library names the key
    ],
)
def test_what_the_values_do_not_explain_stays_as_the_library_said_it(data: Any) -> None:
    assert with_values(REFUSED, data, Pay) is REFUSED
