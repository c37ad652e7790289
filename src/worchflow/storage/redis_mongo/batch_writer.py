"""Writes of one kind in batches: concurrent callers share their round trips.

A write leaves at once while fewer than three batches are in flight, else it joins
the next one; nothing ever waits for company. Every caller waits for its own outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ...foundations.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from ...foundations.errors import WorchflowError

logger = logging.getLogger("worchflow.storage.redis_mongo")

MAX_BATCHES_IN_FLIGHT = 3
MAX_BATCH_OPERATIONS = 1000
MAX_BATCH_BYTES = 16 * 1024 * 1024
MIN_SPLIT_OPERATIONS = 100
"""Operations below which a batch is not split to fill what may be in flight."""
MAX_WAITING_OPERATIONS = 10_000
MAX_WAITING_BYTES = 64 * 1024 * 1024

Outcome: TypeAlias = Any


@dataclass(slots=True, eq=False)
class Write:
    """One caller's write, until it is answered."""

    body: Any
    size: int
    """At most this many bytes as BSON."""
    submitted_at: float
    future: asyncio.Future[Outcome]

    def resolve(self, outcome: Outcome) -> None:
        """Give the caller its outcome."""
        if not self.future.done():
            self.future.set_result(outcome)

    def fail(self, error: WorchflowError) -> None:
        """Raise at the caller, its own error."""
        if not self.future.done():
            own = type(error)(error.message)
            own.__cause__ = error
            self.future.set_exception(own)
            self.future.exception()  # A caller that was cancelled does not fetch it.


class BatchWriter:
    """Collects writes and sends them in batches; `send` answers every write."""

    def __init__(
        self, send: Callable[[list[Write]], Coroutine[Any, Any, None]], timeout: float
    ) -> None:
        self._send = send
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Write] = deque()
        self._waiting_bytes = 0
        self._in_flight: dict[asyncio.Task[None], Sequence[Write]] = {}
        self._scheduled = False
        self._has_capacity = asyncio.Event()
        self._has_capacity.set()

    def add(self, body: Any, size: int) -> Awaitable[Outcome]:
        """Send a write with others; to be awaited, at once, for its outcome."""
        if (
            len(self._waiting) < MAX_WAITING_OPERATIONS
            and self._waiting_bytes < MAX_WAITING_BYTES
        ):
            return self._submit(body, size)
        return self._add_later(body, size)

    async def submit(self, body: Any, size: int) -> asyncio.Future[Outcome]:
        """The same without waiting for the outcome; waits while too many wait."""
        while (
            len(self._waiting) >= MAX_WAITING_OPERATIONS
            or self._waiting_bytes >= MAX_WAITING_BYTES
        ):
            self._has_capacity.clear()
            await self._wait_for_capacity()
        return self._submit(body, size)

    async def _add_later(self, body: Any, size: int) -> Outcome:
        return await (await self.submit(body, size))

    def _submit(self, body: Any, size: int) -> asyncio.Future[Outcome]:
        write = Write(body, size, self._loop.time(), self._loop.create_future())
        self._waiting.append(write)
        self._waiting_bytes += size
        if not self._scheduled:
            # At the end of this turn of the loop: what was submitted in the same
            # turn leaves together.
            self._scheduled = True
            self._loop.call_soon(self._start_batches)
        return write.future

    def oldest_age(self) -> float:
        """Seconds for which the oldest unanswered write has been waiting."""
        oldest = min(
            (batch[0].submitted_at for batch in self._in_flight.values()),
            default=self._waiting[0].submitted_at if self._waiting else None,
        )
        return 0.0 if oldest is None else self._loop.time() - oldest

    async def close(self) -> None:
        """Send what waits; returns when every write was answered or has failed."""
        while self._waiting or self._in_flight:
            self._start_batches()
            if self._in_flight:
                await asyncio.wait(self._in_flight)

    async def _wait_for_capacity(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._has_capacity.wait()
        except TimeoutError:
            raise StoreUnavailable(
                f"{len(self._waiting)} writes wait for MongoDB, and none was taken "
                f"for {self._timeout:g} s"
            ) from None

    def _start_batches(self) -> None:
        self._scheduled = False
        while (
            self._waiting and (free := MAX_BATCHES_IN_FLIGHT - len(self._in_flight)) > 0
        ):
            # Split into what may leave now: while MongoDB works on one batch, this
            # process works on the answers of another.
            batch = self._take_batch(
                max(MIN_SPLIT_OPERATIONS, -(-len(self._waiting) // free))
            )
            task = self._loop.create_task(self._send(batch))
            self._in_flight[task] = batch
            task.add_done_callback(self._batch_ended)

    def _take_batch(self, most: int) -> list[Write]:
        most = min(most, MAX_BATCH_OPERATIONS)
        if len(self._waiting) <= most and self._waiting_bytes <= MAX_BATCH_BYTES:
            batch = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
        else:
            batch = self._take_some(most)
        if not self._has_capacity.is_set():
            self._has_capacity.set()
        return batch

    def _take_some(self, most: int) -> list[Write]:
        batch: list[Write] = []
        size = 0
        while self._waiting and len(batch) < most:
            size += self._waiting[0].size
            if batch and size > MAX_BATCH_BYTES:
                break
            write = self._waiting.popleft()
            self._waiting_bytes -= write.size
            batch.append(write)
        return batch

    def _batch_ended(self, task: asyncio.Task[None]) -> None:
        batch = self._in_flight.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("a batch failed unexpectedly", exc_info=error)
        for write in batch:
            if not write.future.done():
                # Nobody waits forever, whatever went wrong.
                write.fail(StoreUnavailable("the write was given up: see the log"))
        self._start_batches()
