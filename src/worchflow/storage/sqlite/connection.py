"""Opens connections to a database file, with the settings the promises rest on."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...foundations.errors import ConfigurationError, StoreUnavailable
from .files import MEMORY

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ...model.options import Durability

OWN_FOLDER = ".worchflow"
OLDEST_SQLITE = (3, 35, 0)
WAL_LIMIT = 64 * 1024 * 1024
"""Bytes; a write-ahead log above this is written back and cut."""


def check_version(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """`ConfigurationError` for an SQLite without what the queries use."""
    if version < OLDEST_SQLITE:
        raise ConfigurationError(
            f"SQLite {'.'.join(map(str, version))} is too old: Python's sqlite3 module "
            "must be built on 3.35 or newer"
        )


def connect_writer(path: str, durability: Durability) -> sqlite3.Connection:
    """A connection that may write; waits for nobody, see `writer`.

    SQLite checkpoints inside a commit, so whoever holds the commit lock while
    committing also holds it while a checkpoint runs.
    """
    connection = _connect(path)
    if path == MEMORY:
        return connection
    synchronous = "FULL" if durability == "strict" else "NORMAL"
    try:
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_lease(path: str) -> sqlite3.Connection:
    """A connection for renewing a lease.

    No lease has to survive a power loss, and no renewal stops to write back what
    others committed.
    """
    connection = connect_writer(path, "fast")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def connect_reader(path: str) -> sqlite3.Connection:
    """A connection that cannot write."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only=ON")
    return connection


def has_file(path: Path) -> bool:
    """Whether the database is there; `ConfigurationError` without its folder."""
    folder = path.parent.parent if path.parent.name == OWN_FOLDER else path.parent
    with _opening(path):
        if folder.is_dir():
            return path.exists()
    raise ConfigurationError(
        f"there is no folder {folder} for the database {path}: make it, or name "
        "another file"
    )


def create_file(path: Path) -> None:
    """Make an empty file that only its owner may read, unless it is there.

    The folder `.worchflow` is made too, and hidden from Git. `ConfigurationError` for
    any other folder that is missing: a path in it is a mistake more often than not.
    """
    is_new = not has_file(path)
    with _opening(path):
        if is_new and path.parent.name == OWN_FOLDER:
            path.parent.mkdir(exist_ok=True)
            path.parent.joinpath(".gitignore").write_text("*\n", encoding="utf-8")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


@contextmanager
def _opening(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"the database {path} cannot be opened: {error.strerror}: {error.filename}"
        ) from error


def explain(path: str, error: sqlite3.Error) -> StoreUnavailable | ConfigurationError:
    """What a failure of SQLite means to a caller."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
        return ConfigurationError(
            f"{path} is not a database: name another file, or move this one away"
        )
    reason = getattr(error, "sqlite_errorname", None)
    return StoreUnavailable(
        f"the database {path} does not work: {error}"
        + (f" ({reason})" if reason else "")
    )


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA temp_store=MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
