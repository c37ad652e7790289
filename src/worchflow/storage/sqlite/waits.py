"""What executions wait for, and the wake-ups that end a suspension."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from ...foundations.json_text import json_text
from ...foundations.milliseconds import from_milliseconds, seconds_left, to_milliseconds
from ...model.notices import ExecutionUpdated
from ...model.records import SUSPENDED, ExecutionStatus
from ...model.step_kind import StepKind
from ...model.tokens import ANSWER_EVENT, StoredToken
from ...model.waits import AwaitedEvent, StoredWait
from ..contract.waits import WaitStore
from .rows import BAD_ROW, UnreadableRowError, fetch, moment_or_none, one_of
from .times import due_after, due_at, wall_now
from .writer import one_by_one

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from ...foundations.runtime import Runtime
    from ...model.records import Claim
    from ...model.waits import NewWait
    from .loop_binding import Opened
    from .rows import Row
    from .writer import Transaction


class WaitRow(NamedTuple):
    """What is written and read of a wait, under the names of the columns."""

    step_id: str
    kind: str
    title: str
    token: int
    deadline: int | None
    queue_prefix: str | None
    event_name: str | None
    event_key: str | None
    since: int | None
    answer_schema: str | None
    tries: int


WAIT_COLUMNS = ", ".join(WaitRow._fields)
IS_SUSPENDED = one_of(SUSPENDED)

_HELD = """
    SELECT seq FROM executions
    WHERE id = ? AND queue_prefix = ? AND nonce = ? AND owner = ? AND token = ?
"""

_ADD = f"""
    INSERT INTO waits (execution, {WAIT_COLUMNS})
    VALUES (?{", ?" * len(WaitRow._fields)})
    ON CONFLICT (execution, step_id) DO UPDATE
    SET {", ".join(f"{column} = excluded.{column}" for column in WaitRow._fields)}
    WHERE excluded.tries > tries
"""  # noqa: S608 - made of constants

_HAS_WAITS = "UPDATE executions SET has_waits = 1 WHERE seq = ? AND NOT has_waits"

_ONES = f"""
    SELECT {WAIT_COLUMNS} FROM waits
    WHERE execution = ? AND step_id IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - made of constants

_OF_EXECUTION = f"""
    SELECT {WAIT_COLUMNS} FROM waits
    WHERE execution = (SELECT seq FROM executions WHERE id = ? AND queue_prefix = ?)
    ORDER BY deadline IS NULL, deadline, step_id
"""  # noqa: S608 - made of constants

_OF_NUMBER = f"SELECT {WAIT_COLUMNS} FROM waits WHERE execution = ?"  # noqa: S608

_OF_TOKEN = f"""
    SELECT executions.id, status, {", ".join(f"waits.{n}" for n in WaitRow._fields)}
    FROM waits JOIN executions ON executions.seq = waits.execution
    WHERE waits.queue_prefix = ? AND waits.event_name = ? AND waits.event_key = ?
"""  # noqa: S608 - made of constants

_REMOVE = """
    DELETE FROM waits
    WHERE execution = (
            SELECT seq FROM executions WHERE id = ? AND queue_prefix = ? AND nonce = ?
        )
        AND step_id IN (SELECT value FROM json_each(?)) AND token <= ?
"""

# With `+` only the index of ids is left to the planner, which would rather walk all of
# a prefix.
_THAT_SLEEP = f"""
    SELECT id, event_name, attempt_count FROM executions
    WHERE id IN (SELECT value FROM json_each(:ids)) AND +queue_prefix = :prefix
        AND {IS_SUSPENDED}
"""  # noqa: S608 - made of constants

_ON_WAKING = {
    "status": f"'{ExecutionStatus.QUEUED}'",
    "due_at": "max(:now, coalesce(not_before, :now))",
    "run_at": "iif(not_before > :now, not_before, NULL)",
    "hand_ons": "0",
    "reason": "NULL",
    "updated_at": ":now",
}
"""What a wake-up makes of these columns of an execution that is suspended."""


