"""What runs on behalf of one attempt: its tasks, its threads and its saves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 10_000
"""How many steps, and how many tasks and threads, of one attempt may be unfinished."""
PATIENCE = 10.0
"""Seconds until code that does not end is reported and cancelled again."""


class InFlight:
    """Tasks that end when they are cancelled, and futures that can only be awaited.

    Holds what is unfinished and nothing else. Whoever starts more asks `is_full`
    first; what runs already is taken even then, for it has to be awaited.
    """

    __slots__ = ("_cancelled", "_futures", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._futures: set[asyncio.Future[Any]] = set()

    def add_task(self, task: asyncio.Task[Any]) -> None:
        """Count a task as the attempt's, from now until it is done."""
        if task not in self._tasks and not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._drop)

    def add_future(self, future: asyncio.Future[Any]) -> None:
        """Count a thread's or a save's future as the attempt's until it is done."""
        self._futures.add(future)
        future.add_done_callback(self._forget)

    def __len__(self) -> int:
        """How many tasks and futures are unfinished."""
        return len(self._tasks) + len(self._futures)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be started before some of it has ended."""
        return len(self) >= MOST

    def cancel(self) -> None:
        """Cancel every task, once: a task that cleans up is left to it."""
        for task in self._tasks - self._cancelled:
            if not task.done():
                self._cancelled.add(task)
                task.cancel()

    def _drop(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._cancelled.discard(task)

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
        return {task for task in self._tasks if not task.done()} | self._futures

    def _forget(self, future: asyncio.Future[Any]) -> None:
        self._futures.discard(future)
        if not future.cancelled():
            # Whoever awaited it has the exception; asyncio need not report it.
            future.exception()
