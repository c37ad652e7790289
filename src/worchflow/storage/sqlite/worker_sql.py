"""Workers and their leases; taking back what the dead ones own."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...foundations.json_text import json_text
from ...foundations.milliseconds import to_milliseconds
from ...model.records import ExecutionStatus, WorkerSeen
from ...model.transitions import KILLED_WORKERS, UNSURE
from ..contract.workers import Renewal
from .claim_sql import functions_json
from .executions import tell_status
from .files import is_free
from .following import follow_ends
from .rows import (
    EXECUTION_COLUMNS,
    ExecutionRow,
    UnreadableRowError,
    fetch,
    read_execution,
)
from .settling import front
from .times import boot_id
from .unserved import put_back

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from ...model.records import WorkerRecord
    from .rows import Row
    from .writer import Transaction

_JOIN = """
    INSERT INTO workers (id, queue_prefix, functions, concurrency, host, pid,
        started_at, boot_id, lease_until)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
        WHERE NOT dead
"""

_RENEW = """
    UPDATE workers SET lease_until = ?, boot_id = ?
    WHERE id = ? AND queue_prefix = ? AND NOT dead
"""

_OWNED = "SELECT id, cancel_requested FROM executions WHERE owner = ?"

_OTHERS = """
    SELECT id, dead, boot_id = :boot_id AND lease_until > :lease_now FROM workers
    WHERE queue_prefix = :prefix AND id <> :id
"""

_ALL = """
    SELECT id, functions, dead, boot_id = :boot_id, lease_until FROM workers
    WHERE queue_prefix = :prefix ORDER BY started_at, id
"""

_MARK_DEAD = "UPDATE workers SET dead = 1 WHERE id IN (SELECT value FROM json_each(?))"

_FORGET = """
    DELETE FROM workers WHERE dead AND queue_prefix = ?
        AND NOT EXISTS (SELECT 1 FROM executions WHERE owner = workers.id)
"""

# With `+` only the index of owners is left to the planner.
_LEFT_BEHIND = """
    +queue_prefix = :prefix AND owner IN (SELECT value FROM json_each(:workers))
        AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
"""

_RECLAIM = f"""
    UPDATE executions SET owner = NULL, recoveries = recoveries + :deaths,
        deaths = CASE
            WHEN :deaths = 0 THEN deaths
            WHEN EXISTS (
                SELECT 1 FROM steps
                WHERE steps.execution = executions.seq
                    AND steps.token = executions.token
            ) THEN 1
            WHEN begun = token THEN iif(deaths = {UNSURE}, 2, deaths + 1)
            WHEN recoveries = 0 THEN {UNSURE}
            ELSE deaths
        END,
        status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
        due_at = CASE WHEN NOT cancel_requested THEN :front END,
        finished_at = CASE WHEN cancel_requested THEN :now END,
        cancel_requested = 0, updated_at = :now, run_at = NULL, reason = NULL
    WHERE {_LEFT_BEHIND}
"""  # noqa: S608 - made of constants

_SAY_WHY = f"""
    UPDATE executions SET reason = '{KILLED_WORKERS}'
    WHERE id IN (SELECT value FROM json_each(:ids))
        AND deaths > 1 AND due_at IS NOT NULL
