"""Moments as the stores keep them: integer milliseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime


def from_milliseconds(value: int) -> datetime:
    """The aware UTC datetime of integer milliseconds since 1970."""
    return datetime.fromtimestamp(value / 1000, UTC)


def to_milliseconds(moment: datetime) -> int:
    """Integer milliseconds since 1970 of an aware datetime."""
    return int(moment.timestamp() * 1000 + 0.5)


def seconds_left(moment: datetime | None, now: int) -> float | None:
    """Seconds from `now`, in milliseconds, until a moment: 0 once it has passed."""
    return None if moment is None else max(0, to_milliseconds(moment) - now) / 1000
