"""The one place where tests wait: for a condition, until a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")

INTERVAL = 0.01
TIMEOUT = 30.0


@overload
async def until(
    condition: Callable[[], Coroutine[Any, Any, T]], timeout: float = TIMEOUT
) -> T: ...


@overload
async def until(condition: Callable[[], T], timeout: float = TIMEOUT) -> T: ...


async def until(condition: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
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
