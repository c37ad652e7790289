"""Threads for sync handlers and sync steps.

`concurrent.futures` joins its threads when the interpreter exits, so one step that
never returns would keep a stopped worker's process alive; these are daemons.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeAlias

Work: TypeAlias = tuple[Callable[[], Any], "Future[Any]"]


class Threads:
    """A pool of at most `limit` daemon threads, started when needed."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._idle = 0
        self._started = 0
        self._lock = threading.Lock()

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` in a thread; waits its turn when all are busy."""
        future: Future[Any] = Future()
        with self._lock:
            self._queue.put((function, future))
            if self._idle >= self._queue.qsize() or self._started >= self._limit:
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
        while True:
            with self._lock:
                self._idle += 1
            work = self._queue.get()
            with self._lock:
                self._idle -= 1
            if work is None:
                return
            _run(*work)
            del work


def _run(function: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - the awaiting side raises it
        future.set_exception(error)
    else:
        future.set_result(result)
