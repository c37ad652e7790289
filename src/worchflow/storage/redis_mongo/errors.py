"""The drivers' errors as this library's, without a word of a password."""

from __future__ import annotations

import re

from ...errors import StoreUnavailable

_SECRET = re.compile(r"(://)[^@/\s]*@")


class RedisFull(StoreUnavailable):
    """Redis is at `maxmemory`: it refuses what adds and lets go of what is there."""


def without_password(text: str) -> str:
    """A URL or message with user and password taken out of every URL in it."""
    return _SECRET.sub(r"\1", text)


def describe(error: BaseException) -> str:
    """The first line of a driver's error, short and without passwords."""
    first = str(error).strip().split("\n")[0][:300]
    name = type(error).__name__
    return f"{name}: {without_password(first)}" if first else name
