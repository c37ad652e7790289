"""Threads that only read: a long listing never holds up a write or the event loop."""

from __future__ import annotations

import queue
import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ...foundations import forking
from ...foundations.errors import WorchflowError
from .call_dispatcher import Answer, Call
from .connection import explain
from .sessions import is_broken

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 2

R = TypeVar("R")
Question = tuple["Callable[[sqlite3.Connection], Any]", Call]


class Reader:
    """A few threads with a connection each; every question sees the last commit."""

    def __init__(
        self, location: str, connect: Callable[[], sqlite3.Connection]
    ) -> None:
        self._location = location
        self._connect = connect
        self._queue: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(
                target=self._run, name=f"worchflow-sqlite-reader-{n}", daemon=True
            )
            for n in range(THREADS)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, act: Callable[[sqlite3.Connection], Any], call: Call) -> None:
        """Put a question in line; never blocks."""
        self._queue.put((act, call))

    def stop(self, timeout: float) -> None:
        """Answer what is in line, then end the threads. Blocks."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout)

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        in_sqlite = forking.Section()
        while (question := self._queue.get()) is not None:
            act, call = question
            if call.future.done():
                call.dispatcher.deliver([Answer(call)])
                continue
            with in_sqlite:
                answer, connection = self._ask(act, call, connection)
            call.dispatcher.deliver([answer])
        if connection is not None:
            with in_sqlite:
                connection.close()

    def _ask(
        self,
        act: Callable[[sqlite3.Connection], Any],
        call: Call,
        connection: sqlite3.Connection | None,
    ) -> tuple[Answer, sqlite3.Connection | None]:
        try:
            connection = connection or self._connect()
            return Answer(call, act(connection)), connection
        except WorchflowError as error:
            return Answer(call, error=error), connection
        except sqlite3.Error as error:
            if connection is not None and is_broken(error):
                # What is broken may refuse to be closed, too.
                with suppress(sqlite3.Error):
                    connection.close()
                connection = None
            return Answer(call, error=explain(self._location, error)), connection
        except Exception as error:  # noqa: BLE001 - its caller's to see
            return Answer(call, error=error), connection
