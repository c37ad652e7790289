"""Opening a database file: what is made, what is refused, and what the error says."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.sqlite.conftest import sockets_of
from tests.stores import MakeBackend, expect, insert_one, new_execution, stored
from worchflow.foundations.errors import (
    ConfigurationError,
    SchemaTooNew,
    StoreUnavailable,
)
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.options import BackendOptions
from worchflow.model.records import ExecutionStatus
from worchflow.storage.sqlite.backend import SQLiteBackend
from worchflow.storage.sqlite.connection import check_version
from worchflow.storage.sqlite.migrations import prepare

OPTIONS = BackendOptions(timeout=0.5)


def contents(path: Path) -> bytes:
    return path.read_bytes()


async def opened(path: Path | str) -> SQLiteBackend:
    backend = SQLiteBackend(path, OPTIONS)
    await backend.open()
    return backend


def make_notes(path: Path) -> str:
    path.write_text("just some notes of mine\n" * 100)
    return path.read_text()


def path_text(path: Path) -> str:
    return path.read_text()


def move_away(path: Path) -> None:
    path.rename(path.with_suffix(".notes"))


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def modes(*paths: Path | str) -> set[int]:
    return {stat.S_IMODE(Path(path).stat().st_mode) for path in paths}


async def test_a_folder_that_is_missing_is_named_and_not_made(tmp_path: Path) -> None:
    make_notes(tmp_path / "file")

    for folder in (tmp_path / "a", tmp_path / "file"):
        with pytest.raises(ConfigurationError) as caught:
            await opened(folder / "data.db")
        assert f"there is no folder {folder} for the database" in str(caught.value)
    assert names_in(tmp_path) == ["file"]


async def test_a_backend_that_makes_nothing_is_empty_until_there_is_a_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data.db"
    empty, late = SQLiteBackend(path, OPTIONS), SQLiteBackend(path, OPTIONS)
    empty.make_nothing()
    clone = empty.clone()
    for backend in (empty, clone):
        await backend.open()
        assert backend.location == str(path)
        assert await backend.executions.get("order-1") is None
    assert names_in(tmp_path) == []

    writer = await opened(path)
    id_ = await insert_one(writer)
    late.make_nothing()
    await late.open()
    assert await late.executions.get(id_) is not None
    for backend in (empty, clone, writer, late):
        await backend.close()


async def test_the_own_folder_and_file_are_made_for_their_owner_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ".worchflow" / "data.db"
    caplog.set_level(logging.INFO, "worchflow.storage.sqlite")

    backend = await opened(path)
    await insert_one(backend)

    assert modes(path, f"{path}-wal", f"{path}.lock") == {0o600}
    assert modes(f"{path}.workers", sockets_of(backend)) == {0o700}
    assert str(path) in caplog.text
    assert backend.location == str(path)
    assert path.with_name(".gitignore").read_text() == "*\n"
    await backend.close()


async def test_making_a_backend_touches_nothing(tmp_path: Path) -> None:
    SQLiteBackend(tmp_path / "never" / "data.db", OPTIONS)

    assert names_in(tmp_path) == []


async def test_the_last_close_leaves_everything_in_the_file(path: Path) -> None:
    backend = await opened(path)
    id_ = await insert_one(backend)
    await backend.close()

    assert "worchflow.db-wal" not in names_in(path.parent)
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT id FROM executions").fetchall()
    connection.close()
    assert found == [(id_,)]


async def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    notes = make_notes(path)

    with pytest.raises(ConfigurationError, match="not a database") as caught:
        await opened(path)

    assert str(path) in str(caught.value)
    assert path_text(path) == notes


async def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.commit()

    with pytest.raises(ConfigurationError, match="tables of another program"):
        await opened(path)

    tables = other.execute("SELECT name FROM sqlite_master").fetchall()
    other.close()
    assert tables == [("mine",)]


async def test_a_database_of_a_later_release_is_left_alone(path: Path) -> None:
    await (await opened(path)).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version=99")
    other.close()

    with pytest.raises(SchemaTooNew, match="schema 99") as caught:
        await opened(path)

    assert str(path) in str(caught.value)


async def test_a_database_of_an_earlier_release_is_left_alone(path: Path) -> None:
    await (await opened(path)).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version=1")
    other.close()
    before = contents(path)

    with pytest.raises(ConfigurationError, match="schema 1 of an earlier") as caught:
        await opened(path)

    assert str(path) in str(caught.value)
    assert contents(path) == before


async def test_a_path_that_cannot_be_opened_is_named_with_the_reason(
    tmp_path: Path,
) -> None:
    with pytest.raises(StoreUnavailable, match="Is a directory") as caught:
        await opened(tmp_path)

    assert str(tmp_path) in str(caught.value)


async def test_opening_again_after_a_refusal_works(path: Path) -> None:
    make_notes(path)
    backend = SQLiteBackend(path, OPTIONS)
    with pytest.raises(ConfigurationError):
        await backend.open()
    move_away(path)

    await backend.open()

    await insert_one(backend)
    await backend.close()


def test_a_file_system_without_a_write_ahead_log_is_refused(path: Path) -> None:
    class OnANetwork(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            if "journal_mode" in statement:
                statement = "SELECT 'delete'"
            return super().execute(statement, *parameters)

    connection = OnANetwork(path)
    with pytest.raises(ConfigurationError, match="network file systems do not work"):
        prepare(connection, str(path), SYSTEM, migrate=True)
    connection.close()


def test_an_old_sqlite_is_refused() -> None:
    check_version((3, 35, 0))
    with pytest.raises(ConfigurationError, match=r"3\.34\.1 is too old"):
        check_version((3, 34, 1))


@pytest.mark.parametrize(("durability", "synchronous"), [("strict", 2), ("fast", 1)])
async def test_durability_decides_what_a_commit_waits_for(
    make_backend: MakeBackend, durability: str, synchronous: int
) -> None:
    backend = await make_backend(durability=durability)
    assert isinstance(backend, SQLiteBackend)
    assert backend._binding is not None

    def ask(tx: Any, _prefix: str, arguments: Sequence[None]) -> list[Any]:
        pragmas = ("synchronous", "journal_mode")
        return [
            [tx.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
            for _ in arguments
        ]

    assert await backend._binding.write(ask, None) == [synchronous, "wal"]


async def test_two_databases_in_memory_share_nothing() -> None:
    one, two = await opened(":memory:"), await opened(":memory:")
    id_ = await insert_one(one)
    clone = one.clone()
    await clone.open()

    assert await two.executions.get(id_) is None
    await expect(clone, id_, status=ExecutionStatus.QUEUED)

    for backend in (one, two, clone):
        await backend.close()


async def test_equal_backends_of_one_process_share_their_threads(
    make_backend: MakeBackend,
) -> None:
    one, two = await make_backend(), await make_backend()
    other = await make_backend(durability="fast")
    links = [backend._binding for backend in (one, two, other)]  # type: ignore[attr-defined]

    assert links[0].shared is links[1].shared
    assert links[0].shared is not links[2].shared


async def test_a_backend_belongs_to_one_event_loop(backend: SQLiteBackend) -> None:
    async def open_elsewhere() -> None:
        await backend.open()

    with pytest.raises(ConfigurationError, match="clone"):
        await asyncio.to_thread(asyncio.run, open_elsewhere())


async def test_a_relative_path_and_a_link_lead_to_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "data.db")
    one, two = await opened("data.db"), await opened("link.db")

    id_ = await insert_one(one)

    await expect(two, id_, status=ExecutionStatus.QUEUED)
    assert one._binding is not None
    assert two._binding is not None
    assert one._binding.shared is two._binding.shared
    await one.close()
    await two.close()


async def test_many_processes_may_open_a_new_file_at_once(path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from worchflow.storage.sqlite.backend import SQLiteBackend\n"
        "async def main():\n"
        "    backend = SQLiteBackend(sys.argv[1])\n"
        "    await backend.open()\n"
        "    await backend.check()\n"
        "    await backend.close()\n"
        "asyncio.run(main())\n"
    )

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", program, str(path)])

    processes = [start() for _ in range(4)]
    backend = await opened(path)

    codes = [await asyncio.to_thread(process.wait, 20) for process in processes]
    assert codes == [0] * 4
    await insert_one(backend)
    await backend.close()


def test_a_forked_process_is_told_to_open_its_own(path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from worchflow.foundations.errors import ConfigurationError\n"
        "from worchflow.storage.sqlite.backend import SQLiteBackend\n"
        "backend = SQLiteBackend(sys.argv[1])\n"
        "asyncio.run(backend.open())\n"
        "if os.fork():\n"
        "    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "try:\n"
        "    asyncio.run(backend.executions.get('x'))\n"
        "except ConfigurationError as error:\n"
        "    os._exit(0 if 'forked' in str(error) else 1)\n"
        "os._exit(2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        timeout=20,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0


async def test_what_was_stored_is_read_by_the_next_process(path: Path) -> None:
    first = await opened(path)
    new = new_execution()
    await first.executions.insert([new])
    before = await stored(first, new.id)
    await first.close()

    second = await opened(path)

    assert await stored(second, new.id) == before
    await second.close()