"""  # noqa: S608 - made of constants


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinRequest:
    """A worker and the length of its lease in milliseconds."""

    worker: WorkerRecord
    lease: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RenewRequest:
    """Whose lease to renew, and until when by the clock of leases."""

    worker_id: str
    lease_until: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaveRequest:
    """Who leaves, and what it took from the queue and never handed to anybody."""

    worker_id: str
    unstarted: Collection[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reaped:
    """How many executions were taken back, and which workers are dead."""

    executions: int = 0
    workers: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReapRequest:
    """Who reaps and when; whether ended leases count; where workers keep locks.

    `asked_at` is on the clock of leases. Only what had ended then counts: nobody can
    renew while somebody else has the database.
    """

    worker_id: str
    asked_at: int
    expired: bool
    lock_of: Callable[[str], Path] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LookRequest:
    """The time by the clock of leases, their length, and where workers keep locks."""

    asked_at: int
    lease: int
    lock_of: Callable[[str], Path] | None


def join(tx: Transaction, prefix: str, request: JoinRequest) -> None:
    """Register a worker with a lease; what waits for its events need not wait on."""
    worker = request.worker
    functions = functions_json(worker.functions)
    tx.connection.execute(
        _JOIN,
        (
            worker.id,
            prefix,
            functions,
            worker.concurrency,
            worker.host,
            worker.pid,
            to_milliseconds(worker.started_at),
            boot_id(),
            tx.lease_now + request.lease,
        ),
    )
    tx.connection.executemany(
        "INSERT OR IGNORE INTO functions VALUES (?, ?, ?)",
        [(prefix, id_, event) for event, id_ in worker.functions.items()],
    )
    put_back(tx, prefix, functions)


def renew(
    connection: sqlite3.Connection, prefix: str, request: RenewRequest
) -> Renewal:
    """Renew a lease unless its worker was declared dead."""
    renewed = connection.execute(
        _RENEW, (request.lease_until, boot_id(), request.worker_id, prefix)
    ).rowcount
    if not renewed:
        return Renewal(alive=False)
    owned = connection.execute(_OWNED, (request.worker_id,)).fetchall()
    return Renewal(
        alive=True,
        owned=frozenset(id_ for id_, _ in owned),
        cancelled=frozenset(id_ for id_, flagged in owned if flagged),
    )


def leave(tx: Transaction, prefix: str, request: LeaveRequest) -> None:
    """End a worker. What it never started goes back, the rest waits to be reaped."""
    ids = json_text(list(request.unstarted))
    _reclaim_from(tx, prefix, [request.worker_id], deaths=0, ids=ids)
    tx.connection.execute(_MARK_DEAD, (json_text([request.worker_id]),))
    tx.connection.execute(_FORGET, (prefix,))


def reap(tx: Transaction, prefix: str, request: ReapRequest) -> Reaped:
    """Declare workers dead, then take back what they own."""
    others = fetch(
        tx.connection,
        _OTHERS,
        {
            "prefix": prefix,
            "id": request.worker_id,
            "boot_id": boot_id(),
            "lease_now": request.asked_at,
        },
    )
    gone: list[str] = [
        id_
        for id_, dead, in_time in others
        if isinstance(id_, str)  # A damaged row is nobody's.
        and (
            dead
            or (request.expired and not in_time)
            or (request.lock_of is not None and is_free(request.lock_of(id_)))
        )
    ]
    if not gone:
        return Reaped()
    tx.connection.execute(_MARK_DEAD, (json_text(gone),))
    taken = _reclaim_from(tx, prefix, gone, deaths=1)
    tx.connection.execute(_FORGET, (prefix,))
    return Reaped(executions=taken, workers=gone)


def look(
    connection: sqlite3.Connection, prefix: str, request: LookRequest
) -> list[WorkerSeen]:
    """Every worker that did not leave, whether it lives and since when it is silent."""
    rows = fetch(connection, _ALL, {"prefix": prefix, "boot_id": boot_id()})
    seen: list[WorkerSeen] = []
    for row in rows:
        with suppress(TypeError, ValueError):  # A damaged row is nobody's.
            seen.append(_read_worker(row, request))
    return seen


def ping(tx: Transaction, _prefix: str, _: None) -> None:
    """Show that the tables answer while the write lock is held."""
    tx.connection.execute("SELECT count(*) FROM workers").fetchone()


def _read_worker(row: Row, request: LookRequest) -> WorkerSeen:
    """Raises `TypeError` or `ValueError` for what is damaged."""
    id_, functions, dead, same_boot, until = row
    if not isinstance(id_, str):
        raise TypeError("the id of a worker is text")
    now, lock_of = request.asked_at, request.lock_of
    return WorkerSeen(
        id=id_,
        functions=dict(json.loads(functions)),
        silent_for=max(0, now - until + request.lease) / 1000 if same_boot else None,
        is_alive=not dead
        and bool(same_boot)
        and until > now
        and not (lock_of is not None and is_free(lock_of(id_))),
    )


def _reclaim_from(
    tx: Transaction,
    prefix: str,
    workers: list[str],
    *,
    deaths: int,
    ids: str | None = None,
) -> int:
    which = {"prefix": prefix, "workers": json_text(workers), "ids": ids}
    left = fetch(
        tx.connection,
        f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE {_LEFT_BEHIND}",  # noqa: S608
        which,
    )
    if not left:
        return 0
    changes = {"deaths": deaths, "front": front(tx.now), "now": tx.now}
    tx.connection.execute(_RECLAIM, which | changes)
    tx.connection.execute(_SAY_WHY, {"ids": json_text([row[0] for row in left])})
    ended = [row.id for row in map(ExecutionRow._make, left) if _is_followed(row)]
    if ended:
        follow_ends(tx, prefix, ended)
    for row in left:
        try:
            execution = read_execution(row)
        except UnreadableRowError:
            continue
        flagged = execution.cancel_requested
        status = ExecutionStatus.CANCELLED if flagged else ExecutionStatus.QUEUED
        tx.hints.work.add((prefix, execution.event_name))
        tell_status(tx, prefix, execution, status)
    return len(left)


def _is_followed(row: ExecutionRow) -> bool:
    """Whether something follows on it being taken back: it is cancelled by that."""
    return bool(row.cancel_requested and (row.parent is not None or row.has_children))