def waking(is_queued: str) -> str:
    """What a wake-up assigns: it counts, and it queues where a condition is met."""
    queued = ", ".join(
        f"{name} = iif({is_queued}, {then}, {name})"
        for name, then in _ON_WAKING.items()
    )
    return f"wakeups = wakeups + 1, {queued}"


_WAKE = f"""
    UPDATE executions SET {waking(IS_SUSPENDED)}
    WHERE id IN (SELECT value FROM json_each(:ids)) AND +queue_prefix = :prefix
        AND finished_at IS NULL
"""  # noqa: S608 - made of constants

_WAKEUPS = "SELECT wakeups FROM executions WHERE id = ? AND queue_prefix = ?"


@dataclass(frozen=True, kw_only=True, slots=True)
class AddRequest:
    """Waits to store under a claim."""

    claim: Claim
    waits: Sequence[NewWait]


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoveRequest:
    """Waits to remove under a claim, by the ids of their steps."""

    claim: Claim
    step_ids: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ListRequest:
    """Whose waits are listed, at which moment in milliseconds."""

    execution_id: str
    now: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRequest:
    """Which token is asked for, at which moment in milliseconds."""

    token_id: str
    now: int


def add(tx: Transaction, prefix: str, request: AddRequest) -> list[StoredWait]:
    """Store waits: first write wins, or more tries. Returns what is stored of each."""
    claim = request.claim
    rows = [_row(wait, claim.token, prefix, tx.now) for wait in request.waits]
    execution = claim.execution
    this = (execution.id, prefix, execution.nonce, claim.worker_id, claim.token)
    held = tx.connection.execute(_HELD, this).fetchone()
    if held is not None:
        (number,) = held
        tx.connection.executemany(_ADD, [(number, *row) for row in rows])
        tx.connection.execute(_HAS_WAITS, (number,))
        ids = json_text([row.step_id for row in rows])
        found = map(WaitRow._make, fetch(tx.connection, _ONES, (number, ids)))
        stored = {row.step_id: row for row in found}
        rows = [stored[row.step_id] for row in rows]
    return [read_wait(row, tx.now) for row in rows]


def waits_of_number(
    connection: sqlite3.Connection, number: int, now: int
) -> dict[str, StoredWait]:
    """The waits of an execution by the number of its row, under their step ids."""
    rows = fetch(connection, _OF_NUMBER, (number,))
    return {row[0]: read_wait(row, now) for row in rows}


def remove(tx: Transaction, prefix: str, request: RemoveRequest) -> None:
    """Remove waits, except those of a later claim."""
    claim, ids = request.claim, json_text(list(request.step_ids))
    execution = claim.execution
    this = (execution.id, prefix, execution.nonce, ids, claim.token)
    tx.connection.execute(_REMOVE, this)


def wake(tx: Transaction, prefix: str, execution_ids: Sequence[str]) -> int:
    """Wake executions; how many were suspended."""
    values = {"ids": json_text(list(execution_ids)), "prefix": prefix, "now": tx.now}
    asleep = fetch(tx.connection, _THAT_SLEEP, values)
    tx.connection.execute(_WAKE, values)
    others = set(execution_ids) - {each[0] for each in asleep}
    tell_woken(tx, prefix, asleep, others)
    return len(asleep)


def tell_woken(
    tx: Transaction, prefix: str, queued: Iterable[Row], others: Iterable[str]
) -> None:
    """Tell of those that a wake-up has queued, and of those where it only counts.

    Of the first their ids, the names of their events and their failed attempts.
    """
    for id_, event_name, failed in queued:
        tx.hints.work.add((prefix, event_name))
        tx.hints.tell(prefix, partial(_woken, id_, event_name, failed))
    # Whoever runs or keeps one of the others looks again there.
    tx.hints.woken |= {(prefix, each) for each in others}


def wakeups(connection: sqlite3.Connection, prefix: str, execution_id: str) -> int:
    """How often an execution was woken."""
    row = connection.execute(_WAKEUPS, (execution_id, prefix)).fetchone()
    return row[0] if row else 0


