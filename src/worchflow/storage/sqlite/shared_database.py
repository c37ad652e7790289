"""What all backends of one process share for one database: its threads and sockets."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...foundations import forking
from ...foundations.errors import ConfigurationError, StoreUnavailable
from .connection import (
    check_version,
    connect_lease,
    connect_reader,
    connect_writer,
    create_file,
)
from .files import MEMORY, CommitLock, SidecarPaths
from .migrations import prepare
from .peers import Interest, Peers
from .reader import Reader
from .sessions import Session
from .writer import Operation, Writer, one_by_one

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from ...foundations.runtime import Runtime
    from ...model.options import Durability
    from ..contract.workers import Renewal
    from .call_dispatcher import Call
    from .hints import Happening, Hints
    from .wakeup import Wakeup
    from .writer import Transaction

A = TypeVar("A")
R = TypeVar("R")

logger = logging.getLogger("worchflow.storage.sqlite")


class Memory:
    """A database in memory, which a forked child does not have."""

    def __init__(self) -> None:
        self.pid: int | None = None

    def open_here(self) -> None:
        """`ConfigurationError` for one that the parent of this process has opened."""
        self.pid = self.pid or os.getpid()
        if self.pid != os.getpid():
            raise ConfigurationError(
                'the database ":memory:" was opened before this process was forked, '
                "and is not here: name a file that both can open"
            )


@dataclass(frozen=True)
class DatabaseConfig:
    """Which database, and how it is written. `memory` tells those apart."""

    path: str
    durability: Durability
    timeout: float
    runtime: Runtime
    memory: Memory | None = None

    @property
    def in_memory(self) -> bool:
        """Whether there is no file."""
        return self.path == MEMORY


class SharedDatabase:
    """The writer, the readers and the peers of one database. Blocks while it opens."""

    def __init__(self, config: DatabaseConfig) -> None:
        self.config = config
        self.users = 0
        forking.watch(self)
        self.sidecars: SidecarPaths | None = None
        self._wakeups: tuple[Wakeup, ...] = ()
        self._leases: dict[str, LeaseConnection] = {}
        self._peers: Peers | None = None
        self._reader: Reader | None = None
        if not config.in_memory:
            self.sidecars = SidecarPaths(Path(config.path))
            self._peers = Peers(
                self.sidecars.database, self._tell, self._is_watching, config.runtime
            )
            self._reader = Reader(config.path, partial(connect_reader, config.path))
            create_file(self.sidecars.database)
        self._session = self._session_for(
            partial(connect_writer, config.path, config.durability)
        )
        self._writer = Writer(
            self._session, config.timeout, config.runtime, self.publish
        )

    def start(self, *, migrate: bool) -> None:
        """Open the database and start the threads, or leave nothing behind."""
        check_version()
        deadline = self.config.runtime.monotonic() + self.config.timeout
        try:
            with self._session.alone(deadline):
                connection = self._session.open(deadline)
                self._session.retry(
                    lambda: prepare(
                        connection,
                        self.config.path,
                        self.config.runtime,
                        migrate=migrate,
                    ),
                    deadline,
                )
            if self.sidecars is not None:
                self.sidecars.workers.mkdir(mode=0o700, exist_ok=True)
        except BaseException:
            self._session.close(deadline)
            raise
        self._writer.start()
        if self._reader is not None:
            self._reader.start()
        if self._peers is not None:
            self._peers.start()

    def stop(self) -> None:
        """Write what waits, then close everything."""
        if self._peers is not None:
            self._peers.close()
        if self._reader is not None:
            self._reader.stop(self.config.timeout)
        for worker_id in list(self._leases):
            self.end_lease(worker_id)
        if self._writer.stop(2 * self.config.timeout):
            deadline = self.config.runtime.monotonic() + self.config.timeout
            self._session.close(deadline)
        else:
            logger.error("the writer of %s hangs; it is left behind", self.config.path)

    def after_fork(self) -> None:
        """Nothing to release here: it is kept, for SQLite's connections.

        SQLite forbids closing in a child what its parent has opened.
        """

    def submit(self, operation: Operation) -> None:
        """Put a write in line."""
        self._writer.submit(operation)

    def read(
        self,
        act: Callable[[sqlite3.Connection, str, Any], Any],
        prefix: str,
        argument: Any,
        call: Call,
    ) -> None:
        """Put a question in line; a database in memory has one connection for all."""
        if self._reader is not None:
            self._reader.submit(
                lambda connection: act(connection, prefix, argument), call
            )
            return
        write = one_by_one(_on_connection(act))
        self._writer.submit(Operation(write, prefix, argument, call))

    def publish(self, hints: Hints) -> None:
        """Tell everybody in this process and the others what was committed.

        Those who cannot be told are logged, and keep nobody else from it.
        """
        self._tell(hints)
        if self._peers is not None:
            try:
                self._peers.send(hints)
            except Exception:
                logger.exception("other processes could not be told of a commit")

    def tell(self, happening: Happening) -> None:
        """Publish what is of no commit with the next one, or with `publish_told`."""
        self._writer.tell(happening)

    def publish_told(self) -> None:
        """Publish what was told and had no commit to go with; never blocks."""
        self._writer.publish_told()

    def add(self, wakeup: Wakeup) -> None:
        """Tell an event loop about every commit."""
        self._wakeups = (*self._wakeups, wakeup)

    def remove(self, wakeup: Wakeup) -> None:
        """Tell it nothing any more."""
        self._wakeups = tuple(one for one in self._wakeups if one is not wakeup)

    @property
    def peers(self) -> Peers | None:
        """The other processes; None for a database in memory."""
        return self._peers

    def renew(
        self,
        worker_id: str,
        act: Callable[[sqlite3.Connection], Renewal],
        timeout: float,
    ) -> Renewal:
        """Renew a lease from the lease's own thread, past everything in line.

        `StoreUnavailable` after `timeout` seconds, or the timeout of the database.
        """
        timeout = min(self.config.timeout, timeout)
        if self.config.in_memory:
            return self._renew_on_connection(act, timeout)
        lease = self._leases.get(worker_id)
        if lease is None:
            connect = partial(connect_lease, self.config.path)
            lease = self._leases[worker_id] = LeaseConnection(
                self._session_for(connect, first=True), self.config.runtime
            )
        return lease.renew(act, timeout)

    def end_lease(self, worker_id: str) -> None:
        """Close the connection of a worker's lease. Blocks shortly."""
        lease = self._leases.pop(worker_id, None)
        if lease is not None:
            lease.close()

    def _renew_on_connection(
        self, act: Callable[[sqlite3.Connection], Renewal], timeout: float
    ) -> Renewal:
        def renew(tx: Transaction, _prefix: str, _: None) -> Renewal:
            return act(tx.connection)

        answer: Future[Renewal] = Future()
        self._writer.submit(Operation(one_by_one(renew), "", None, answer))
        try:
            return answer.result(timeout)
        except TimeoutError:
            raise StoreUnavailable("the database in memory did not answer") from None

    def _session_for(
        self, connect: Callable[[], sqlite3.Connection], *, first: bool = False
    ) -> Session:
        path, runtime = self.config.path, self.config.runtime
        if self.sidecars is None:
            return Session(path, connect, runtime)
        try:
            lock = CommitLock(self.sidecars, runtime, first=first)
        except OSError as error:
            raise StoreUnavailable(
                f"the database {path} cannot be locked: {error}"
            ) from error
        return Session(path, connect, runtime, lock, self.sidecars.wal)

    def _tell(self, hints: Hints) -> None:
        for wakeup in self._wakeups:
            try:
                wakeup.receive(hints)
            except Exception:
                logger.exception("an event loop could not be told of a commit")

    def _is_watching(self, interest: Interest) -> bool:
        progress = interest is Interest.PROGRESS
        return any(wakeup.watches(progress=progress) for wakeup in self._wakeups)


