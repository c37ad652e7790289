"""A lock for one event loop after another."""

from __future__ import annotations

import asyncio
import os

from .errors import ConfigurationError


class LoopLock:
    """Makes the lock of the event loop that runs now.

    An asyncio lock belongs to the loop on which somebody first had to wait for it,
    long after that loop has ended.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    def here(self) -> asyncio.Lock:
        """The lock; `ConfigurationError` while code of another loop holds it."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._is_held(self._loop):
                raise ConfigurationError(
                    "it is being opened or closed on another event loop: make one for "
                    "each loop"
                )
            self._lock, self._loop = asyncio.Lock(), loop
            self._pid = os.getpid()
        return self._lock

    def _is_held(self, loop: asyncio.AbstractEventLoop) -> bool:
        # In a forked child the loop seems to be running and is not there.
        is_here = self._pid == os.getpid()
        return is_here and self._lock.locked() and loop.is_running()
