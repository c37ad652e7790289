"""What runs on behalf of one attempt: its tasks, its threads and its saves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0
"""Seconds until code that does not end is reported and cancelled again."""


class InFlight:
    """Tasks that end when they are cancelled, and futures that can only be awaited."""

    __slots__ = ("_cancelled", "_futures", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._futures: set[asyncio.Future[Any]] = set()

    def add_task(self, task: asyncio.Task[Any]) -> None:
        """Count a task as the attempt's, from now until it is done."""
        self._tasks.add(task)

    def add_future(self, future: asyncio.Future[Any]) -> None:
        """Count a thread's or a save's future as the attempt's until it is done."""
        self._futures.add(future)
        future.add_done_callback(self._forget)

    def cancel(self) -> None:
        """Cancel every task, once: a task that cleans up is left to it."""
        for task in self._tasks - self._cancelled:
            if not task.done():
                self._cancelled.add(task)
                task.cancel()

    async def end(self, report: Callable[[int], object]) -> None:
        """Cancel every task and wait until nothing runs any more.

        `report` is called with the number of those that still run, time and again;
        tasks among them are cancelled again then.
        """
        while unfinished := self._unfinished():
            self.cancel()
            _, late = await asyncio.wait(unfinished, timeout=PATIENCE)
            if late:
                report(len(late))
                self._cancelled.clear()
        self._cancelled.clear()

    def _unfinished(self) -> set[asyncio.Future[Any]]:
        self._tasks = {task for task in self._tasks if not task.done()}
        return self._tasks | self._futures

    def _forget(self, future: asyncio.Future[Any]) -> None:
        self._futures.discard(future)
        if not future.cancelled():
            # Whoever awaited it has the exception; asyncio need not report it.
            future.exception()
