"""Executions as senders see them: accepted, read, cancelled, retried."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from ...foundations.json_text import json_text
from ...model.events import event_of
from ...model.notices import ExecutionUpdated
from ...model.records import ExecutionStatus
from ...model.transitions import RETRYABLE
from ..contract.executions import ExecutionStore, Inserted
from .bulk import execute_rows, named_rows
from .events import append
from .following import CANCELLED, FLAGGED, finish_following, follow_ends
from .rows import (
    EXECUTION_COLUMNS,
    NEW_EXECUTION_COLUMNS,
    NEW_EXECUTION_VALUES,
    ExecutionRow,
    NewExecutionRow,
    fetch,
    new_execution_row,
    read_execution,
)
from .writer import one_by_one

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from ...model.records import NewExecution, StoredExecution
    from .loop_binding import Opened
    from .writer import Transaction

_INSERT = f"""
    INSERT INTO executions ({NEW_EXECUTION_COLUMNS}, eligible_at, queue_prefix, status,
        updated_at)
    SELECT {NEW_EXECUTION_VALUES}, run_at, {{prefix}}, 'queued', {{now}}
    FROM {named_rows(NewExecutionRow._fields)}
    WHERE true
    ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 - made of constants

# With `+` only the index of ids is left to the planner.
_BY_IDS = f"""
    SELECT {EXECUTION_COLUMNS} FROM executions
    WHERE id IN (SELECT value FROM json_each(?)) AND +queue_prefix = ?
"""  # noqa: S608 - made of constants

_BY_ID = f"""
    SELECT {EXECUTION_COLUMNS} FROM executions WHERE id = ? AND queue_prefix = ?
"""  # noqa: S608 - made of constants

_CANCEL = f"UPDATE executions SET {CANCELLED} WHERE id = :id"  # noqa: S608

_FLAG = f"UPDATE executions SET {FLAGGED} WHERE id = :id"  # noqa: S608

ALONE = 2
"""In the column `leaves`: it was retried by itself after its parent's end."""

_RETRY = f"""
    UPDATE executions SET status = 'queued', due_at = :now, run_at = NULL,
        token = token + 1, retry_token = token + 1, attempt_count = 0, recoveries = 0,
        deaths = 0, begun = NULL, hand_ons = 0,
        started_at = NULL, eligible_at = :now, deadline_at = NULL,
        cancel_requested = 0, cancel_reason = NULL, reason = NULL, result = NULL,
        error_type = NULL, error_message = NULL, error_traceback = NULL,
        error_step = NULL,
        finished_at = NULL, attempt_started_at = NULL, updated_at = :now,
        has_children = EXISTS (
            SELECT 1 FROM executions AS child
            WHERE child.queue_prefix = executions.queue_prefix
                AND child.parent = executions.id
                AND child.parent_nonce = executions.nonce
        ),
        leaves = iif(parent IS NULL OR leaves, leaves, {ALONE} * NOT EXISTS (
            SELECT 1 FROM executions AS above
            WHERE above.id = executions.parent
                AND above.queue_prefix = executions.queue_prefix
                AND above.nonce = executions.parent_nonce
                AND above.finished_at IS NULL
        ))
    WHERE id = :id
"""  # noqa: S608 - made of constants

