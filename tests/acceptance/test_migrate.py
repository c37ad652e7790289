"""`worchflow migrate` says what it found, and what it did about it."""

from __future__ import annotations

import contextlib
import sqlite3

from tests.command_line import Project
from tests.migrations.conftest import load_sqlite
from tests.migrations.make_databases import FOLDER


def test_an_earlier_database_is_checked_then_migrated(project: Project) -> None:
    project.database.parent.mkdir()
    load_sqlite(FOLDER / "sqlite_3.sql", project.database)
    environment = {"WORCHFLOW_PREFIX": "orders"}

    refused = project.run("executions", "list", **environment)
    found = project.run("migrate", "--check", **environment)
    as_json = project.run("migrate", "--check", "-o", "json", **environment)
    migrated = project.run("migrate", **environment)
    again = project.run("migrate", "-o", "json", **environment)
    check = project.run("migrate", "--check", **environment)
    listed = project.run("executions", "list", "-o", "json", **environment)

    assert refused.code == 2
    assert "run `worchflow migrate`" in refused.err
    assert "[WF1004]" in refused.err
    assert (found.code, found.out) == (1, "")
    assert "has schema 3, this release needs 10" in found.err
    assert as_json.code == 1
    assert as_json.json == {
        "location": str(project.database),
        "found": 3,
        "needed": 10,
        "migrated": False,
    }
    assert migrated.code == 0
    assert f"updated from schema 3 to 10: {project.database}" in migrated.err
    assert again.json["found"] is None
    assert again.json["migrated"] is False
    assert (check.code, check.err) == (0, f"up to date: {project.database}\n")
    assert len(listed.json["executions"]) == 8


def test_a_check_makes_no_database(project: Project) -> None:
    check = project.run("migrate", "--check")

    assert check.code == 0
    assert f"there is no database at {project.database} yet" in check.err
    assert not project.database.exists()


def test_migrating_makes_a_database(project: Project) -> None:
    migrated = project.run("migrate")

    assert migrated.code == 0
    with contextlib.closing(sqlite3.connect(project.database)) as connection:
        tables = connection.execute("SELECT count(*) FROM executions").fetchone()
    assert tables == (0,)
