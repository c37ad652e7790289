"""Removing executions that ended long ago."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from ...model.records import ExecutionStatus
    from .events import EventStore


FIRST_BATCH, MAX_BATCH = 10, 500
SLOW_BATCH_SECONDS = 1.0
"""Seconds; a batch that took longer was too large. One execution may have one step
or a hundred thousand."""
REST_FACTOR = 3.0
"""So many times as long as a batch took passes before the next."""


class RetentionStore(ABC):
    """The end of what has ended."""

    @abstractmethod
    async def prune(self, status: ExecutionStatus, age: float, limit: int) -> int:
        """Remove up to `limit` executions with all that is recorded for them.

        Those of a terminal status that ended over `age` seconds ago by the store's
        clock, the longest ago first. Returns how many are gone; 0 when none is left.
        A child stays until its parent, which may ask for it once it is retried maybe,
        has completed or is gone. Far more of them than are looked at in one call may
        make it answer 0 early: the next one looks further. A
        `retry` before it keeps an execution, one after it finds none: never is an
        execution retried without its steps. What an interrupted call has begun, a
        later one completes; no steps are left behind.
        """


async def prune_in_batches(
    retention: RetentionStore,
    status: ExecutionStatus,
    age: float,
    limit: int | None = None,
) -> AsyncGenerator[int]:
    """Prune until nothing is left, or `limit` are gone; how many after each batch."""

    async def some(size: int) -> int:
        return await retention.prune(status, age, size)

    async with aclosing(_in_batches(some, limit)) as batches:
        async for batch in batches:
            yield batch


async def prune_events_in_batches(
    events: EventStore, age: float
) -> AsyncGenerator[int]:
    """Prune the log until nothing is left; how many events after each batch."""

    async def some(size: int) -> int:
        return await events.prune(age, size)

    async with aclosing(_in_batches(some, None)) as batches:
        async for batch in batches:
            yield batch


async def _in_batches(
    prune: Callable[[int], Awaitable[int]], limit: int | None
) -> AsyncGenerator[int]:
    size, removed = FIRST_BATCH, 0
    while limit is None or removed < limit:
        wanted = size if limit is None else min(size, limit - removed)
        clock = asyncio.get_running_loop().time
        began = clock()
        batch = await prune(wanted)
        if not batch:
            return
        took = clock() - began
        removed += batch
        yield batch
        size = next_size(size, took)
        await asyncio.sleep(REST_FACTOR * took)


def next_size(size: int, took: float) -> int:
    """The size of the next batch, after one of `size` took so many seconds."""
    return max(1, size // 2) if took > SLOW_BATCH_SECONDS else min(MAX_BATCH, size * 2)
