"""The clocks of the machine: the wall's for due times, the boot's for leases."""

from __future__ import annotations

import sys
import time
from functools import cache
from math import ceil
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

SET_BACK = 1000
"""Milliseconds; clocks that are kept in step move by less at once."""


def wall_now() -> int:
    """Milliseconds since 1970: what every due time of the file is compared with."""
    return time.time_ns() // 1_000_000


@cache
def boot_id() -> str:
    """Names this start of the machine: a lease of another one is over."""
    if sys.platform == "linux":
        try:
            return _BOOT_ID.read_text().strip()
        except OSError:
            pass
    # Without a name of the boot only the wall clock means the same to all processes.
    return "wall"


class WallClockWatch:
    """Notices that somebody set the wall clock back."""

    def __init__(self) -> None:
        self._lead: int | None = None

    def may_be_back(self) -> bool:
        """Whether it was set back since the last call; unknown at the first."""
        before, self._lead = self._lead, wall_now() - lease_now()
        return before is None or self._lead < before - SET_BACK


def lease_now() -> int:
    """Milliseconds on the clock of leases: nobody sets it, suspending counts."""
    if sys.platform == "linux" and boot_id() != "wall":
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return wall_now()


def due_after(now: int, seconds: float) -> int:
    """The store's time `seconds` from its now, in milliseconds."""
    return now + ceil(seconds * 1000)
