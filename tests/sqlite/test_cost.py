"""What a claim and a page cost must not grow with what waits; counted, not timed."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.stores import new_worker, now
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.records import ExecutionQuery, ExecutionStatus
from worchflow.storage.sqlite import (
    claim_sql,
    executions,
    listing,
    rows,
    settling,
    steps,
    waits,
    worker_sql,
)
from worchflow.storage.sqlite.claim_sql import ClaimRequest, functions_json
from worchflow.storage.sqlite.connection import connect_writer
from worchflow.storage.sqlite.files import MEMORY
from worchflow.storage.sqlite.migrations import prepare
from worchflow.storage.sqlite.unserved import requeue
from worchflow.storage.sqlite.worker_sql import JoinRequest
from worchflow.storage.sqlite.writer import Transaction

PREFIX = "p"
FEW, MANY = 200, 20_000
ALLOWED = 2.0
"""A tree that holds 100 times as much is a little deeper."""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = connect_writer(MEMORY, "strict")
    prepare(made, MEMORY, SYSTEM, migrate=False)
    yield made
    made.close()


def fill(
    connection: sqlite3.Connection, count: int, event: str, status: str = "queued"
) -> None:
    """Put executions in, past everything the library does."""
    start = connection.execute("SELECT count(*) FROM executions").fetchone()[0]
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO executions (id, queue_prefix, event_name, event_data, nonce,"
        " created_at, due_at, status, updated_at)"
        " VALUES (?, ?, ?, '{}', '', ?, ?, ?, 1)",
        (
            (
                uuid.uuid4().hex,
                PREFIX,
                event,
                number,
                number + 1 if status == "queued" else None,
                status,
            )
            for number in range(start, start + count)
        ),
    )
    connection.execute("COMMIT")


@contextlib.contextmanager
def counted(connection: sqlite3.Connection) -> Iterator[list[int]]:
    """Count the steps of SQLite's virtual machine."""
    ticks = [0]

    def tick() -> int:
        ticks[0] += 1
        return 0

    connection.set_progress_handler(tick, 1)
    yield ticks
    connection.set_progress_handler(None, 0)


def cost_of(connection: sqlite3.Connection, act: Any) -> int:
    """The steps of an act that is undone afterwards."""
    connection.execute("BEGIN IMMEDIATE")
    with counted(connection) as ticks:
        act(Transaction(connection, 10_000_000, 0))
    connection.execute("ROLLBACK")
    return ticks[0]


def claim_ten(connection: sqlite3.Connection, *events: str) -> Any:
    worker = new_worker(*events)
    tx = Transaction(connection, 1, 0)
    worker_sql.join(tx, PREFIX, JoinRequest(worker=worker, lease=1_000_000))
    request = ClaimRequest(
        worker_id=worker.id, functions=functions_json(worker.functions), limit=10
    )

    def act(tx: Transaction) -> None:
        assert len(claim_sql.claim(tx, PREFIX, request).claims) == 10

    return act


def test_a_claim_costs_the_same_whatever_waits(connection: sqlite3.Connection) -> None:
    fill(connection, FEW, "a")
    act = claim_ten(connection, "a", "b")
    few = cost_of(connection, act)

    fill(connection, MANY, "a")

    assert cost_of(connection, act) < few * ALLOWED


def test_a_claim_costs_the_same_behind_what_it_does_not_serve(
    connection: sqlite3.Connection,
) -> None:
    fill(connection, FEW, "served")
    act = claim_ten(connection, "served")
    few = cost_of(connection, act)

    connection.execute("UPDATE executions SET due_at = 9000000")
    fill(connection, MANY, "unserved")

    assert cost_of(connection, act) < few * ALLOWED


def test_a_thousand_steps_are_loaded_in_one_query(
    connection: sqlite3.Connection,
) -> None:
    fill(connection, 1, "a")
    connection.execute("UPDATE executions SET token = 1")
    connection.executemany(
        "INSERT INTO steps (execution, step_id, title, status, token, attempts, result)"
        " VALUES (1, ?, 'step', 'completed', 1, 1, '1')",
        ((f"{number:032x}",) for number in range(1000)),
    )
    worker = new_worker("a")
    tx = Transaction(connection, 1, 0)
    worker_sql.join(tx, PREFIX, JoinRequest(worker=worker, lease=1_000_000))
    request = ClaimRequest(
        worker_id=worker.id, functions=functions_json(worker.functions), limit=10
    )
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    (claim,) = claim_sql.claim(Transaction(connection, 10, 0), PREFIX, request).claims
    connection.set_trace_callback(None)

    assert len(claim.steps) == 1000
    assert len([each for each in statements if "FROM steps" in each]) == 1
    assert len(statements) <= 8


def test_handing_on_costs_the_same_whatever_waits(
    connection: sqlite3.Connection,
) -> None:
    fill(connection, FEW, "unserved")
    few = cost_of(connection, lambda tx: requeue(tx, PREFIX))

    fill(connection, MANY, "unserved")

    assert cost_of(connection, lambda tx: requeue(tx, PREFIX)) < few * ALLOWED


