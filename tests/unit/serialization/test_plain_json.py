"""Which values are plain JSON, and which text is safe to parse."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from pydantic_core import from_json, to_json

from tests.unit.serialization.json_values import json_values
from worchflow.serialization.plain_json import (
    find_text_violation,
    find_violation,
    same_json,
    shape,
)

LONE = "\ud800"


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    A = "a"


class Text(str):
    __slots__ = ()


def short(value: object) -> str:
    return ascii(value)[:30]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_a_list_that_contains_itself_is_found_and_ends() -> None:
    value: list[Any] = [1]
    value.append([value, value])

    violation = find_violation({"a": value})

    assert violation is not None
    assert violation.reason == "contains itself"


def test_a_value_that_multiplies_itself_is_refused_before_it_is_written_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worchflow.serialization.plain_json.MAX_VALUES", 1000)
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]

    violation = find_violation(value)

    assert violation is not None
    assert "more than 1000" in violation.reason


@given(json_values)
def test_every_json_value_is_plain(value: object) -> None:
    assert find_violation(value) is None


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ((1, 2), "$", "is a tuple"),
        ({1, 2}, "$", "is a set"),
        (b"x", "$", "is a bytes"),
        (datetime(2020, 1, 1, tzinfo=UTC), "$", "is a datetime"),
        (Decimal(1), "$", "is a Decimal"),
        (Number.ONE, "$", "is a Number"),
        (Word.A, "$", "is a Word"),
        (Text("a"), "$", "is a Text"),
        (OrderedDict(a=1), "$", "is an OrderedDict"),
        (object(), "$", "is an object"),
        (math.nan, "$", "is nan"),
        (math.inf, "$", "is inf"),
        (-math.inf, "$", "is -inf"),
        (LONE, "$", "lone surrogate"),
        ({"items": [0, 1, 2, {"name": (1,)}]}, "$.items[3].name", "is a tuple"),
        ({"two words": {"a": b""}}, "$['two words'].a", "is a bytes"),
        ([[1], [2, math.nan]], "$[1][1]", "is nan"),
        ({"a": {1: 2}}, "$.a", "has a key that is an int"),
        ({"a": {None: 2}}, "$.a", "has a key that is None"),
        ({Text("k"): 2}, "$", "has a key that is a Text"),
        ({"a": {"b": 1, LONE: 2}}, "$.a", "lone surrogate"),
        ({LONE: 2}, "$", r"'\ud800'"),
    ],
)
def test_what_is_not_plain_is_found_with_its_place(
    value: object, path: str, reason: str
) -> None:
    violation = find_violation(value)

    assert violation is not None
    assert (violation.path, reason in violation.reason) == (path, True), str(violation)


@pytest.mark.parametrize(
    ("value", "needs_type"),
    [((1,), True), ({1: 1}, True), (math.nan, False), (LONE, False), ([[]], False)],
)
def test_a_flaw_tells_whether_naming_a_type_would_help(
    value: object, needs_type: bool
) -> None:
    violation = find_violation(value, depth=1)

    assert violation is not None
    assert violation.needs_type is needs_type


@pytest.mark.parametrize(
    "value",
    ["😀", {"é": "\u2028\x00"}, -0.0, 5e-324, [True, None]],
)
def test_odd_values_that_json_holds_exactly_are_plain(value: object) -> None:
    assert find_violation(value) is None


@pytest.mark.parametrize(
    "longest", [10**4300 - 1, 1 - 10**4299], ids=["positive", "negative"]
)
def test_an_int_is_plain_up_to_the_digits_that_parsers_read(longest: int) -> None:
    sign = 1 if longest > 0 else -1

    assert find_violation(longest) is None
    assert find_violation([longest + sign]) is not None
    assert from_json(to_json(longest)) == longest


@pytest.mark.parametrize("limit", [1, 64, 100])
def test_depth_counts_nested_containers(limit: int) -> None:
    assert find_violation(nested(limit), depth=limit) is None
    assert find_text_violation(json.dumps(nested(limit)), depth=limit) is None

    violation = find_violation(nested(limit + 1), depth=limit)
    text_violation = find_text_violation(json.dumps(nested(limit + 1)), depth=limit)

    assert violation is not None
    assert f"more than {limit} levels" in violation.reason
    assert text_violation is not None
    assert f"more than {limit} levels" in text_violation


def test_siblings_do_not_add_to_the_depth() -> None:
    wide = [{"a": [1]} for _ in range(500)]

    assert find_violation(wide, depth=3) is None
    assert find_text_violation(json.dumps(wide), depth=3) is None
    assert find_text_violation(json.dumps(wide), depth=2) is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "not finite"),
        ('{"a":[-Infinity]}', "not finite"),
        ('["NaN",NaN]', "not finite"),
        (r'"\ud800"', "lone surrogate"),
        (r'"\uD83D\ud83d\ude00"', "lone surrogate"),
        (r'"\ude00\ud83d"', "lone surrogate"),
        (r'{"\udfff":1}', "lone surrogate"),
        (r'"\\\ud800"', "lone surrogate"),
        (f'"{LONE}"', "lone surrogate"),
        ("[" * 100_000, "nested"),
        ('[{"a":' * 50_000, "nested"),
        ('["]"' + ',["]"' * 200, "nested"),
        (r'["\"]"' + r',["\\"' * 200, "nested"),
        (r'["\\",' + "[" * 200, "nested"),
    ],
)
def test_text_that_is_not_safe_to_parse_is_refused(text: str, reason: str) -> None:
    violation = find_text_violation(text)

    assert violation is not None
    assert reason in violation


@pytest.mark.parametrize(
    "text",
    [
        '"NaN"',
        '{"Infinity":"-Infinity"}',
        r'"a \" NaN"',
        r'"\ud83d\ude00"',
        r'"\\ud800"',
        r'"\\\\ud800"',
        json.dumps("[" * 1000),
        json.dumps('"[' * 1000),
        json.dumps({"\\[": "\\" * 999 + "["} | {f"[{n}": "{" for n in range(200)}),
        "]" * 1000,
        '"unfinished [[[[[' + "[" * 1000,
    ],
)
def test_what_only_looks_unsafe_is_left_to_the_parser(text: str) -> None:
    assert find_text_violation(text) is None


def test_text_of_quotes_that_never_end_is_scanned_in_one_go() -> None:
    text = '"' + r"\"" * 500_000 + "[" * 200 + "NaN"

    assert find_text_violation(text) is None


@given(json_values)
def test_the_text_of_a_plain_value_has_no_flaw(value: object) -> None:
    assert find_text_violation(json.dumps(value)) is None
    assert find_text_violation(json.dumps(value, ensure_ascii=False)) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([0], [False], False),
        (None, False, False),
        (1, "1", False),
        ([], {}, False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({"a": None}, {}, False),
        ({"a": None}, {"b": None}, False),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, False),
    ],
)
def test_sameness_is_that_of_json(one: object, other: object, same: bool) -> None:
    assert same_json(one, other) is same
    assert same_json(other, one) is same


@given(json_values)
def test_a_value_is_the_same_json_as_itself(value: object) -> None:
    assert same_json(value, json.loads(json.dumps(value)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("null", "null"),
        ("true", "a boolean"),
        ("1.5", "a number"),
        ('"secret"', "a string"),
        ("[1,2,3]", "an array of 3"),
        ("{}", "an object with no keys"),
        (
            '{"a":1,"b":"secret","c":null,"d":[],"e":{},"f":true,"g":1,"h":2}',
            (
                "an object with a (number), b (string), c (null), d (array), "
                "e (object), f (boolean), 2 more"
            ),
        ),
        ("{oops", "text that is not JSON"),
        ("[" * 100_000, "text that is not JSON"),
        (LONE, "text that is not JSON"),
    ],
)
def test_a_shape_names_keys_and_kinds_but_no_values(text: str, expected: str) -> None:
    assert shape(text) == expected
