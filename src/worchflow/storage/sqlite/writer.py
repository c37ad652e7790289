"""The one thread that writes to a database: what waits is committed together."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ...foundations.errors import ConfigurationError, StoreUnavailable
from .call_dispatcher import Answer, Call
from .hints import Happening, Hints
from .sessions import is_broken
from .times import lease_now, wall_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...foundations.runtime import Runtime
    from .call_dispatcher import CallDispatcher
    from .sessions import Session

logger = logging.getLogger("worchflow.storage.sqlite")

MAX_BATCH_OPERATIONS = 1000
MAX_BATCH_BYTES = 16 * 1024 * 1024

A = TypeVar("A")
R = TypeVar("R")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@dataclass(slots=True)
class Transaction:
    """What an operation works on, and when: in milliseconds."""

    connection: sqlite3.Connection
    now: int
    """On the store's clock, that of the wall."""
    lease_now: int
    """On the clock of leases, which nobody sets."""
    hints: Hints = field(default_factory=Hints)
    followed: int = 0
    """Children that it has cancelled because their parents ended; a page at most."""


class Act(Protocol[A_contra, R_co]):
    """Does one kind of operation for all who wait for it, in their order.

    It runs inside a transaction that may be rolled back and run again.
    """

    def __call__(
        self, tx: Transaction, prefix: str, arguments: Sequence[A_contra], /
    ) -> Sequence[R_co]:
        """Return what came of each argument, in the same order."""
        ...


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

    One failing operation fails its own caller only (none of its own raises what a
    failing store does); a failing disk fails all of the batch with `StoreUnavailable`,
    and the next batch tries anew. What `publish` raises is logged: callers get what
    came of their operations all the same.
    """

    def __init__(
        self,
        session: Session,
        timeout: float,
        runtime: Runtime,
        publish: Callable[[Hints], None],
    ) -> None:
        self._session = session
        self._timeout = timeout
        self._runtime = runtime
        self._publish = publish
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._told: deque[Happening] = deque()
        self._stopped = False
        self._thread = threading.Thread(
            target=self._run, name="worchflow-sqlite-writer", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Put an operation in line; never blocks."""
        self._queue.put(operation)

    def tell(self, happening: Happening) -> None:
        """Publish what no operation does, with the next commit or `publish_told`."""
        self._told.append(happening)

    def publish_told(self) -> None:
        """Publish what was told and had no commit to go with; never blocks."""
        if self._told:
            self._queue.put(Operation(_nothing, "", None, Future()))

    def stop(self, timeout: float) -> bool:
        """Write what is in line, then end the thread. Blocks; False when it hangs."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped:
            batch = self._next_batch()
            if batch:
                self._write(batch)

    def _next_batch(self) -> list[Operation]:
        """Everything in line, waiting for the first."""
        batch: list[Operation] = []
        size = 0
        operation = self._queue.get()
        while True:
            if operation is None:
                self._stopped = True
                return batch
            batch.append(operation)
            size += operation.size
            if len(batch) >= MAX_BATCH_OPERATIONS or size >= MAX_BATCH_BYTES:
                return batch
            try:
                operation = self._queue.get_nowait()
            except queue.Empty:
                return batch

    def _write(self, batch: list[Operation]) -> None:
        wanted = [operation for operation in batch if not _is_orphaned(operation)]
        outcomes: dict[Operation, Outcome] = dict.fromkeys(batch, ORPHANED)
        hints = Hints()
        try:
            hints = self._commit(wanted, outcomes)
        except (StoreUnavailable, ConfigurationError) as error:
            outcomes |= {operation: _same(error) for operation in wanted}
        except BaseException as error:
            logger.exception("the writer of the database failed unexpectedly")
            outcomes |= {operation: _unexpected(error) for operation in wanted}
        if self._told:
            hints.happenings = [*self._take_told(), *hints.happenings]
        if hints.have_more_than_progress:
            self._tell(hints)
            _answer(outcomes)
        else:
            _answer(outcomes)
            self._tell(hints)

    def _take_told(self) -> Iterator[Happening]:
        # Something told meanwhile may come of the next batch, and is told before it.
        for _ in range(len(self._told)):
            yield self._told.popleft()

    def _tell(self, hints: Hints) -> None:
        try:
            self._publish(hints)
        except BaseException:
            # Everybody needs this thread, and whoever misses a hint looks by himself.
            logger.exception("others could not be told of a commit; they find it later")

    def _commit(
        self, batch: list[Operation], outcomes: dict[Operation, Outcome]
    ) -> Hints:
        deadline = self._runtime.monotonic() + self._timeout
        try:
            with self._session.transaction(deadline) as connection:
                tx = self._begin(connection)
                outcomes |= _together(tx, batch)
        except (StoreUnavailable, ConfigurationError):
            raise
        except Exception:  # noqa: BLE001 - one of them failed: find out which
            with self._session.transaction(deadline) as connection:
                tx = self._begin(connection)
                outcomes |= _one_after_another(tx, batch)
        return tx.hints

    def _begin(self, connection: sqlite3.Connection) -> Transaction:
        runtime = self._runtime
        return Transaction(connection, wall_now(runtime), lease_now(runtime))


Outcome = tuple[Any, BaseException | None]
ORPHANED: Outcome = (None, StoreUnavailable("nobody waits for this any more"))


def _nothing(
    _tx: Transaction, _prefix: str, arguments: Sequence[None], /
) -> list[None]:
    return list(arguments)


def _is_orphaned(operation: Operation) -> bool:
    """Whether it was asked for by a claim that nobody waits for any more.

    Anything else is done even so: a step that was made is worth recording.
    """
    call = operation.caller
    return (
        isinstance(call, Call) and call.on_orphaned is not None and call.future.done()
    )


def _together(tx: Transaction, batch: list[Operation]) -> dict[Operation, Outcome]:
    groups: dict[tuple[Act[Any, Any], str], list[Operation]] = {}
    for operation in batch:
        groups.setdefault((operation.act, operation.prefix), []).append(operation)
    outcomes: dict[Operation, Outcome] = {}
    for (act, prefix), operations in groups.items():
        values = act(tx, prefix, [operation.argument for operation in operations])
        for operation, value in zip(operations, values, strict=True):
            outcomes[operation] = (value, None)
    return outcomes


def _one_after_another(
    tx: Transaction, batch: list[Operation]
) -> dict[Operation, Outcome]:
    outcomes: dict[Operation, Outcome] = {}
    for operation in batch:
        alone = Transaction(tx.connection, tx.now, tx.lease_now, followed=tx.followed)
        tx.connection.execute("SAVEPOINT operation")
        try:
            (value,) = operation.act(alone, operation.prefix, [operation.argument])
        except Exception as error:
            if isinstance(error, sqlite3.Error) and is_broken(error):
                raise
            tx.connection.execute("ROLLBACK TO operation")
            outcomes[operation] = (None, error)
        else:
            tx.hints.add(alone.hints)
            tx.followed = alone.followed
            outcomes[operation] = (value, None)
        tx.connection.execute("RELEASE operation")
    return outcomes


def _answer(outcomes: dict[Operation, Outcome]) -> None:
    """Answer all callers, each event loop at once."""
    by_dispatcher: dict[CallDispatcher, list[Answer]] = {}
    for operation, (value, error) in outcomes.items():
        caller = operation.caller
        if isinstance(caller, Call):
            answer = Answer(caller, value, error)
            by_dispatcher.setdefault(caller.dispatcher, []).append(answer)
        elif error is not None:
            caller.set_exception(error)
        else:
            caller.set_result(value)
    for dispatcher, answers in by_dispatcher.items():
        dispatcher.deliver(answers)


def _same(error: StoreUnavailable | ConfigurationError) -> Outcome:
    # Each caller raises its own: a traceback belongs to one of them.
    return (None, type(error)(error.message))


def _unexpected(error: BaseException) -> Outcome:
    return (None, StoreUnavailable(f"the writer of the database failed: {error!r}"))
