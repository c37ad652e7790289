"""Payloads are native in MongoDB where nothing is lost by it, else they stay text."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from worchflow.foundations.errors import SerializationError
from worchflow.storage.redis_mongo.values import (
    AS_TEXT,
    MAX_NATIVE_LENGTH,
    check_safe_integers,
    to_bson,
    to_text,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def through_mongo(text: str) -> str:
    value, is_native = to_bson(text)
    document = {"result": value} if is_native else {"result": value, "enc": AS_TEXT}
    stored = bson.decode(bson.encode(document))
    return to_text(stored["result"], stored.get("enc"))


@given(JSON, st.booleans())
def test_every_payload_comes_back_as_it_was(value: Any, ascii_only: bool) -> None:
    try:
        text = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
        text.encode()
    except (UnicodeEncodeError, ValueError):
        return
    back = json.loads(through_mongo(text))
    assert json.dumps(back) == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("true", True),
        ("17", 17),
        ("-1.5", -1.5),
        ('"é"', "é"),
        ('"\\u00e9"', "é"),
        ('{"a":[1,{"b":null}]}', {"a": [1, {"b": None}]}),
        ('{ "a" : 1 }', {"a": 1}),
        (str(2**63 - 1), 2**63 - 1),
        ("1.0", 1.0),
    ],
)
def test_plain_values_are_native(text: str, value: object) -> None:
    assert to_bson(text) == (value, True)
    assert type(to_bson(text)[0]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        str(2**63),
        "1e400",
        "1E5",
        "1.50",
        "-0",
        "0.1000000000000000055511151231257827021181583404541015625",
        '{"$set":1}',
        '{"a.b":1}',
        '{"":1}',
        '{"a\\u0000b":1}',
        '{"a":1,"a":2}',
        '"\\ud800"',
        "NaN",
        "[" * 150 + "]" * 150,
        "[" * 100_000,
        "",
        "no json",
        "1 2",
        json.dumps("x" * MAX_NATIVE_LENGTH),
    ],
)
def test_what_bson_would_change_stays_text(text: str) -> None:
    assert to_bson(text) == (text, False)
    assert through_mongo(text) == text


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (ObjectId("65a000000000000000000001"), "65a000000000000000000001"),
        (Decimal128("1.10"), "1.10"),
        (b"ab", "YWI="),
        (math.nan, None),
        ({"a": [math.inf]}, {"a": [None]}),
        (Int64(7), 7),
    ],
)
def test_values_of_other_writers_become_json(stored: object, text: object) -> None:
    assert json.loads(to_text(stored, None)) == text


def test_text_that_is_no_number_of_ours_is_a_json_string() -> None:
    assert to_text("plain", None) == '"plain"'
    assert to_text("plain", AS_TEXT) == "plain"


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**400])
def test_integers_that_javascript_changes_are_refused(number: int) -> None:
    with pytest.raises(SerializationError) as caught:
        check_safe_integers(f'{{"deep":[{number}]}}', "data")
    assert caught.value.field == "data"
    assert "2^53" in str(caught.value)


def test_safe_integers_floats_and_opaque_text_pass() -> None:
    check_safe_integers(f"[{2**53}, 1e300, {-(2**53)}]", "data")
    check_safe_integers("not json", "data")
