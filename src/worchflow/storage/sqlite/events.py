"""The log of events, and which execution has taken which."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from ...foundations.json_text import json_text
from ...foundations.milliseconds import from_milliseconds, to_milliseconds
from ...model.events import LogLook, StoredEvent, event_of
from ..contract.events import DELIVERY_PAGE, EventStore
from .rows import BAD_ROW, UnreadableRowError, fetch
from .times import wall_now
from .waits import wake
from .writer import one_by_one

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from ...foundations.runtime import Runtime
    from ...model.events import NewEvent
    from ...model.records import Claim, NewExecution
    from ...model.waits import StoredWait
    from .loop_binding import Opened
    from .rows import Row
    from .writer import Transaction

logger = logging.getLogger("worchflow.storage.sqlite")

GRACE = 5_000
"""Milliseconds; what was accepted just now is being delivered by who accepted it."""
MAX_SWEPT = 100
"""Events that one sweep delivers at most."""


class EventRow(NamedTuple):
    """What is read of an event, under the names of the columns."""

    id: str
    name: str
    key: str | None
    data: str
    accepted_at: int


EVENT_COLUMNS = ", ".join(EventRow._fields)
_OF_EVENT = ", ".join(f"events.{each}" for each in EventRow._fields)

_APPEND = f"""
    INSERT OR IGNORE INTO events ({EVENT_COLUMNS}, queue_prefix) VALUES
    (:id, :name, :key, :data, :now, :prefix)
"""  # noqa: S608 - made of constants

_ONE = f"SELECT {EVENT_COLUMNS} FROM events WHERE queue_prefix = ? AND id = ?"  # noqa: S608

_WHO_WAITS = """
    SELECT waits.execution, waits.step_id, executions.id
    FROM waits JOIN executions ON executions.seq = waits.execution
    WHERE waits.queue_prefix = :prefix AND waits.event_name = :name
        AND waits.event_key IS :key
        AND (waits.execution, waits.step_id) > (:execution, :step_id)
    ORDER BY waits.execution, waits.step_id LIMIT :limit
"""

_DELIVERED = "UPDATE events SET pending = 0 WHERE queue_prefix = ? AND id = ?"

_PENDING = f"""
    SELECT {EVENT_COLUMNS} FROM events
    WHERE queue_prefix = ? AND pending AND accepted_at < ?
    ORDER BY accepted_at LIMIT ?
"""  # noqa: S608 - made of constants

_THIS = "(SELECT seq FROM executions WHERE id = ? AND queue_prefix = ? AND nonce = ?)"

_FIND = f"""
    SELECT {_OF_EVENT} FROM events
    WHERE queue_prefix = :prefix AND name = :name AND key IS :key
        AND accepted_at >= :since AND (:deadline IS NULL OR accepted_at < :deadline)
        AND id NOT IN (SELECT value FROM json_each(:passed))
        AND typeof(accepted_at) = 'integer'
        AND NOT EXISTS (
            SELECT 1 FROM taken_events
            WHERE event_id = events.id AND step_id <> :step_id
                AND step_id NOT IN (SELECT value FROM json_each(:left_out))
                AND execution = (
                SELECT executions.seq FROM executions
                WHERE executions.id = :execution AND executions.queue_prefix = :prefix
                    AND executions.nonce = :nonce
            )
        )
    ORDER BY accepted_at, events.seq LIMIT 1
"""  # noqa: S608 - made of constants

_TAKE = f"""
    INSERT OR IGNORE INTO taken_events (execution, event_id, step_id)
    SELECT this, ?, ? FROM (SELECT {_THIS} AS this) WHERE this IS NOT NULL
"""  # noqa: S608 - made of constants

_TAKE_OVER = f"""
    UPDATE taken_events SET step_id = ?
    WHERE execution = {_THIS} AND event_id = ?
        AND step_id IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - made of constants

_TAKEN_BY = f"""
    SELECT step_id FROM taken_events WHERE execution = {_THIS} AND event_id = ?
"""  # noqa: S608 - made of constants

