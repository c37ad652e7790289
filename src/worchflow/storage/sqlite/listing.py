"""Executions as people look for them: pages by age, counts by status."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from typing import TYPE_CHECKING, Any

from ...clock import to_milliseconds
from ...errors import InvalidInput
from ...records import ExecutionStatus, StoredPage
from .rows import EXECUTION_COLUMNS, UnreadableRowError, fetch, read_execution

if TYPE_CHECKING:
    import sqlite3

    from ...records import ExecutionQuery, StoredExecution

logger = logging.getLogger("worchflow.storage.sqlite")

_EVENTS_OF_FUNCTION = """
    SELECT event_name FROM functions
    WHERE queue_prefix = ? AND function_id = ? AND event_name <> function_id
"""
_COUNTS = "SELECT status, executions FROM status_counts WHERE queue_prefix = ?"


def page(
    connection: sqlite3.Connection, prefix: str, query: ExecutionQuery
) -> StoredPage:
    """One page, newest first; a row that cannot be read is left out and logged."""
    conditions, parameters = _conditions(connection, prefix, query)
    # With `+` only the index of ids is left to the planner: a prefix of an id selects
    # few rows, the others select many.
    by_id = "+" if query.id_prefix else ""
    rows = fetch(
        connection,
        f"SELECT {EXECUTION_COLUMNS} FROM executions "  # noqa: S608 - constants
        f"WHERE {by_id}queue_prefix = :prefix{''.join(conditions)} "
        f"ORDER BY {by_id}created_at DESC, {by_id}id DESC LIMIT :limit",
        parameters | {"prefix": prefix, "limit": query.limit + 1},
    )
    items: list[StoredExecution] = []
    for row in rows[: query.limit]:
        try:
            items.append(read_execution(row))
        except UnreadableRowError as error:
            logger.warning("%s; it is left out of the listing", error)
    cursor = None
    if len(rows) > query.limit and items:
        cursor = make_cursor(to_milliseconds(items[-1].created_at), items[-1].id)
    return StoredPage(items=items, cursor=cursor)


def counts(connection: sqlite3.Connection, prefix: str) -> dict[ExecutionStatus, int]:
    """How many executions have each status."""
    known = {status.value: status for status in ExecutionStatus}
    found = dict.fromkeys(ExecutionStatus, 0)
    for status, executions in fetch(connection, _COUNTS, (prefix,)):
        if status in known:
            found[known[status]] = executions
    return found


def read_cursor(cursor: str) -> tuple[int, str]:
    """Where a page ended, or `InvalidInput`."""
    try:
        created_at, id_ = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if type(created_at) is int and type(id_) is str:
            return created_at, id_
    except (ValueError, TypeError, RecursionError, binascii.Error):
        pass
    raise InvalidInput(
        f"cursor={cursor[:80]!r} was not made by this store: pass on the `cursor` of "
        "a page, unchanged",
        field="cursor",
    )


def make_cursor(created_at: int, id_: str) -> str:
    """Text that `read_cursor` reads."""
    where = json.dumps([created_at, id_])
    return base64.urlsafe_b64encode(where.encode()).decode()


def _conditions(
    connection: sqlite3.Connection, prefix: str, query: ExecutionQuery
) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    if query.status is not None:
        conditions.append(" AND status = :status")
        parameters["status"] = query.status.value
    if query.since is not None:
        conditions.append(" AND created_at >= :since")
        parameters["since"] = to_milliseconds(query.since)
    if query.until is not None:
        conditions.append(" AND created_at < :until")
        parameters["until"] = to_milliseconds(query.until)
    if query.id_prefix:
        conditions.append(" AND id >= :id_from AND id < :id_to")
        parameters["id_from"] = query.id_prefix
        parameters["id_to"] = f"{query.id_prefix}\U0010ffff"
    if query.cursor is not None:
        conditions.append(" AND (created_at, id) < (:created_at, :id)")
        parameters["created_at"], parameters["id"] = read_cursor(query.cursor)
    if query.function is not None:
        _add_function(connection, prefix, query.function, conditions, parameters)
    return conditions, parameters


def _add_function(
    connection: sqlite3.Connection,
    prefix: str,
    function: str,
    conditions: list[str],
    parameters: dict[str, Any],
) -> None:
    """A function id or an event name; the index is by event name."""
    served = fetch(connection, _EVENTS_OF_FUNCTION, (prefix, function))
    events = [function, *(name for (name,) in served)]
    names = [f":event{number}" for number in range(len(events))]
    parameters |= {name[1:]: event for name, event in zip(names, events, strict=True)}
    conditions.append(f" AND event_name IN ({', '.join(names)})")
    if served:
        conditions.append(" AND (event_name = :event0 OR function_id = :event0)")
