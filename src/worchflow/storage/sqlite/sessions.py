"""Write transactions on one connection, alone on the file."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from ...foundations import forking
from ...foundations.backoff import Backoff
from ...foundations.errors import StoreUnavailable
from .connection import WAL_LIMIT, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from ...foundations.runtime import Runtime
    from .files import CommitLock

T = TypeVar("T")

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.0001, 0.002
"""Seconds between two tries to get what another process has."""
COMMITS_PER_LOOK = 256
"""Commits between two looks at the size of the write-ahead log."""

BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
BROKEN = BUSY | {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERNAL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
"""Failures of the store, not of what was asked of it."""


class Session:
    """One connection for writing. Not for two threads at once.

    Under the commit lock no two connections commit or checkpoint at the same time:
    where they do, SQLite up to 3.51.2 (and 3.52.0) can damage the file, which is
    known as the WAL-reset bug. After a failure of the disk the connection is given up
    and the next transaction makes a new one.
    """

    def __init__(
        self,
        location: str,
        connect: Callable[[], sqlite3.Connection],
        runtime: Runtime,
        lock: CommitLock | None = None,
        wal: Path | None = None,
    ) -> None:
        self._location = location
        self._connect = connect
        self._runtime = runtime
        self._lock = lock
        self._wal = wal
        self._connection: sqlite3.Connection | None = None
        self._commits = 0
        self._in_sqlite = forking.Section()

    @contextmanager
    def transaction(self, deadline: float) -> Generator[sqlite3.Connection, None, None]:
        """`BEGIN IMMEDIATE` by the deadline, then commit what was done.

        The deadline is on the clock `Runtime.monotonic`. Everything is rolled back when
        the block raises. `StoreUnavailable` when the store fails; any other error is
        the block's own.
        """
        with self.alone(deadline):
            connection = self._begin(deadline)
            try:
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back(connection)
                if not is_broken(error):
                    raise
                self._give_up()
                raise explain(self._location, error) from error
            except BaseException:
                self._roll_back(connection)
                raise
            self._commits += 1
            if self._commits % COMMITS_PER_LOOK == 0:
                self._cut_wal(connection)

    @contextmanager
    def alone(self, deadline: float) -> Generator[None, None, None]:
        """Hold the commit lock; a database in memory has none."""
        if self._lock is None:
            with self._in_sqlite:
                yield
            return
        backoff = self._backoff()
        try:
            while not self._lock.acquire():
                self._wait(backoff, deadline)
        except BaseException:
            self._lock.give_way()
            raise
        try:
            with self._in_sqlite:
                yield
        finally:
            self._lock.release()

    def open(self, deadline: float) -> sqlite3.Connection:
        """The connection, made now if there is none; hold the lock around it."""
        if self._connection is None:
            self._connection = self.retry(self._connect, deadline)
        return self._connection

    def close(self, deadline: float) -> None:
        """Close the connection; the last one of a file writes its log back."""
        # Who cannot have the lock is not the last.
        with suppress(StoreUnavailable), self.alone(deadline):
            self._give_up()
        with self._in_sqlite:
            self._give_up()
        if self._lock is not None:
            self._lock.close()

    def _begin(self, deadline: float) -> sqlite3.Connection:
        connection = self.open(deadline)
        self.retry(lambda: connection.execute("BEGIN IMMEDIATE"), deadline)
        return connection

    def retry(self, act: Callable[[], T], deadline: float) -> T:
        """Do it again while somebody else has the database."""
        backoff = self._backoff()
        while True:
            try:
                return act()
            except sqlite3.Error as error:
                if _code(error) not in BUSY:
                    self._give_up()
                    raise explain(self._location, error) from error
            self._wait(backoff, deadline)

    def _backoff(self) -> Backoff:
        return Backoff(
            self._runtime.random,
            first=MIN_PAUSE_SECONDS,
            longest=MAX_PAUSE_SECONDS,
            factor=1.5,
        )

    def _wait(self, backoff: Backoff, deadline: float) -> None:
        if self._runtime.monotonic() >= deadline:
            raise StoreUnavailable(
                f"the database {self._location} is locked by another process"
            )
        self._runtime.sleep(backoff.pause())

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _cut_wal(self, connection: sqlite3.Connection) -> None:
        if self._wal is None:
            return
        with suppress(OSError, sqlite3.Error):
            if self._wal.stat().st_size > WAL_LIMIT:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the store failed, not the statement."""
    return _code(error) in BROKEN


def _code(error: sqlite3.Error) -> int | None:
    """The primary result code; None for an error of Python's module itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
