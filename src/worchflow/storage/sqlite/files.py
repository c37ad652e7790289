"""File locks that processes hold on one machine, and the paths beside a database."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

if sys.platform != "win32":
    import fcntl

MEMORY: Final = ":memory:"


class FileLock:
    """An exclusive lock on a file, free again when its process is gone.

    It belongs to this object alone: a second one in the same process is refused as
    another process would be. Where the system has no such locks it is always free
    to take and tells nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def acquire(self) -> bool:
        """Take the lock unless somebody else has it; never waits."""
        if sys.platform == "win32":
            return True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let others take it."""
        if sys.platform != "win32":
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release it for good; the file stays."""
        os.close(self._descriptor)


class CommitLock:
    """Lets one connection of all processes write at a time, each in its turn.

    Whoever waits holds the turn meanwhile, and who wants to write again has to take
    the turn first: a busy writer cannot keep the others out. Not for two threads.
    """

    def __init__(self, beside: Beside) -> None:
        self._turn = FileLock(beside.turn)
        self._lock = FileLock(beside.commit_lock)
        self._has_turn = False

    def acquire(self) -> bool:
        """Come one step further without waiting; whether the lock is held now."""
        self._has_turn = self._has_turn or self._turn.acquire()
        if not self._has_turn or not self._lock.acquire():
            return False
        self.give_way()
        return True

    def give_way(self) -> None:
        """Leave the line."""
        if self._has_turn:
            self._turn.release()
            self._has_turn = False

    def release(self) -> None:
        """Let others write."""
        self._lock.release()

    def close(self) -> None:
        """Release everything for good."""
        self._turn.close()
        self._lock.close()


def is_free(path: Path) -> bool:
    """Whether the file exists and nobody holds its lock: its holder is dead."""
    if sys.platform == "win32":
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def remove_files(paths: Sequence[Path]) -> None:
    """Remove what is left of dead workers, as far as that works."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


class Beside:
    """Where the files beside a database are."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.commit_lock = database.with_name(f"{database.name}.lock")
        self.turn = database.with_name(f"{database.name}.turn")
        self.wal = database.with_name(f"{database.name}-wal")
        self.workers = database.with_name(f"{database.name}.workers")

    def worker_lock(self, worker_id: str) -> Path:
        """The file a worker keeps locked while its process lives."""
        return self.workers / f"{quote(worker_id, safe='')}.lock"
