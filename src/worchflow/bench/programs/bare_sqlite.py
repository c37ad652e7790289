"""What SQLite itself can do: the durable writes of an execution, and nothing else.

The same tables, indexes and settings as the library, claims included, in ideal
transactions of up to 1,000 on one connection. Started as
`python -m worchflow.bench.programs.bare_sqlite SETTINGS`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ...foundations.ids import step_id
from ...foundations.runtime import SYSTEM
from ...storage.sqlite.connection import connect_writer
from ...storage.sqlite.migrations import prepare
from .speech import lines, read_settings, rounds_of, say

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from .speech import Line

BATCH = 1000
TITLES = ("first", "second", "third")

INSERT = """
    INSERT INTO executions (id, queue_prefix, event_name, status, due_at, created_at,
        updated_at, nonce, event_data)
    VALUES (?, 'bare', 'three-steps', 'queued', ?, ?, ?, ?, ?)
"""
CLAIM = """
    UPDATE executions SET owner = 'bare', token = token + 1, status = 'processing',
        function_id = 'three-steps', started_at = coalesce(started_at, ?),
        updated_at = ?, due_at = NULL
    WHERE id = ? AND owner IS NULL AND status = 'queued'
"""
STEP = """
    INSERT INTO steps (execution, step_id, title, status, attempts, started_at,
        finished_at, result)
    SELECT seq, ?, ?, 'completed', 1, ?, ?, ? FROM executions WHERE id = ?
"""
SETTLE = """
    UPDATE executions SET status = 'completed', owner = NULL, result = ?,
        updated_at = ?, finished_at = ?, done_by = 'bare'
    WHERE id = ? AND owner = 'bare' AND token = 1
"""


class BareSQLite:
    """One connection that writes."""

    def __init__(self, settings: Line) -> None:
        path, durability = settings["sqlite"], settings["durability"]
        size = settings.get("payload")
        self._value = json.dumps("x" * size if size else 1)
        self._connection = connect_writer(path, durability)
        prepare(self._connection, path, SYSTEM, migrate=False)

    def insert(self, ids: Sequence[str]) -> None:
        """Queue them."""
        now = _now()
        self._write(
            INSERT, [(id_, now, now, now, uuid4().hex, self._value) for id_ in ids]
        )

    def run(self, ids: Sequence[str]) -> None:
        """Claim, three checkpoints and settle."""
        now = _now()
        self._write(CLAIM, [(now, now, id_) for id_ in ids])
        for title in TITLES:
            now = _now()
            step = (step_id(title), title, now, now, self._value)
            self._write(STEP, [(*step, id_) for id_ in ids])
        now = _now()
        self._write(SETTLE, [(self._value, now, now, id_) for id_ in ids])

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        connection: sqlite3.Connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        changed = connection.executemany(statement, rows).rowcount
        connection.execute("COMMIT")
        if changed != len(rows):
            raise AssertionError(f"{changed} rows changed instead of {len(rows)}")


def _now() -> int:
    return int(time.time() * 1000)


def _new_batches(count: int) -> list[list[str]]:
    ids = [str(uuid4()) for _ in range(count)]
    return [ids[start:][:BATCH] for start in range(0, count, BATCH)]


def main() -> None:
    """Serve the driver."""
    bare = BareSQLite(read_settings())
    sent: list[list[str]] = []
    say(ready=True)
    for line in lines():
        if "send" in line:
            sent = _new_batches(line["send"])
            for ids in sent:
                bare.insert(ids)
            say(sent=line["send"])
            continue
        began = time.perf_counter()
        if "go" in line:
            for ids in sent:
                bare.run(ids)
        elif "whole" in line:
            for ids in _new_batches(line["whole"]):
                bare.insert(ids)
                bare.run(ids)
        else:
            say(seconds=[_one(bare) for _ in rounds_of(line)])
            continue
        say(seconds=time.perf_counter() - began)


def _one(bare: BareSQLite) -> float:
    began = time.perf_counter()
    ids = [str(uuid4())]
    bare.insert(ids)
    bare.run(ids)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
