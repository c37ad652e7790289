"""Taking executions from the queue, each by one worker under a higher token."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ...foundations.json_text import json_text
from ...foundations.milliseconds import seconds_left
from ...model.beginning import Begun
from ...model.records import Claim, ExecutionStatus
from ...model.settlement import FIRST_TOKEN
from ...model.transitions import CLAIMABLE, UNSURE
from .rows import (
    EXECUTION_COLUMNS,
    ExecutionRow,
    UnreadableRowError,
    fetch,
    moment_or_none,
    one_of,
    read_execution,
)
from .steps import steps_by_execution
from .times import due_after
from .unserved import requeue
from .waits import waits_of_number

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from ...model.records import StoredExecution, StoredStep
    from ...model.waits import StoredWait
    from .rows import Row
    from .writer import Transaction

logger = logging.getLogger("worchflow.storage.sqlite")

MOST_DEATHS = 2**63 - 1
UNREADABLE_DELAY = 3600 * 1000
"""Milliseconds for which a row that cannot be read leaves the queue."""

CLAIMED = {
    "status": f"'{ExecutionStatus.PROCESSING}'",
    "updated_at": ":now",
    "function_id": "next.serves",
    "started_at": "coalesce(started_at, :now)",
    "run_at": "NULL",
    "owner": ":worker",
    "reason": "NULL",
    # What is no number stays what it is, and cannot be read.
    "token": "CASE typeof(token) WHEN 'integer' THEN token + 1 ELSE token END",
}
"""What a claim makes of these columns; a row is read so before it is written so."""

# Each event has its own queue in the index; the oldest of all are taken, so the
# cost depends on the events and the limit, never on how much waits.
_NEXT = f"""
    WITH next AS MATERIALIZED (
        SELECT e.seq, e.due_at, json_extract(f.value, '$[1]') AS serves
        FROM json_each(:functions) AS f
        CROSS JOIN executions AS e ON e.seq IN (
            SELECT seq FROM executions
            WHERE queue_prefix = :prefix
                AND event_name = json_extract(f.value, '$[0]')
                AND due_at <= :now
                AND owner IS NULL
                AND {one_of(CLAIMABLE)}
                AND NOT cancel_requested
                AND deaths BETWEEN :least_deaths AND :most_deaths
            ORDER BY due_at, seq LIMIT :limit
        )
        ORDER BY e.due_at, e.seq LIMIT :limit
    )
    SELECT e.seq, {", ".join(CLAIMED.get(each, each) for each in ExecutionRow._fields)}
    FROM next CROSS JOIN executions AS e ON e.seq = next.seq
    ORDER BY next.due_at, next.seq
"""  # noqa: S608 - made of constants

_TAKE = f"""
    UPDATE executions
    SET {", ".join(f"{column} = {new}" for column, new in CLAIMED.items())},
        due_at = NULL, hand_ons = 0, not_before = NULL, awaits_children = 0
    FROM (
        SELECT json_extract(value, '$[0]') AS seq, json_extract(value, '$[1]') AS serves
        FROM json_each(:taken)
    ) AS next
    WHERE executions.seq = next.seq
"""  # noqa: S608 - made of constants

_NEXT_DUE = """
    SELECT min(due_at) FROM (
        SELECT (
            SELECT min(due_at) FROM executions
            WHERE queue_prefix = :prefix AND due_at IS NOT NULL
                AND event_name = json_extract(f.value, '$[0]')
                AND deaths <= :most_deaths
        ) AS due_at
        FROM json_each(:functions) AS f
    )
"""

# With `+` only the indexes of owners and ids are left to the planner.
_HELD = f"""
    SELECT seq, {EXECUTION_COLUMNS} FROM executions
    WHERE owner = :worker AND +queue_prefix = :prefix
        AND id IN (SELECT value FROM json_each(:ids))
"""  # noqa: S608 - made of constants

# With `+` only the index of ids is left to the planner.
_LIVE = """
    SELECT id, nonce FROM executions
    WHERE id IN (SELECT value FROM json_each(?)) AND +queue_prefix = ?
        AND finished_at IS NULL
"""

_BEGIN = """
    UPDATE executions SET begun = token, deadline_at = coalesce(
        deadline_at, max(created_at, coalesce(eligible_at, created_at)) + :deadline
    )
    WHERE id = :id AND queue_prefix = :prefix AND owner = :worker AND token = :token
    RETURNING deadline_at
"""

_SET_ASIDE = """
    UPDATE executions SET due_at = :until, run_at = :until, reason = :reason
    WHERE seq = :seq
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRequest:
    """Who wants how many; `functions` is JSON, see `functions_json`.

    Only executions with `least_deaths` to `most_deaths` deaths are claimed.
    """

    worker_id: str
    functions: str
    limit: int
    least_deaths: int = UNSURE
    most_deaths: int = MOST_DEATHS


@dataclass(frozen=True, kw_only=True, slots=True)
class DueRequest:
    """Whose next due time is asked for: of these events, and of no more deaths."""

    functions: str
    most_deaths: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BeginRequest:
    """A claim under which the code of its execution begins, and its deadline."""

    claim: Claim
    deadline: float | None
    """Seconds from when it could first begin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What a claim got, and when the next execution for this worker comes due.

    What is due already and was not claimed is none: there is no telling when it can be.
    """

    claims: Sequence[Claim] = ()
    next_due: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptRequest:
    """Which of its executions a worker wants to know again."""

    worker_id: str
    ids: Sequence[str]


def functions_json(functions: Mapping[str, str]) -> str:
    """Pairs of an event name and the id of the function that serves it."""
    return json_text(sorted(functions.items()))


