"""Durations and moments: read exactly, shown in round units, refused by name."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from worchflow.foundations.durations import (
    MAX_SECONDS,
    format_duration,
    to_seconds,
    to_utc,
)
from worchflow.foundations.errors import ConfigurationError


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (0, 0.0),
        (1.5, 1.5),
        (timedelta(minutes=2), 120.0),
        ("250ms", 0.25),
        (" 1.5 h ", 5400.0),
        ("7d", 604800.0),
        (MAX_SECONDS, MAX_SECONDS),
    ],
)
def test_a_duration_is_read_in_seconds(duration: Any, seconds: float) -> None:
    assert to_seconds(duration, "timeout") == seconds


@pytest.mark.parametrize(
    "duration",
    [
        *(None, True, -1, math.nan, math.inf, 10**400, MAX_SECONDS + 1),
        *(timedelta(seconds=-1), "", "5", "5 M", "-5s", "1,5s", "5s5s", b"5s", [5]),
    ],
)
def test_what_is_no_duration_is_refused_with_its_field(duration: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"timeout=.* is not a duration"):
        to_seconds(duration, "timeout")


def test_a_moment_is_the_same_in_utc() -> None:
    east = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))

    read = to_utc(east, "since")

    assert (read, read.tzinfo) == (east, UTC)
    assert (read.day, read.hour) == (31, 23)


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), "2026-01-01Z", 0, None])  # noqa: DTZ001
def test_what_is_no_moment_is_refused_with_its_field(moment: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"since=.* with a time zone"):
        to_utc(moment, "since")


@pytest.mark.parametrize("hours", [-12, 0, 14])
@pytest.mark.parametrize("year", [1, 9999])
def test_the_ends_of_the_calendar_are_refused(year: int, hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    first_or_last = 1 if year == 1 else 31
    moment = datetime(year, 1 if year == 1 else 12, first_or_last, tzinfo=zone)

    with pytest.raises(ConfigurationError, match=r"since=.* end of the calendar"):
        to_utc(moment, "since")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (185, "3 min 5 s"),
        (3599.6, "1 h"),
        (7260, "2 h 1 min"),
        (86400 * 2 + 3600 * 4 + 59, "2 d 4 h"),
    ],
)
def test_a_duration_is_shown_in_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
