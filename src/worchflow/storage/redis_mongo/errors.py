"""The drivers' errors as this library's, without a word of a password."""

from __future__ import annotations

import re

from ...foundations.errors import StoreUnavailable
from ...foundations.masking import without_user

# What pymongo adds to the reason: the whole of its settings and topology.
_NOISE = re.compile(r" \(configured timeouts:.*|, Timeout: .*")


class RedisFull(StoreUnavailable):
    """Redis is at `maxmemory`: it refuses what adds and lets go of what is there."""


def describe(error: BaseException) -> str:
    """The first line of a driver's error, short and without passwords."""
    first = without_user(_NOISE.sub("", str(error).strip().split("\n")[0])[:300])
    name = type(error).__name__
    # What is left before an @ is a part of a password that nobody escaped.
    return f"{name}: {first}" if first and "@" not in first else name