_PRUNE = """
    DELETE FROM events WHERE seq IN (
        SELECT seq FROM events AS old
        WHERE queue_prefix = :prefix AND accepted_at < :before AND NOT pending
            AND NOT EXISTS (
                SELECT 1 FROM waits
                WHERE waits.queue_prefix = :prefix AND event_name = old.name
                    AND event_key IS old.key AND since <= old.accepted_at
                    AND (deadline IS NULL OR old.accepted_at < deadline)
            )
        ORDER BY accepted_at LIMIT :limit
    )
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryRequest:
    """Which event to deliver, from where on."""

    event: NewEvent | StoredEvent
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FindRequest:
    """What a wait may take, at which moment in milliseconds."""

    claim: Claim
    wait: StoredWait
    passed: Collection[str]
    left_out: Collection[str]
    now: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TakeRequest:
    """An event for a step."""

    claim: Claim
    step_id: str
    event_id: str
    left_out: Collection[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneRequest:
    """Which events to remove: `age` is in milliseconds."""

    age: int
    limit: int


def append(tx: Transaction, prefix: str, event: NewEvent) -> StoredEvent:
    """Accept an event; what is stored under its id."""
    values = {
        "id": event.id,
        "name": event.name,
        "key": event.key,
        "data": event.data,
        "now": tx.now,
        "prefix": prefix,
    }
    is_new = tx.connection.execute(_APPEND, values).rowcount == 1
    (row,) = fetch(tx.connection, _ONE, (prefix, event.id))
    return replace(read_event(row), is_new=is_new)


def deliver(tx: Transaction, prefix: str, request: DeliveryRequest) -> str | None:
    """Wake a page of those who wait; where the next page begins, if there is one."""
    event = request.event
    number, _, step_id = (request.after or "-1 ").partition(" ")
    values = {
        "prefix": prefix,
        "name": event.name,
        "key": event.key,
        "execution": int(number),
        "step_id": step_id,
        "limit": DELIVERY_PAGE,
    }
    page = fetch(tx.connection, _WHO_WAITS, values)
    if page:
        wake(tx, prefix, list(dict.fromkeys(id_ for _, _, id_ in page)))
    if len(page) == DELIVERY_PAGE:
        execution, last, _ = page[-1]
        return f"{execution} {last}"
    tx.connection.execute(_DELIVERED, (prefix, event.id))
    return None


def publish(tx: Transaction, prefix: str, executions: Sequence[NewExecution]) -> None:
    """Wake a page of those who wait for each of the events that executions are."""
    for execution in executions:
        deliver(tx, prefix, DeliveryRequest(event=event_of(execution), after=None))


def pending(connection: sqlite3.Connection, prefix: str, now: int) -> list[Row]:
    """The events whose delivery was cut off, the oldest first."""
    return fetch(connection, _PENDING, (prefix, now - GRACE, MAX_SWEPT))


def leave_out(tx: Transaction, prefix: str, event_id: str) -> None:
    """Let a damaged event be pending no more."""
    tx.connection.execute(_DELIVERED, (prefix, event_id))


def take(tx: Transaction, prefix: str, request: TakeRequest) -> bool:
    """Keep an event for a step; whether it is this step's."""
    execution = request.claim.execution
    this = (execution.id, prefix, execution.nonce)
    own = (request.event_id, request.step_id, *this)
    tx.connection.execute(_TAKE, own)
    if request.left_out:
        left_out = json_text(list(request.left_out))
        tx.connection.execute(
            _TAKE_OVER, (request.step_id, *this, request.event_id, left_out)
        )
    rows = fetch(tx.connection, _TAKEN_BY, (*this, request.event_id))
    return rows == [(request.step_id,)]


def prune(tx: Transaction, prefix: str, request: PruneRequest) -> int:
    """Remove old events that nobody may take any more; how many."""
    before = tx.now - request.age
    values = {"prefix": prefix, "before": before, "limit": request.limit}
    return tx.connection.execute(_PRUNE, values).rowcount


def find(connection: sqlite3.Connection, prefix: str, request: FindRequest) -> LogLook:
    """The oldest event that a wait may take."""
    wait, execution = request.wait, request.claim.execution
    deadline, left = None, None
    if wait.deadline is not None:
        deadline = to_milliseconds(wait.deadline)
        left = max(0, deadline - request.now) / 1000
    if wait.event is None or wait.event.since is None:
        return LogLook(event=None, left=left)
    values = {
        "prefix": prefix,
        "name": wait.event.name,
        "key": wait.event.key,
        "since": to_milliseconds(wait.event.since),
        "deadline": deadline,
        "passed": json_text(list(request.passed)),
        "left_out": json_text(list(request.left_out)),
        "step_id": wait.step_id,
        "execution": execution.id,
        "nonce": execution.nonce,
    }
    rows = fetch(connection, _FIND, values)
    return LogLook(event=read_event(rows[0]) if rows else None, left=left)


def read_event(row: Row) -> StoredEvent:
    """The event in a row of `EVENT_COLUMNS`, or `UnreadableRowError`."""
    columns = EventRow._make(row)
    try:
        return StoredEvent(
            id=columns.id,
            name=columns.name,
            data=columns.data,
            key=columns.key,
            at=from_milliseconds(columns.accepted_at),
        )
    except BAD_ROW as error:
        raise UnreadableRowError(
            f"the row of event {columns.id!r} cannot be read: {error}"
        ) from error


_append = one_by_one(append)
_deliver = one_by_one(deliver)
_publish = one_by_one(publish)
_take = one_by_one(take)
_prune = one_by_one(prune)
_leave_out = one_by_one(leave_out)


class Events(EventStore):
    """The events of one backend."""

    def __init__(self, opened: Opened, runtime: Runtime) -> None:
        self._opened = opened
        self._runtime = runtime

    @override
    async def append(self, event: NewEvent) -> StoredEvent:
        return await self._opened().write(_append, event, size=len(event.data))

    @override
    async def deliver(self, event: StoredEvent, after: str | None = None) -> str | None:
        request = DeliveryRequest(event=event, after=after)
        return await self._opened().write(_deliver, request)

    @override
    async def publish(self, executions: Sequence[NewExecution]) -> None:
        await self._opened().write(_publish, executions)

    @override
    async def find(
        self,
        claim: Claim,
        wait: StoredWait,
        passed: Collection[str],
        left_out: Collection[str] = (),
    ) -> LogLook:
        now = wall_now(self._runtime)
        request = FindRequest(
            claim=claim, wait=wait, passed=passed, left_out=left_out, now=now
        )
        return await self._opened().read(find, request)

    @override
    async def take(
        self,
        claim: Claim,
        step_id: str,
        event_id: str,
        left_out: Collection[str] = (),
    ) -> bool:
        request = TakeRequest(
            claim=claim, step_id=step_id, event_id=event_id, left_out=left_out
        )
        return await self._opened().write(_take, request)

    @override
    async def prune(self, age: float, limit: int) -> int:
        request = PruneRequest(age=round(age * 1000), limit=limit)
        return await self._opened().write(_prune, request)

    async def sweep(self) -> None:
        """Deliver what was left pending, each page in a transaction of its own."""
        opened = self._opened()
        for row in await opened.read(pending, wall_now(self._runtime)):
            try:
                event = read_event(row)
            except UnreadableRowError as error:
                logger.warning("an event is left out: %s", error.message)
                await opened.write(_leave_out, row[0])
                continue
            await self.deliver_all(event)
