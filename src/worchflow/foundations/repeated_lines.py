"""Log lines that an outage repeats: one of a kind in a while, with a count."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

REPEAT_SECONDS = 30.0
"""Seconds in which lines of one kind are one line."""
LEFT_OUT = " (and %d more lines like this one in the last %.0f s)"


class RepeatedLines:
    """Logs the first line of each kind at once, and leaves out those right behind it.

    Of one kind are lines with one format, whatever they are about. The next one that is
    logged says how many were left out. Safe to use from
    several threads. `clock` gives seconds that never go back.
    """

    def __init__(
        self, clock: Callable[[], float], *, every: float = REPEAT_SECONDS
    ) -> None:
        self._every = every
        self._clock = clock
        self._logged: dict[str, tuple[float, int]] = {}
        """When a line of each format was logged last, and how many were left out."""
        self._lock = threading.Lock()

    def warning(
        self,
        logger: logging.Logger,
        form: str,
        *args: object,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Log a warning, unless one of its kind was logged a short while ago."""
        with self._lock:
            now = self._clock()
            at, left_out = self._logged.get(form, (None, 0))
            if at is not None and now - at < self._every:
                self._logged[form] = at, left_out + 1
                return
            self._logged[form] = now, 0
        if at is not None and left_out:
            form, args = form + LEFT_OUT, (*args, left_out, now - at)
        logger.warning(form, *args, extra=extra)
