"""How often an execution was woken, as the attempt that waits gets to know it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..foundations.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .scope import Scope

GATHER_SECONDS = 0.05
"""Seconds for which wake-ups are gathered before the count is read."""
READ_AFTER_SECONDS = 2.0
"""Seconds after which the count is read although nobody has told of a wake-up."""


class Wakeups:
    """The count of wake-ups, read again once somebody tells of one.

    After each change everything that is waited for is looked at again: a round.
    `read` asks the store for the count.
    """

    __slots__ = (
        "_loop",
        "_read",
        "_read_at",
        "_reading",
        "_scope",
        "_timer",
        "count",
        "on_read",
        "round",
    )

    def __init__(
        self, scope: Scope, count: int, read: Callable[[], Awaitable[int]]
    ) -> None:
        self._scope = scope
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._read_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.Future[None] | None = None
        self.count = count
        """What was read before all that the execution waits for was looked at."""
        self.round = 0
        """Of two looks between which this stays the same, the second is needless."""
        self.on_read: Callable[[], None] = lambda: None
        """Called after each reading, at the beginning of a round or not."""

    def woken(self) -> None:
        """Read the count soon: somebody has told of a wake-up."""
        if self._timer is None:
            self._timer = self._loop.call_later(GATHER_SECONDS, self._begin)

    def begin_round(self) -> None:
        """Look at everything again, although nobody has woken the execution."""
        self.round += 1
        self.on_read()

    def check(self) -> None:
        """Read the count if that was long ago: who told of a wake-up may be unheard."""
        if self._loop.time() - self._read_at > READ_AFTER_SECONDS:
            self._begin()

    def close(self) -> None:
        """Begin to read no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._timer = None
        if self._scope.is_over:
            return
        if self._reading is not None:
            self.woken()
            return
        self._read_at = self._loop.time()
        # As long as this is on its way the attempt is not suspended.
        self._reading = self._scope.keep(self._count())
        self._reading.add_done_callback(self._end)

    async def _count(self) -> None:
        try:
            count = await self._read()
        except StoreUnavailable:
            return  # A suspension compares the count.
        if count != self.count:
            self.count = count
            self.round += 1

    def _end(self, _: object) -> None:
        self._reading = None
        self.on_read()