_FORGET_FAILED_STEPS = """
    DELETE FROM steps WHERE status = 'failed'
        AND execution = (SELECT seq FROM executions WHERE id = ?)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    """Which execution to cancel, and why."""

    id: str
    reason: str | None


Change = tuple["StoredExecution | None", bool]
"""The execution as it stands now, and whether the call changed anything."""


def insert(
    tx: Transaction, prefix: str, calls: Sequence[Sequence[NewExecution]]
) -> list[list[Inserted]]:
    """Accept the executions of several callers; one outcome for each execution."""
    new = [execution for call in calls for execution in call]
    rows = [new_execution_row(execution, tx.now) for execution in new]
    same = {"prefix": prefix, "now": tx.now}
    if execute_rows(tx.connection, _INSERT, rows, same) == len(rows):
        outcomes = [Inserted(id=execution.id) for execution in new]
    else:
        outcomes = _compare(tx, prefix, new)
    for execution, outcome in zip(new, outcomes, strict=True):
        if execution.event_key is not None and outcome.existing is None:
            append(tx, prefix, event_of(execution))
    tx.hints.work.update((prefix, execution.event_name) for execution in new)
    given = iter(outcomes)
    return [[next(given) for _ in call] for call in calls]


def get(
    connection: sqlite3.Connection, prefix: str, execution_id: str
) -> StoredExecution | None:
    """The execution, or None."""
    rows = fetch(connection, _BY_ID, (execution_id, prefix))
    return read_execution(rows[0]) if rows else None


def cancel(tx: Transaction, prefix: str, request: CancelRequest) -> Change:
    """End an un-owned execution, flag an owned one."""
    stored = get(tx.connection, prefix, request.id)
    if stored is None or stored.status.is_terminal or stored.cancel_requested:
        return stored, False
    values = {"id": request.id, "reason": request.reason, "now": tx.now}
    if stored.worker is None:
        tx.connection.execute(_CANCEL, values)
        tell_status(tx, prefix, stored, ExecutionStatus.CANCELLED)
        if stored.parent is not None or stored.has_children:
            follow_ends(tx, prefix, [request.id])
    else:
        tx.connection.execute(_FLAG, values)
        tx.hints.cancelled.add((prefix, request.id))
    return get(tx.connection, prefix, request.id), True


def retry(tx: Transaction, prefix: str, execution_id: str) -> Change:
    """Queue a failed or cancelled execution again, with its completed steps."""
    stored = get(tx.connection, prefix, execution_id)
    if stored is None or stored.status not in RETRYABLE:
        return stored, False
    finish_following(tx, prefix, execution_id)
    tx.connection.execute(_FORGET_FAILED_STEPS, (execution_id,))
    tx.connection.execute(_RETRY, {"id": execution_id, "now": tx.now})
    queued = get(tx.connection, prefix, execution_id)
    tx.hints.work.add((prefix, stored.event_name))
    tell_status(tx, prefix, queued or stored, ExecutionStatus.QUEUED)
    return queued, True


def tell_status(
    tx: Transaction, prefix: str, execution: StoredExecution, status: ExecutionStatus
) -> None:
    """Publish that an execution changed its status, once that is durable."""
    tx.hints.tell(prefix, partial(status_notice, execution, status))


def status_notice(
    execution: StoredExecution, status: ExecutionStatus
) -> ExecutionUpdated:
    """What a new status of an execution is told by."""
    return ExecutionUpdated(
        execution_id=execution.id,
        event_name=execution.event_name,
        attempt=execution.attempt_count + 1,
        status=status,
    )


def _compare(
    tx: Transaction, prefix: str, new: Iterable[NewExecution]
) -> list[Inserted]:
    ids = json_text([execution.id for execution in new])
    rows = map(ExecutionRow._make, fetch(tx.connection, _BY_IDS, (ids, prefix)))
    stored = {row.id: row for row in rows}
    outcomes: list[Inserted] = []
    for execution in new:
        row = stored.get(execution.id)
        if row is None:
            outcomes.append(Inserted(id=execution.id, is_foreign=True))
            continue
        own = row.nonce == execution.nonce
        existing = None if own else read_execution(row)
        outcomes.append(Inserted(id=execution.id, existing=existing))
    return outcomes


_cancel = one_by_one(cancel)
_retry = one_by_one(retry)


class Executions(ExecutionStore):
    """The executions of one backend."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @override
    async def insert(self, executions: Sequence[NewExecution]) -> list[Inserted]:
        if not executions:
            return []
        size = sum(len(execution.event_data) for execution in executions)
        return await self._opened().write(insert, executions, size=size)

    @override
    async def get(self, execution_id: str) -> StoredExecution | None:
        return await self._opened().read(get, execution_id)

    @override
    async def cancel(
        self, execution_id: str, reason: str | None
    ) -> tuple[StoredExecution | None, bool]:
        request = CancelRequest(id=execution_id, reason=reason)
        return await self._opened().write(_cancel, request)

    @override
    async def retry(self, execution_id: str) -> tuple[StoredExecution | None, bool]:
        return await self._opened().write(_retry, execution_id)
