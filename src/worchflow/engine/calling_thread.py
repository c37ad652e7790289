"""The thread of a plain handler: it waits for a step, and runs the step's function."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from .ownership import Interrupted
from .threads import Work, run_work

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Message: TypeAlias = "Work | asyncio.Task[Any]"
"""What the loop has for the thread: a function to run, or the end of the step."""


class CallingThread:
    """A thread that waits for one operation and meanwhile runs what it is given."""

    __slots__ = ("_has_ended", "_loop", "_messages")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._has_ended = False

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` in the thread while it waits; called on the loop.

        Cancelled at once when the operation has ended: a middleware may have left a
        call of its own behind, and nothing takes it from the queue any more.
        """
        future: Future[Any] = Future()
        if self._has_ended:
            future.cancel()
        else:
            self._messages.put((function, future))
        return future

    def result_of(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run `coroutine` on the loop and block this thread until its end.

        `Interrupted` when it was cancelled; a function that runs here ends first.
        """
        self._loop.call_soon_threadsafe(self._start, coroutine)
        while isinstance(message := self._messages.get(), tuple):
            run_work(*message)
            del message  # It holds an error that holds this frame.
        try:
            if message.cancelled():
                raise Interrupted
            return message.result()
        finally:
            del message, coroutine  # They hold an error that holds this frame.

    def _start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(coroutine)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._has_ended = True
        self._messages.put(task)


def runs_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
