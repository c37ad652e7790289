"""The worker's background tasks: each has an owner that sees its failure."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ..engine.coroutines import is_being_cancelled
from ..model.notices import ErrorRaised

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ..engine.emitter import Emitter

logger = logging.getLogger("worchflow.worker")


class Background:
    """Loops that never end by themselves, and short tasks beside them."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` once; a failure is logged and emitted as `error`."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def keep_up(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run `loop` forever: when it fails, it starts again after a second."""
        self.spawn(self._repeated(name, loop))

    async def end(self) -> None:
        """Cancel everything but the calling task and wait a moment for it."""
        me = asyncio.current_task()
        for _ in range(10):
            tasks = {task for task in self._tasks if task is not me}
            if not tasks:
                return
            # Again and again: until Python 3.12 `asyncio.wait_for`, which drivers use,
            # misses a cancellation that comes together with its answer.
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=0.1)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a background task of the worker failed", exc_info=error)
            self._emitter.emit(ErrorRaised(error=error))

    async def _repeated(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await loop()
            except (Exception, asyncio.CancelledError) as error:
                # Asked to end it ends; where something it awaited was cancelled, that
                # is a failure like any other.
                if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                    raise
                logger.exception("the %s failed; it starts again in a second", name)
                self._emitter.emit(ErrorRaised(error=error))
            await asyncio.sleep(1.0)
