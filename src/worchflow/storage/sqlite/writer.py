"""The one thread that writes to a database: what waits is committed together."""

from __future__ import annotations

import logging
import queue
import random
import sqlite3
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ...errors import StoreUnavailable
from .connection import explain
from .hints import Hints
from .mailbox import Answer, Call
from .times import wall_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .sessions import Session

logger = logging.getLogger("worchflow.storage.sqlite")

BATCH_OPERATIONS = 1000
BATCH_BYTES = 16 * 1024 * 1024

A = TypeVar("A")
R = TypeVar("R")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@dataclass(slots=True)
class Transaction:
    """What an operation works on. `now` is the store's clock, in milliseconds."""

    connection: sqlite3.Connection
    now: int
    hints: Hints = field(default_factory=Hints)


class Act(Protocol[A_contra, R_co]):
    """Does one kind of operation for all who wait for it, in their order.

    It runs inside a transaction that may be rolled back and run again.
    """

    def __call__(
        self, tx: Transaction, prefix: str, arguments: Sequence[A_contra], /
    ) -> Sequence[R_co]: ...


def one_by_one(act: Callable[[Transaction, str, A], R]) -> Act[A, R]:
    """An `Act` of something that is done for each caller alone."""

    def for_all(tx: Transaction, prefix: str, arguments: Sequence[A], /) -> list[R]:
        return [act(tx, prefix, argument) for argument in arguments]

    return for_all


@dataclass(slots=True, eq=False)
class Operation:
    """Something to write and who waits for it: a call of an event loop, or a thread."""

    act: Act[Any, Any]
    prefix: str
    argument: Any
    caller: Call | Future[Any]
    size: int = 0


class Writer:
    """Commits operations in the order of their coming, as many at once as wait.

    One failing operation fails its own caller only; a failing disk fails all of the
    batch with `StoreUnavailable`, and the next batch tries anew.
    """

    def __init__(
        self, session: Session, timeout: float, publish: Callable[[Hints], None]
    ) -> None:
        self._session = session
        self._timeout = timeout
        self._publish = publish
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name="worchflow-sqlite-writer", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Put an operation in line; never blocks."""
        self._queue.put(operation)

    def stop(self, timeout: float) -> bool:
        """Write what is in line, then end the thread. Blocks; False when it hangs."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._write(batch)
        finally:
            self._session.close()

    def _next_batch(self) -> list[Operation]:
        operation = self._queue.get()
        batch: list[Operation] = []
        size = 0
        while operation is not None:
            if not _is_abandoned(operation):
                batch.append(operation)
                size += operation.size
            if batch and (len(batch) >= BATCH_OPERATIONS or size >= BATCH_BYTES):
                break
            try:
                operation = self._queue.get_nowait()
            except queue.Empty:
                if batch:
                    break
                operation = self._queue.get()
        else:
            if batch:
                self._queue.put(None)
        return batch
