"""The user's lifespan around a worker, entered and left by one task."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

logger = logging.getLogger("worchflow.worker")

RAISED = "It came out of the app's lifespan, while a worker started."
"""The note on an exception that ends a start."""
GIVE_UP_SECONDS = 5.0
"""Seconds for a lifespan that is left while it is being entered."""


class Lifespan:
    """Enters a context manager and leaves it in the same task.

    What is opened in it may belong to the task that opened it, as anyio's task groups
    do, while a worker is started and stopped from anywhere.
    """

    def __init__(
        self, make: Callable[[], AbstractAsyncContextManager[None]] | None
    ) -> None:
        self._make = make
        self._entered = asyncio.Event()
        self._leaving = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Return once it is entered; raises what entering raises."""
        if self._make is None:
            return
        self._task = asyncio.ensure_future(self._live(self._make))
        self._task.add_done_callback(lambda _: self._entered.set())
        try:
            await self._entered.wait()
        except asyncio.CancelledError:
            # Entered all the same, it is left at once.
            self._leaving.set()
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=GIVE_UP_SECONDS)
            raise
        if self._task.done():
            error = None if self._task.cancelled() else self._task.exception()
            if error is not None:
                error.add_note(RAISED)
            await self._task

    async def leave(self, timeout: float) -> None:
        """Leave it within `timeout` seconds; raises what leaving raises."""
        if self._task is None:
            return
        self._leaving.set()
        _, late = await asyncio.wait({self._task}, timeout=timeout)
        if late:
            logger.warning(
                "the lifespan did not end within %.3g s and is cancelled", timeout
            )
            self._task.cancel()
            return
        await self._task

    async def _live(
        self, make: Callable[[], AbstractAsyncContextManager[None]]
    ) -> None:
        async with make():
            self._entered.set()
            await self._leaving.wait()
