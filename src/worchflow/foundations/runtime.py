"""Where the library takes time, randomness and ids from: one injected object."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


class Runtime:
    """The machine's clocks, random numbers and ids.

    A backend has one, in `BackendOptions`, and whatever works with the backend uses the
    same one. A subclass may drive them: leases, due times on SQLite, timeouts of
    threads and the watch of the event loop follow it. What waits on an event loop
    follows the clock of the loop, and due times on MongoDB that of the server. Safe to
    use from several threads.
    """

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that nobody sets, which all processes of a machine share.

        It counts while the machine sleeps, where the system has such a clock: as a
        lease and a server's clock do.
        """
        return _monotonic()

    def random(self) -> float:
        """Uniform in [0, 1). Not for secrets."""
        return random.random()  # noqa: S311

    def uuid(self) -> UUID:
        """A random id that nothing else has."""
        return uuid4()

    def sleep(self, seconds: float) -> None:
        """Block this thread for so long."""
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Block this thread until the event is set, for so long at most; if it is."""
        return event.wait(seconds)


def _clock() -> Callable[[], float]:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return time.monotonic


_monotonic = _clock()


class _SystemRuntime(Runtime):
    """The same without Python frames: an execution asks for the time a dozen times."""

    now = staticmethod(partial(datetime.now, UTC))  # pyright: ignore[reportAssignmentType]
    monotonic = staticmethod(_monotonic)  # pyright: ignore[reportAssignmentType]


SYSTEM: Runtime = _SystemRuntime()
"""What everything uses that was given no other."""
