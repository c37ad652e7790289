"""Makes the tables of a database, and brings those of earlier releases up to date.

Each file in `schema/` is one migration: `<version>_<what>.sql`. Those that are missing
run in order, in one transaction. A migration only adds, so that earlier releases work
on; its first line says which do: those from that schema on.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from ...foundations.errors import ConfigurationError, SchemaTooNew, SchemaTooOld
from .files import MEMORY
from .times import wall_now

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ...foundations.runtime import Runtime

COMPATIBLE_FROM = "-- compatible_from: "


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """The step from the schema before to `version`."""

    version: int
    compatible_from: int
    """The lowest schema whose releases can use the database after this step."""
    script: str


@cache
def migrations() -> Sequence[Migration]:
    """All of them in order; the first makes the tables."""
    found: list[Migration] = []
    for file in files("worchflow.storage.sqlite").joinpath("schema").iterdir():
        script = file.read_text("utf-8")
        first_line = script.partition("\n")[0]
        found.append(
            Migration(
                version=int(file.name.partition("_")[0]),
                compatible_from=int(first_line.removeprefix(COMPATIBLE_FROM)),
                script=script,
            )
        )
    return sorted(found, key=lambda migration: migration.version)


def prepare(
    connection: sqlite3.Connection, path: str, runtime: Runtime, *, migrate: bool
) -> None:
    """Turn the write-ahead log on; make the tables, or with `migrate` update them.

    `ConfigurationError` for a file system without WAL and for a file that is
    somebody else's, `SchemaTooNew` for one of a later release that this one cannot use,
    `SchemaTooOld` for one that has to be updated first.
    """
    missing = _missing(connection, path, migrate=migrate)
    if path != MEMORY:
        _turn_wal_on(connection, path)
    if not missing:
        return
    with _transaction(connection):
        # Another process may have been faster.
        for migration in _missing(connection, path, migrate=migrate):
            _apply(connection, migration, wall_now(runtime))


def version_of(connection: sqlite3.Connection) -> int:
    """The schema of a database; 0 for one without any."""
    version: int
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version


def _missing(
    connection: sqlite3.Connection, path: str, *, migrate: bool
) -> Sequence[Migration]:
    """The migrations that the database has not had; raises what `prepare` raises."""
    version, known = version_of(connection), migrations()
    newest = known[-1].version
    if version > newest:
        _refuse_if_too_new(connection, path, version)
        return ()
    if version == 0:
        _refuse_other_tables(connection, path)
    elif version < known[0].version:
        raise ConfigurationError(
            f"the database {path} has schema {version} of an earlier version, this "
            f"release knows only {known[0].version} and later: finish its executions "
            "with the version that wrote it, then name another file"
        )
    elif version < newest and not migrate:
        raise SchemaTooOld(f"the database {path}", found=version, needed=newest)
    return [each for each in known if each.version > version]


def _turn_wal_on(connection: sqlite3.Connection, path: str) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise ConfigurationError(
            f"the database {path} cannot use a write-ahead log (SQLite answered "
            f'"{mode}"): put it on a local disk, network file systems do not work'
        )


def _refuse_if_too_new(connection: sqlite3.Connection, path: str, version: int) -> None:
    known = migrations()[-1].version
    # Whatever a later release has made of that table is no reason to break.
    with suppress(sqlite3.OperationalError):
        found = connection.execute(
            "SELECT 1 FROM schema_changes WHERE version = ? AND compatible_from <= ?",
            (version, known),
        )
        if found.fetchone():
            return
    raise SchemaTooNew(
        f"the database {path} has schema {version}, this release knows "
        f"{known}: update worchflow, or name another file"
    )


def _refuse_other_tables(connection: sqlite3.Connection, path: str) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables:
        raise ConfigurationError(
            f"the database {path} holds tables of another program: give worchflow its "
            "own file"
        )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _apply(connection: sqlite3.Connection, migration: Migration, now: int) -> None:
    statement = ""
    for line in migration.script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    if migration is not migrations()[0]:
        # The first schema had no table for it.
        connection.execute(
            "INSERT INTO schema_changes VALUES (?, ?, ?)",
            (migration.version, migration.compatible_from, now),
        )
    connection.execute(f"PRAGMA user_version={migration.version}")
