"""JSON Schemas of types, and where a value does not fit one."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from worchflow import ConfigurationError
from worchflow.serialization.json_schemas import find_misfit, schema_of


class Colour(Enum):
    RED = "red"


class Decision(BaseModel):
    ok: bool
    note: str = ""
    when: datetime | None = None


@dataclasses.dataclass
class Tree:
    name: str
    branches: list[Tree]


class Invoice(TypedDict):
    number: int


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        (bool, True),
        (str, "x"),
        (int, 2**70),
        (Any, {"a": [None]}),
        (Decision, {"ok": False}),
        (Decision, {"ok": True, "when": "2026-11-30T12:00:00Z"}),
        (Decision, {"ok": True, "when": None, "more": 1}),
        (Tree, {"name": "a", "branches": [{"name": "b", "branches": []}]}),
        (Invoice, {"number": 1}),
        (list[Invoice], [{"number": 1}]),
        (int | None, None),
        (Literal["yes", "no"], "no"),
        (Colour, "red"),
        (Decimal, "1.10"),
        (date, "2026-11-30"),
        (timedelta, "PT1H"),
        (UUID, "8a1c2b34-0000-4000-8000-000000000000"),
        (Annotated[str, Field(pattern=r"^(?:\p{L}+)$")], "é"),
    ],
)
def test_what_a_type_reads_fits_its_schema(data_type: Any, value: Any) -> None:
    assert find_misfit(value, schema_of(data_type)) is None


@pytest.mark.parametrize(
    ("data_type", "value", "misfit"),
    [
        (bool, "secret", '$ is a string, and has to be of type "boolean"'),
        (Decision, {}, "$ lacks ok"),
        (Decision, 3, '$ is a number, and has to be of type "object"'),
        (
            Decision,
            {"ok": True, "when": "soon"},
            '$.when is a string, and has to be of format "date-time"',
        ),
        (
            Tree,
            {"name": "a", "branches": [{"name": "b", "branches": 3}]},
            '$.branches[0].branches is a number, and has to be of type "array"',
        ),
        (
            Literal["yes", "no"],
            "maybe",
            '$ is a string, and has to be of enum ["yes","',
        ),
        (
            Annotated[str, Field(pattern="^[a-z]+$")],
            "SECRET",
            '$ is a string, and has to be of pattern "^[a-z]+$"',
        ),
        (UUID, "x", '$ is a string, and has to be of format "uuid"'),
    ],
)
def test_a_misfit_is_named_by_its_place_and_never_quoted(
    data_type: Any, value: Any, misfit: str
) -> None:
    found = find_misfit(value, schema_of(data_type))

    assert found is not None
    assert found.startswith(misfit)
    assert "secret" not in found.lower()


def test_a_field_that_is_not_allowed_is_a_misfit() -> None:
    class Strict(BaseModel, extra="forbid"):
        ok: bool

    misfit = find_misfit({"ok": True, "secret": 1}, schema_of(Strict))

    assert misfit == "$ has a field that is not known; there are: ok"


def test_a_closed_schema_allows_no_fields_but_those_of_the_type() -> None:
    class Inner(BaseModel):
        a: int = 0

    class Outer(BaseModel):
        inner: Inner
        note: str = ""

    schema = schema_of(Outer, closed=True)

    assert find_misfit({"inner": {"b": 1}}, schema) is None
    misfit = find_misfit({"inner": {}, "noet": "x"}, schema)
    assert misfit == "$ has a field that is not known; there are: inner, note"
    assert find_misfit({"inner": {}, "noet": "x"}, schema_of(Outer)) is None
    assert find_misfit({"a": 1}, schema_of(dict[str, int], closed=True)) is None


def test_fields_go_by_their_names() -> None:
    class Aliased(BaseModel):
        number: int = Field(alias="n")

    schema = schema_of(Aliased)

    assert find_misfit({"number": 1}, schema) is None
    assert find_misfit({"n": 1}, schema) == "$ lacks number"


def test_nothing_is_fetched_that_a_schema_refers_to() -> None:
    with pytest.raises(Exception, match="Unresolvable"):
        find_misfit(1, '{"$ref":"http://127.0.0.1:1/schema.json"}')


class Opaque:
    """None that pydantic knows."""


def test_a_type_without_a_schema_is_refused() -> None:
    class Checked(BaseModel, arbitrary_types_allowed=True):
        inside: Opaque

    with pytest.raises(ConfigurationError, match="Checked has no JSON Schema"):
        schema_of(Checked)
    with pytest.raises(ConfigurationError, match="Opaque"):
        schema_of(Opaque)


def test_a_schema_that_is_too_large_is_refused() -> None:
    words = tuple(f"{number:01000}" for number in range(70))

    with pytest.raises(ConfigurationError, match="at most 65,536 are stored"):
        schema_of(Literal[words])