def read_wait(row: Row, now: int) -> StoredWait:
    """The wait in a row of `WAIT_COLUMNS`, or `UnreadableRowError`."""
    columns = WaitRow._make(row)
    try:
        deadline = moment_or_none(columns.deadline)
        return StoredWait(
            step_id=columns.step_id,
            kind=StepKind.of(columns.kind),
            title=columns.title,
            token=columns.token,
            deadline=deadline,
            left=seconds_left(deadline, now),
            event=_awaited(columns),
            tries=columns.tries,
        )
    except BAD_ROW as error:
        raise UnreadableRowError(
            f"the row of wait {columns.title!r} cannot be read: {error}"
        ) from error


def _awaited(columns: WaitRow) -> AwaitedEvent | None:
    if columns.event_name is None:
        return None
    since = from_milliseconds(columns.since or 0)
    return AwaitedEvent(name=columns.event_name, key=columns.event_key, since=since)


def _row(wait: NewWait, token: int, prefix: str, now: int) -> WaitRow:
    deadline: int | None = None
    if wait.until is not None:
        deadline = due_at(wait.until)
    elif wait.timeout is not None:
        deadline = due_after(now, wait.timeout)
    plain = (wait.step_id, wait.kind.value, wait.title, token, deadline)
    if (event := wait.event) is None:
        return WaitRow(*plain, None, None, None, None, None, wait.tries)
    since = now if event.since is None else to_milliseconds(event.since)
    awaited = (prefix, event.name, event.key, since)
    return WaitRow(*plain, *awaited, wait.answer_schema, wait.tries)


def _all(
    connection: sqlite3.Connection, prefix: str, request: ListRequest
) -> list[StoredWait]:
    rows = fetch(connection, _OF_EXECUTION, (request.execution_id, prefix))
    return [read_wait(row, request.now) for row in rows]


def _token(
    connection: sqlite3.Connection, prefix: str, request: TokenRequest
) -> StoredToken | None:
    rows = fetch(connection, _OF_TOKEN, (prefix, ANSWER_EVENT, request.token_id))
    if not rows:
        return None
    execution_id, status, *wait = rows[0]
    return StoredToken(
        execution_id=execution_id,
        status=ExecutionStatus(status),
        wait=read_wait(tuple(wait), request.now),
        answer_schema=WaitRow._make(wait).answer_schema or "{}",
    )


def _woken(id_: str, event_name: str, failed: int) -> ExecutionUpdated:
    return ExecutionUpdated(
        execution_id=id_,
        event_name=event_name,
        attempt=failed + 1,
        status=ExecutionStatus.QUEUED,
    )


_add = one_by_one(add)
_remove = one_by_one(remove)
_wake = one_by_one(wake)


class Waits(WaitStore):
    """The waits of one backend."""

    def __init__(self, opened: Opened, runtime: Runtime) -> None:
        self._opened = opened
        self._runtime = runtime

    @override
    async def add(self, claim: Claim, waits: Sequence[NewWait]) -> list[StoredWait]:
        return await self._opened().write(_add, AddRequest(claim=claim, waits=waits))

    @override
    async def all(self, execution_id: str) -> list[StoredWait]:
        now = wall_now(self._runtime)
        request = ListRequest(execution_id=execution_id, now=now)
        return await self._opened().read(_all, request)

    @override
    async def remove(self, claim: Claim, step_ids: Sequence[str]) -> None:
        request = RemoveRequest(claim=claim, step_ids=step_ids)
        await self._opened().write(_remove, request)

    @override
    async def token(self, token_id: str) -> StoredToken | None:
        request = TokenRequest(token_id=token_id, now=wall_now(self._runtime))
        return await self._opened().read(_token, request)

    @override
    async def wake(self, execution_ids: Sequence[str]) -> int:
        return await self._opened().write(_wake, execution_ids)

    @override
    async def wakeups(self, execution_id: str) -> int:
        return await self._opened().read(wakeups, execution_id)
