"""The clock of this process; leases and due times use the store's clock instead."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


def _monotonic_clock() -> Callable[[], float]:
    # CLOCK_MONOTONIC stands still while a laptop or virtual machine sleeps; a lease
    # and a server's clock do not.
    if hasattr(time, "CLOCK_BOOTTIME"):
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return time.monotonic


monotonic = _monotonic_clock()


class Clock(Protocol):
    """Where the library takes the time from."""

    def now(self) -> datetime:
        """Wall-clock time, aware, in UTC. For display and for `createdAt` only."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back and go on while the machine is suspended."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(partial(datetime.now, UTC))
    """The wall clock in UTC."""
    monotonic = staticmethod(monotonic)
    """Seconds since the machine started, its sleep included where that is known."""


def from_milliseconds(value: int) -> datetime:
    """The aware UTC datetime of integer milliseconds since 1970."""
    return datetime.fromtimestamp(value / 1000, UTC)


def to_milliseconds(moment: datetime) -> int:
    """Integer milliseconds since 1970 of an aware datetime."""
    return int(moment.timestamp() * 1000 + 0.5)
