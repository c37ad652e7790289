"""The clocks of the machine: the wall's for due times, the boot's for leases."""

from __future__ import annotations

import sys
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from ...foundations.milliseconds import from_milliseconds, to_milliseconds

if TYPE_CHECKING:
    from datetime import datetime

    from ...foundations.runtime import Runtime

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

SET_BACK = 1000
"""Milliseconds; clocks that are kept in step move by less at once."""


def wall_now(runtime: Runtime) -> int:
    """Milliseconds since 1970: what every due time of the file is compared with."""
    return to_milliseconds(runtime.now())


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

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lead: int | None = None

    def may_be_back(self) -> bool:
        """Whether it was set back since the last call; unknown at the first."""
        lead = wall_now(self._runtime) - lease_now(self._runtime)
        before, self._lead = self._lead, lead
        return before is None or self._lead < before - SET_BACK


def lease_now(runtime: Runtime) -> int:
    """Milliseconds on the clock of leases: nobody sets it, suspending counts."""
    if boot_id() == "wall":
        return wall_now(runtime)
    return int(runtime.monotonic() * 1000)


def due_at(moment: datetime) -> int:
    """The first of the store's milliseconds that is not before a moment."""
    due = to_milliseconds(moment)
    return due + (from_milliseconds(due) < moment)


def due_after(now: int, seconds: float) -> int:
    """The store's time `seconds` from its now, in milliseconds."""
    return now + ceil(seconds * 1000)
