"""Recorded steps: written once, never changed, removed only by a retry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from ...foundations.errors import ExecutionNotFound
from ...foundations.json_text import json_text
from ...foundations.types import value
from ...model.notices import step_completed
from ...model.records import StepStatus
from ..contract.steps import StepStore
from .bulk import execute_rows, named_rows
from .rows import STEP_COLUMNS, StepRow, fetch, read_step, step_row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ...model.records import Claim, StoredStep
    from .loop_binding import Opened
    from .writer import Transaction

_NEW = ", ".join(f"new.{each}" for each in StepRow._fields)
_REPLACED = ", ".join(
    f"{each} = excluded.{each}"
    for each in ("token", *StepRow._fields)
    if each != "step_id"
)
_IS_OVER = """
    steps.attempt IS NOT NULL AND steps.attempt <= (
        SELECT attempt_count FROM executions WHERE seq = steps.execution
    )
"""
"""Of a failure that counted for one attempt, when that has ended: it is void."""

_INSERT = f"""
    INSERT INTO steps (execution, token, {STEP_COLUMNS})
    SELECT e.seq, new.claim_token, {_NEW}
    FROM {named_rows(("execution_id", "nonce", "claim_token", *StepRow._fields))} AS new
    CROSS JOIN executions AS e ON e.id = new.execution_id
        AND e.queue_prefix = {{prefix}} AND e.nonce = new.nonce
    WHERE new.status <> 'failed' OR new.claim_token >= e.retry_token
    ON CONFLICT (execution, step_id) DO UPDATE SET {_REPLACED} WHERE {_IS_OVER}
"""  # noqa: S608 - made of constants

_ONE = f"""
    SELECT {STEP_COLUMNS} FROM steps
    WHERE step_id = ?
        AND execution = (
            SELECT seq FROM executions WHERE id = ? AND queue_prefix = ? AND nonce = ?
        )
"""  # noqa: S608 - made of constants

_IS_VOID = """
    SELECT 1 FROM executions
    WHERE id = ? AND queue_prefix = ? AND nonce = ? AND retry_token > ?
"""

_OF_EXECUTION = f"""
    SELECT {STEP_COLUMNS} FROM steps
    WHERE execution = (SELECT seq FROM executions WHERE id = ? AND queue_prefix = ?)
        AND NOT ({_IS_OVER})
    ORDER BY started_at, seq
"""  # noqa: S608 - made of constants

_OF_EXECUTIONS = f"""
    SELECT execution, {STEP_COLUMNS} FROM steps
    WHERE execution IN (SELECT value FROM json_each(?)) AND NOT ({_IS_OVER})
"""  # noqa: S608 - made of constants


@value
class StepWrite:
    """One checkpoint."""

    claim: Claim
    step: StoredStep

    @property
    def execution_id(self) -> str:
        """The execution it belongs to."""
        return self.claim.execution.id


def checkpoint(
    tx: Transaction, prefix: str, writes: Sequence[StepWrite]
) -> list[StoredStep]:
    """Record steps; first write wins. Returns what is recorded for each."""
    steps = [step_row(write.step) for write in writes]
    rows = [
        (write.execution_id, write.claim.execution.nonce, write.claim.token, *step)
        for write, step in zip(writes, steps, strict=True)
    ]
    inserted = execute_rows(tx.connection, _INSERT, rows, {"prefix": prefix})
    recorded = [write.step for write in writes]
    told = writes
    if inserted < len(rows):
        recorded = [_stored(tx, prefix, write) for write in writes]
        told = [
            write
            for write, step, stored in zip(writes, steps, recorded, strict=True)
            if read_step(step) == stored
        ]
    for write in told:
        if write.step.status is StepStatus.COMPLETED:
            completed = partial(step_completed, write.claim, write.step)
            tx.hints.tell(prefix, completed, progress=True)
    return recorded


def steps_of(
    connection: sqlite3.Connection, prefix: str, execution_id: str
) -> list[StoredStep]:
    """Everything recorded for an execution."""
    rows = fetch(connection, _OF_EXECUTION, (execution_id, prefix))
    return [read_step(row) for row in rows]


def steps_by_execution(
    connection: sqlite3.Connection, executions: Sequence[int]
) -> dict[int, dict[str, StoredStep]]:
    """Everything recorded for several, by the number of their row and step id."""
    found: dict[int, dict[str, StoredStep]] = {number: {} for number in executions}
    if executions:
        for row in fetch(connection, _OF_EXECUTIONS, (json_text(executions),)):
            step = read_step(row[1:])
            found[row[0]][step.step_id] = step
    return found


def _stored(tx: Transaction, prefix: str, write: StepWrite) -> StoredStep:
    # Another execution that has the id now is not the one that this was run for.
    this = (write.execution_id, prefix, write.claim.execution.nonce)
    rows = fetch(tx.connection, _ONE, (write.step.step_id, *this))
    is_failure = write.step.status is StepStatus.FAILED
    void = (*this, write.claim.token)
    if not rows and is_failure and tx.connection.execute(_IS_VOID, void).fetchone():
        return write.step
    if not rows:
        raise ExecutionNotFound(
            f'no execution has the id "{write.execution_id}": the step '
            f'"{write.step.title}" was not recorded',
            execution_id=write.execution_id,
        )
    return read_step(rows[0])


class Steps(StepStore):
    """The recorded steps of one backend."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @override
    async def all(self, execution_id: str) -> list[StoredStep]:
        return await self._opened().read(steps_of, execution_id)

    @override
    async def checkpoint(self, claim: Claim, step: StoredStep) -> StoredStep:
        write = StepWrite(claim, step)
        size = len(step.result or "")
        return await self._opened().write(checkpoint, write, size=size)

    @override
    async def flush(self, claim: Claim) -> bool:
        return True
