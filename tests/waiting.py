"""The one place where tests wait: for a condition, with a deadline, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.01
TIMEOUT = 10.0


async def until(
    condition: Callable[[], Awaitable[T] | T], timeout: float = TIMEOUT
) -> T:
    """Return the first true value of a condition; fail when it stays false."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {condition}")
        await asyncio.sleep(INTERVAL)
