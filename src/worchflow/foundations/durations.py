"""Durations and moments as users write them, read once at the edge."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .types import Duration

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
MAX_SECONDS = 100 * 366 * 86400.0
"""A century: longer waits are mistakes, and datetimes would overflow."""
FIRST_MOMENT = datetime.min.replace(tzinfo=UTC) + timedelta(days=2)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)
"""Moments beyond these overflow in another time zone, or once they are rounded."""


def to_seconds(duration: Duration, field: str) -> float:
    """Seconds of a duration.

    Raises `ConfigurationError` naming `field` for anything but a finite,
    non-negative `timedelta`, number of seconds, or text such as "90s" or "5m".
    """
    seconds = _read(duration)
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds <= MAX_SECONDS:
        raise ConfigurationError(
            f"{field}={duration!r} is not a duration: use a timedelta, seconds as a "
            f'number from 0 to {MAX_SECONDS:.0f}, or text such as "90s", "5m", "7d"'
        )
    return seconds


def _read(duration: object) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool):
        return None
    if isinstance(duration, int | float):
        return float(duration) if abs(duration) < 1e18 else None
    if isinstance(duration, str) and (match := PATTERN.fullmatch(duration)):
        return float(match[1]) * UNITS[match[2]]
    return None


def to_utc(moment: datetime, field: str) -> datetime:
    """The same moment in UTC; `ConfigurationError` for a naive datetime.

    Also for one that is at the end of the calendar, such as `datetime.max`.
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ConfigurationError(
            f"{field}={moment!r} must be a datetime with a time zone, "
            "such as datetime.now(UTC)"
        )
    if not FIRST_MOMENT <= moment.replace(tzinfo=UTC) <= LAST_MOMENT:
        raise ConfigurationError(
            f"{field}={moment!r} is at the end of the calendar and cannot be stored: "
            "use a moment at least two days from it"
        )
    return moment.astimezone(UTC)


def format_duration(seconds: float) -> str:
    """A length of time for people: `120 ms`, `4.2 s`, `3 min 5 s`, `2 d 4 h`."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for name, size, next_name, next_size in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {name}" + (f" {rest} {next_name}" if rest else "")
    return f"{whole} s"
