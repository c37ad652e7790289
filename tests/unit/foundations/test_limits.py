"""Names, ids and payloads: what is within the limits, and what is refused by name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from worchflow.foundations.errors import (
    ConfigurationError,
    InvalidInput,
    PayloadTooLarge,
)
from worchflow.foundations.limits import (
    PayloadLimits,
    check_cursor,
    check_id,
    check_id_of_others,
    check_key,
    check_name,
    check_prefix,
    check_size,
    short,
)

HALF = "\ud800"


@pytest.mark.parametrize(
    "options",
    [
        *({"depth": 0}, {"depth": 101}, {"depth": True}, {"depth": 1.5}),
        *({"event_bytes": 0}, {"step_bytes": "1"}, {"result_bytes": True}),
    ],
)
def test_limits_that_cannot_be_are_refused_by_name(options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(ConfigurationError, match=f"{name}={value!r}"):
        PayloadLimits(**options)


def test_an_id_has_few_characters_and_those_of_others_any() -> None:
    longest = "a" * 200
    assert check_id("order:1/A_b.c@d-e") == "order:1/A_b.c@d-e"
    assert check_id(longest) == longest
    for bad in ("", longest + "a", "a b", "ä", "a\n", "{a}", 5, None):
        with pytest.raises(InvalidInput, match=r"id=.* is not an id") as caught:
            check_id(bad)
        assert caught.value.field == "id"
    assert check_id_of_others("an order, ä\n") == "an order, ä\n"
    for bad in ("", HALF, 5, None):
        with pytest.raises(InvalidInput, match="half characters"):
            check_id_of_others(bad)


@pytest.mark.parametrize("prefix", ["a", "{shop}", "eu:{shop}:1", "a" * 200])
def test_a_prefix_may_hold_one_tag(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize(
    "prefix", ["", "a b", "{", "{}", "a}b", "{a}{b}", "{a{b}}", "a" * 201, 5, None]
)
def test_what_is_no_prefix_is_refused(prefix: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"queue_prefix=.* is not a queue prefix"
    ):
        check_prefix(prefix)


@pytest.mark.parametrize("name", ["", "a" * 201, "a\tb", "a\x1fb", 5, None, b"a"])
def test_a_name_is_printable_and_not_too_long(name: Any) -> None:
    assert check_name("Zürich ☃" + "a" * 192, "title")
    with pytest.raises(InvalidInput, match=r"title=.*200 printable") as caught:
        check_name(name, "title")
    assert caught.value.field == "title"


def test_a_key_is_text_a_number_or_a_uuid() -> None:
    nil = UUID(int=0)
    assert [check_key("a"), check_key(-3), check_key(nil)] == ["a", "-3", str(nil)]
    for bad in (True, 1.5, None, b"k", ""):
        with pytest.raises(InvalidInput, match="key="):
            check_key(bad)


def test_a_cursor_is_text() -> None:
    assert check_cursor("") == ""
    with pytest.raises(InvalidInput, match="cursor=5 is not a cursor"):
        check_cursor(5)


def test_a_size_is_counted_in_bytes_of_utf8() -> None:
    check_size("é" * 5, 10, "data")
    with pytest.raises(PayloadTooLarge, match="data is 12 bytes") as caught:
        check_size("é" * 6, 11, "data")
    assert (caught.value.size, caught.value.limit) == (12, 11)


def test_a_long_value_is_cut_in_messages() -> None:
    assert short("a" * 78) == repr("a" * 78)
    assert short("a" * 79) == "'" + "a" * 76 + "..."