class LeaseConnection:
    """A connection for one lease, which no queue of writes can hold up."""

    def __init__(self, session: Session, runtime: Runtime) -> None:
        self._session = session
        self._clock = runtime.monotonic
        self._in_use = threading.Lock()

    def renew(
        self, act: Callable[[sqlite3.Connection], Renewal], timeout: float
    ) -> Renewal:
        """Renew in its own transaction; `StoreUnavailable` after `timeout`."""
        deadline = self._clock() + timeout
        if not self._in_use.acquire(timeout=timeout):
            raise StoreUnavailable("the last renewal of the lease has not come back")
        try:
            with self._session.transaction(deadline) as connection:
                return act(connection)
        finally:
            self._in_use.release()

    def close(self) -> None:
        """Close the connection unless a renewal hangs in it."""
        if self._in_use.acquire(timeout=1.0):
            self._session.close(self._clock() + 1.0)
            self._in_use.release()


def _on_connection(
    act: Callable[[sqlite3.Connection, str, A], R],
) -> Callable[[Transaction, str, A], R]:
    return lambda tx, prefix, argument: act(tx.connection, prefix, argument)


class SharedDatabases:
    """The databases that this process has open."""

    def __init__(self) -> None:
        self._open: dict[DatabaseConfig, SharedDatabase] = {}
        self._changing = threading.Lock()
        forking.watch(self)

    def acquire(self, config: DatabaseConfig, *, migrate: bool) -> SharedDatabase:
        """The database of a configuration, opened if nobody has it open. Blocks.

        With `migrate` one of an earlier release is brought up to date.
        """
        if config.memory is not None:
            config.memory.open_here()
        else:
            config = replace(config, path=os.path.realpath(config.path))
        with self._changing:
            shared = self._open.get(config)
            if shared is None:
                shared = SharedDatabase(config)
                shared.start(migrate=migrate)
                self._open[config] = shared
            shared.users += 1
            return shared

    def release(self, shared: SharedDatabase) -> None:
        """Give it back; the last user closes it. Blocks."""
        with self._changing:
            shared.users -= 1
            if shared.users:
                return
            self._open.pop(shared.config, None)
            shared.stop()

    def after_fork(self) -> None:
        """Begin anew: the parent's threads are not here, and its lock may be held."""
        self._open = {}
        self._changing = threading.Lock()


SHARED_DATABASES = SharedDatabases()