def claim(tx: Transaction, prefix: str, request: ClaimRequest) -> Taken:
    """Own the oldest eligible executions, if the worker is alive."""
    if not _is_alive(tx, prefix, request.worker_id):
        return Taken()
    found = _candidates(tx, prefix, request)
    if not found:
        requeue(tx, prefix)
        due = DueRequest(functions=request.functions, most_deaths=request.most_deaths)
        then = next_due(tx.connection, prefix, due)
        return Taken(next_due=then if then is not None and then > tx.now else None)
    numbers = [(number, execution.function_id) for number, execution, *_ in found]
    tx.connection.execute(
        _TAKE,
        {"worker": request.worker_id, "now": tx.now, "taken": json_text(numbers)},
    )
    orphans = _orphans(tx, prefix, [execution for _, execution, *_ in found])
    return Taken(
        claims=[
            _as_claim(tx, execution, request.worker_id, steps, waits, orphans)
            for _, execution, steps, waits in found
        ]
    )


def adopt(tx: Transaction, prefix: str, request: AdoptRequest) -> Sequence[Claim]:
    """The claims a worker already holds, as they are."""
    rows = fetch(
        tx.connection,
        _HELD,
        {
            "worker": request.worker_id,
            "prefix": prefix,
            "ids": json_text(request.ids),
        },
    )
    steps = steps_by_execution(tx.connection, [row[0] for row in rows])
    held = [(row[0], read_execution(row[1:])) for row in rows]
    orphans = _orphans(tx, prefix, [execution for _, execution in held])
    return [
        _as_claim(
            tx,
            execution,
            request.worker_id,
            steps[number],
            _waits(tx, number, execution),
            orphans,
        )
        for number, execution in held
    ]


def next_due(
    connection: sqlite3.Connection, prefix: str, request: DueRequest
) -> int | None:
    """When the next execution of these events is due, maybe in the past."""
    values = {
        "prefix": prefix,
        "functions": request.functions,
        "most_deaths": request.most_deaths,
    }
    due: int | None
    (due,) = connection.execute(_NEXT_DUE, values).fetchone()
    return due


def begin(tx: Transaction, prefix: str, request: BeginRequest) -> Begun | None:
    """Mark that its code begins, if the claim is still held."""
    claim, deadline = request.claim, request.deadline
    row = tx.connection.execute(
        _BEGIN,
        {
            "id": claim.execution.id,
            "prefix": prefix,
            "worker": claim.worker_id,
            "token": claim.token,
            "deadline": None if deadline is None else due_after(0, deadline),
        },
    ).fetchone()
    if row is None:
        return None
    deadline_at = moment_or_none(row[0])
    return Begun(deadline_at, seconds_left(deadline_at, tx.now))


Candidate = tuple[int, "StoredExecution", "Recorded", "Waits"]
Recorded: TypeAlias = "Mapping[str, StoredStep]"
Waits: TypeAlias = "Mapping[str, StoredWait]"


def _candidates(tx: Transaction, prefix: str, request: ClaimRequest) -> list[Candidate]:
    """What will be claimed, as it will stand then; bad rows are set aside."""
    parameters = {
        "functions": request.functions,
        "prefix": prefix,
        "worker": request.worker_id,
        "now": tx.now,
        "limit": request.limit,
        "least_deaths": request.least_deaths,
        "most_deaths": request.most_deaths,
    }
    while rows := fetch(tx.connection, _NEXT, parameters):
        found: list[Candidate] = []
        for row in rows:
            try:
                found.append(_candidate(tx, row))
            except UnreadableRowError as error:
                _set_aside(tx, row[0], error)
        if found:
            return found
    return []


def _candidate(tx: Transaction, row: Row) -> Candidate:
    number = row[0]
    execution = read_execution(row[1:])
    steps: Recorded = {}
    if execution.token != FIRST_TOKEN:
        steps = steps_by_execution(tx.connection, [number])[number]
    return number, execution, steps, _waits(tx, number, execution)


def _waits(tx: Transaction, number: int, execution: StoredExecution) -> Waits:
    if not execution.has_waits:
        return {}
    return waits_of_number(tx.connection, number, tx.now)


def _set_aside(tx: Transaction, number: int, error: UnreadableRowError) -> None:
    logger.error("%s; it leaves the queue for an hour, then it is tried again", error)
    until = tx.now + UNREADABLE_DELAY
    reason = "its row in the database cannot be read"
    tx.connection.execute(_SET_ASIDE, {"seq": number, "until": until, "reason": reason})


def _orphans(
    tx: Transaction, prefix: str, executions: Sequence[StoredExecution]
) -> Collection[str]:
    """The ids of the children that do not leave and whose parent has ended."""
    parents = {
        execution.id: (execution.parent.id, execution.parent.nonce)
        for execution in executions
        if execution.parent is not None and not execution.parent.leaves
    }
    if not parents:
        return ()
    ids = json_text([id_ for id_, _ in parents.values()])
    live = set(fetch(tx.connection, _LIVE, (ids, prefix)))
    return {id_ for id_, parent in parents.items() if parent not in live}


def _as_claim(
    tx: Transaction,
    execution: StoredExecution,
    worker_id: str,
    steps: Recorded,
    waits: Waits,
    orphans: Collection[str],
) -> Claim:
    return Claim(
        execution=execution,
        worker_id=worker_id,
        token=execution.token,
        steps=steps,
        waits=waits,
        parent_has_ended=execution.id in orphans,
        deadline_left=seconds_left(execution.deadline_at, tx.now),
    )


def _is_alive(tx: Transaction, prefix: str, worker_id: str) -> bool:
    found: Any = tx.connection.execute(
        "SELECT 1 FROM workers WHERE id = ? AND queue_prefix = ? AND NOT dead",
        (worker_id, prefix),
    ).fetchone()
    return found is not None
