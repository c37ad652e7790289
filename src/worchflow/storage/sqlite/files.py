"""File locks that processes hold on one machine, and the paths beside a database."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ...foundations import forking

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...foundations.runtime import Runtime

if sys.platform != "win32":
    import fcntl

MEMORY: Final = ":memory:"
LOCK_TIMEOUT_SECONDS: Final = 0.5
"""Seconds for which a writer leaves the turn to leases that never take it."""


_OPENING = forking.Section()


class FileLock:
    """An exclusive lock on a file, free again when its process is gone.

    It belongs to this object alone: a second one in the same process is refused as
    another process would be. A forked child does not have it. Where the system has
    no such locks it is always free to take and tells nothing.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        # A child that had the descriptor, unknown to `forking`, would have the lock.
        with _OPENING:
            self._descriptor: int | None = os.open(path, flags, 0o600)
            forking.watch(self)

    def acquire(self, *, shared: bool = False) -> bool:
        """Take the lock unless somebody else has it; never waits.

        Several may have it `shared`.
        """
        if sys.platform == "win32":
            return True
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if self._descriptor is None:
            return False
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let others take it."""
        if sys.platform != "win32" and self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release it for good; the file stays."""
        # A child that is forked right now may get the descriptor, but not the lock.
        self.release()
        self._close()

    def after_fork(self) -> None:
        """Close the child's descriptor, for the lock is held until all are closed.

        Releasing it would release the parent's.
        """
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class CommitLock:
    """Lets one connection of all processes write at a time, each in its turn.

    Whoever waits holds the turn meanwhile, and who wants to write again has to take
    the turn first: a busy writer cannot keep the others out. Who gets a free turn is
    chance, which a lease cannot wait for on a busy machine: while `first` ones wait,
    the others leave the turn to them. Not for two threads.
    """

    def __init__(
        self, sidecars: SidecarPaths, runtime: Runtime, *, first: bool = False
    ) -> None:
        self._runtime = runtime
        self._turn = FileLock(sidecars.turn)
        self._lock = FileLock(sidecars.commit_lock)
        self._firsts = FileLock(sidecars.firsts)
        self._is_first = first
        self._has_turn = False
        self._yields_since: float | None = None

    def acquire(self) -> bool:
        """Come one step further without waiting; whether the lock is held now."""
        self._has_turn = self._has_turn or (self._may_go() and self._turn.acquire())
        if not self._has_turn or not self._lock.acquire():
            return False
        self.give_way()
        return True

    def give_way(self) -> None:
        """Leave the line."""
        if self._has_turn:
            self._turn.release()
            self._has_turn = False
        if self._is_first:
            self._firsts.release()

    def release(self) -> None:
        """Let others write."""
        self._lock.release()

    def close(self) -> None:
        """Release everything for good."""
        self._turn.close()
        self._lock.close()
        self._firsts.close()

    def _may_go(self) -> bool:
        """Whether to try for the turn. Who goes first says so to the others."""
        if self._is_first:
            self._firsts.acquire(shared=True)
            return True
        if self._firsts.acquire():
            self._firsts.release()
            self._yields_since = None
            return True
        # One that is frozen while it waits costs the others this once.
        now = self._runtime.monotonic()
        self._yields_since = self._yields_since or now
        return now - self._yields_since > LOCK_TIMEOUT_SECONDS


def is_free(path: Path) -> bool:
    """Whether the file exists and nobody holds its lock: its holder is dead."""
    if sys.platform == "win32":
        return False
    try:
        lock = FileLock(path, create=False)
    except OSError:
        return False
    try:
        return lock.acquire()
    except OSError:
        return False
    finally:
        lock.close()


def remove_files(paths: Sequence[Path]) -> None:
    """Remove what is left of dead workers, as far as that works."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


class SidecarPaths:
    """Where the files beside a database are."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.commit_lock = database.with_name(f"{database.name}.lock")
        self.turn = database.with_name(f"{database.name}.turn")
        self.firsts = database.with_name(f"{database.name}.first")
        self.wal = database.with_name(f"{database.name}-wal")
        self.workers = database.with_name(f"{database.name}.workers")

    def worker_lock(self, worker_id: str) -> Path:
        """The file a worker keeps locked while its process lives."""
        return self.workers / f"{quote(worker_id, safe='')}.lock"
