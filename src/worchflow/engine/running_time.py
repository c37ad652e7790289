"""How long the code of an attempt runs: a function's timeout counts nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class RunningTime:
    """Calls `time_out` once an attempt has run so long; waits in between excepted."""

    __slots__ = ("_left", "_loop", "_since", "_time_out", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        time_out: Callable[[], None],
    ) -> None:
        """`timeout` is in seconds."""
        self._loop = loop
        self._left = timeout
        self._time_out = time_out
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Count from now on."""
        self._since = self._loop.time()
        self._timer = self._loop.call_later(self._left, self._time_out)

    def stop(self) -> None:
        """Count no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left = max(0.0, self._left - (self._loop.time() - self._since))

    def pause(self, paused: bool) -> None:  # noqa: FBT001
        """Stop, or count on."""
        if paused:
            self.stop()
        elif self._timer is None:
            self.start()