@pytest.mark.parametrize(
    "query",
    [
        ExecutionQuery(),
        ExecutionQuery(statuses=frozenset({ExecutionStatus.FAILED})),
        ExecutionQuery(statuses=frozenset({ExecutionStatus.QUEUED})),
        ExecutionQuery(statuses=frozenset({ExecutionStatus.CANCELLED})),
        ExecutionQuery(function="rare"),
        ExecutionQuery(function="none"),
        ExecutionQuery(id_prefix="0123456789"),
        ExecutionQuery(since=now()),
        ExecutionQuery(cursor=listing.cursor_of(100, "f")),
    ],
    ids=lambda query: repr(query).removeprefix("ExecutionQuery")[:60],
)
def test_a_page_costs_the_same_whatever_is_stored(
    connection: sqlite3.Connection, query: ExecutionQuery
) -> None:
    def act(tx: Transaction) -> None:
        listing.page(tx.connection, PREFIX, query)

    fill(connection, 60, "rare", "failed")
    fill(connection, FEW, "often")
    few = cost_of(connection, act)

    fill(connection, MANY, "often")

    assert cost_of(connection, act) < few * ALLOWED


FILTERS = {
    "statuses": [
        frozenset(),
        *(frozenset({each}) for each in ExecutionStatus),
        frozenset({ExecutionStatus.SLEEPING, ExecutionStatus.WAITING}),
    ],
    "parent": [None, "p"],
    "function": [None, "often", "rare", "none", "shared"],
    "id_prefix": [None, "a", "0123456789"],
    "cursor": [None, listing.cursor_of(100, "f")],
    "since": [None, datetime(1970, 1, 1, tzinfo=UTC)],
}


def test_no_page_of_any_filter_reads_a_table_or_sorts_what_it_met(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_IDS_LOOKED_UP", 0)
    for event in ("often", "rare"):
        connection.execute("INSERT INTO functions VALUES ('p', 'shared', ?)", (event,))
    for values in itertools.product(*FILTERS.values()):
        query: Any = ExecutionQuery(**dict(zip(FILTERS, values, strict=True)))
        search = listing._search(connection, PREFIX, query)
        found = connection.execute(
            f"EXPLAIN QUERY PLAN {listing._statement(search)}", search.values
        ).fetchall()
        details = [row[3] for row in found]

        read = [each for each in details if "executions" in each]
        assert read, (query, details)
        assert all(each.startswith("SEARCH executions") for each in read), details
        assert not [each for each in details if "TEMP B-TREE" in each], details


def test_no_walk_is_longer_than_allowed_and_none_is_lost(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no index answers all of a filter, pages are short, and go on."""
    monkeypatch.setattr(listing, "MAX_WALKED", 50)
    for _ in range(4):
        fill(connection, 300, "often")
        fill(connection, 2, "rare")
    query = ExecutionQuery(
        function="rare", statuses=frozenset({ExecutionStatus.QUEUED}), limit=3
    )
    found: list[str] = []
    pages, longest = 0, 0
    while True:
        with counted(connection) as ticks:
            page = listing.page(connection, PREFIX, query)
        longest = max(longest, ticks[0])
        found += [each.event_name for each in page.items]
        pages += 1
        if page.cursor is None:
            break
        query = replace(query, cursor=page.cursor)

    assert found == ["rare"] * 8
    assert pages > 1208 // 50
    assert longest < 50 * 80


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (
            settling._SETTLE.format(
                rows=f"({','.join('1' * len(settling.SettlementRow._fields))})",
                now=1,
                prefix=1,
            ),
            (),
        ),
        (
            steps._INSERT.format(
                rows=f"({','.join('1' * (3 + len(rows.StepRow._fields)))})", prefix=1
            ),
            (),
        ),
        (steps._OF_EXECUTION, ("a", "p")),
        (steps._OF_EXECUTIONS, ("[]",)),
        (worker_sql._OWNED, ("w",)),
        (worker_sql._FORGET, ("p",)),
        (
            worker_sql._RECLAIM,
            dict.fromkeys(["workers", "prefix", "ids", "deaths", "front", "now"], "[]"),
        ),
        (claim_sql._NEXT_DUE, {"prefix": "p", "functions": "[]", "most_deaths": 1}),
        (claim_sql._HELD, {"prefix": "p", "worker": "w", "ids": "[]"}),
        (executions._BY_IDS, ("[]", "p")),
        (waits._THAT_SLEEP, {"prefix": "p", "ids": "[]"}),
        (waits._WAKE, {"prefix": "p", "ids": "[]", "now": 1}),
    ],
    ids=[
        *("settle", "checkpoint", "steps", "recorded", "owned", "forget", "reap"),
        *("due", "adopt", "by ids", "asleep", "wake"),
    ],
)
def test_no_statement_reads_a_whole_table(
    connection: sqlite3.Connection, statement: str, parameters: Any
) -> None:
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()

    details = [row[3] for row in plan]
    scans = [
        detail
        for detail in details
        if detail.startswith("SCAN") and ("executions" in detail or "steps" in detail)
    ]
    assert scans == [], details
    # That would be all of a prefix, or all of a status.
    walks = ("(queue_prefix=?)", "(queue_prefix=? AND status=?)")
    assert not [detail for detail in details if detail.endswith(walks)], details


@pytest.mark.parametrize(
    "statement",
    [executions._INSERT, steps._INSERT, settling._SETTLE],
    ids=["insert", "checkpoint", "settle"],
)
def test_the_changes_of_a_batch_are_counted(statement: str) -> None:
    """Python counts none of a statement that begins with WITH.

    Without the number each row of a batch would be looked at again.
    """
    assert statement.split(maxsplit=1)[0] in {"INSERT", "UPDATE"}
