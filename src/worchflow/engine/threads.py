"""Threads for sync handlers and sync steps.

`concurrent.futures` joins its threads when the interpreter exits, so one step that
never returns would keep a stopped worker's process alive; these are daemons.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn, Protocol, TypeAlias

from .ownership import Interrupted

Work: TypeAlias = tuple[Callable[[], Any], "Future[Any]"]

UNCARRIED = (
    StopIteration,
    SystemExit,
    KeyboardInterrupt,
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
)
"""What a future cannot hand on: it would hang, end the loop or look cancelled."""


class Executor(Protocol):
    """Where plain functions run: the pool, or the thread that asked for a step."""

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` in a thread; the future cancels what has not begun."""
        ...


class Threads:
    """A pool of at most `limit` daemon threads, started when needed."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._started = 0
        # Each piece of work in the queue has either an idle thread set aside for it
        # or is one of those that wait for a busy one.
        self._idle = 0
        self._waiting = 0
        self._lock = threading.Lock()

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` in a thread; waits its turn when all are busy."""
        future: Future[Any] = Future()
        with self._lock:
            self._queue.put((function, future))
            if self._idle:
                self._idle -= 1
                return future
            if self._started >= self._limit:
                self._waiting += 1
                return future
            self._started += 1
            number = self._started
        threading.Thread(
            target=self._work, name=f"{self._name}-{number}", daemon=True
        ).start()
        return future

    def close(self) -> None:
        """Let idle threads end, busy ones after what they do now."""
        with self._lock:
            for _ in range(self._started):
                self._queue.put(None)

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            run_work(*work)
            del work
            with self._lock:
                if self._waiting:
                    self._waiting -= 1
                else:
                    self._idle += 1


class ThreadCall:
    """One call in a thread, awaited on the event loop."""

    __slots__ = ("_source", "future")

    def __init__(self, threads: Executor, function: Callable[[], Any]) -> None:
        loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = loop.create_future()
        self._source = threads.submit(function)
        # Its callbacks are kept forever: one of `self` would close a reference cycle.
        self._source.add_done_callback(partial(_ended, loop, self.future))

    async def result(self) -> Any:
        """What it returns. When this is cancelled, a call that runs continues."""
        try:
            return await asyncio.shield(self.future)
        except asyncio.CancelledError:
            self.call_off()
            raise
        finally:
            del self  # It holds an error that holds this frame.

    def call_off(self) -> None:
        """Keep it from starting; nothing happens when it has."""
        self._source.cancel()


def _ended(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], source: Future[Any]
) -> None:
    # The loop may be gone: its program ended without waiting for the thread.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_hand_over, future, source)


def _hand_over(future: asyncio.Future[Any], source: Future[Any]) -> None:
    if future.done():
        return
    if source.cancelled():
        future.cancel()
    elif (error := source.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(source.result())


def run_work(function: Callable[[], Any], future: Future[Any]) -> None:
    """Give the future what the function returns or raises, unless it is cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = _called(function)
    except Interrupted as error:
        future.set_exception(error)
    except UNCARRIED as error:
        failure = RuntimeError(f"code in a thread raised {_shown(error)}")
        failure.__cause__ = error
        future.set_exception(failure)
    except BaseException as error:  # noqa: BLE001 - the awaiting side raises it
        future.set_exception(error)
    else:
        future.set_result(result)
    finally:
        del function, future  # They hold an error that holds this frame.


def _called(function: Callable[[], Any]) -> Any:
    """What it returns; a child that it has forked ends instead of returning.

    What waits for the result, and the queue of further work, are the parent's.
    """
    process = os.getpid()
    try:
        return function()
    finally:
        if os.getpid() != process:
            _end_child(sys.exception())


def _end_child(error: BaseException | None) -> NoReturn:
    """End this process as Python ends a program, without the parent's clean-up."""
    code = 0
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        code = error.code or 0
    elif error is not None:
        code = 1
        traceback.print_exception(error)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}({error})"
