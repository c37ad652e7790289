"""Pages of executions by age."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from typing_extensions import override

from ...foundations.milliseconds import to_milliseconds
from ...model.records import ExecutionStatus, StoredPage
from ..contract.cursors import make_cursor, not_a_cursor, read_cursor
from ..contract.listing import ListingStore
from ..contract.page_size import PageSize
from .rows import (
    EXECUTION_COLUMNS,
    ExecutionRow,
    UnreadableRowError,
    fetch,
    one_of,
    read_execution,
    read_rows,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from ...model.records import ExecutionQuery, StoredExecution
    from .loop_binding import Opened
    from .rows import Row

logger = logging.getLogger("worchflow.storage.sqlite")

MAX_WALKED = 10_000
"""So many index entries one page walks past at most, where a filter has no index of
its own. With fewer items found by then, the page is short and its cursor continues."""
MAX_IDS_LOOKED_UP = 1000
"""Up to so many ids with a beginning are looked up; more of them are met anyway."""
MAX_MOMENT = 2**63 - 1
"""The last moment there can be. SQLite puts text and bytes after every number."""
BY_STATUS = "executions INDEXED BY executions_by_status"
BY_EVENT = "executions INDEXED BY executions_by_event"
BY_PARENT = "executions INDEXED BY executions_by_parent"
TAGGED = "tag = :tag"
HAS_TAG = """
    EXISTS (SELECT 1 FROM json_each(executions.tags) WHERE value = :tag)
"""
MOSTLY = frozenset({ExecutionStatus.COMPLETED})
"""Statuses that, alone, tell less than an event's name does."""

LEFT_OUT = {
    "event_data": "'null'",
    "result": "NULL",
    "attempts": "NULL",
    "done_by": "NULL",
}
WITHOUT_PAYLOADS = ", ".join(LEFT_OUT.get(each, each) for each in ExecutionRow._fields)
Place: TypeAlias = tuple[float, str | bytes]
"""Creation time and id of a row; damaged ids may be bytes that are no text."""

_EVENTS_OF_FUNCTION = """
    SELECT event_name FROM functions
    WHERE queue_prefix = ? AND function_id = ? AND event_name <> function_id
"""
_HAS_FEW = """
    SELECT count(*) FROM (
        SELECT 1 FROM executions WHERE id >= ? AND id < ? LIMIT ?
    )
"""


@dataclass(kw_only=True, slots=True)
class Search:
    """A query as conditions: those that an index answers, and those that are left."""

    walked: str = "executions INDEXED BY executions_created"
    """The entries in the order of the listing; empty: all of the ids are looked at."""
    found: list[str] = field(default_factory=lambda: ["queue_prefix = :prefix"])
    filtered: list[str] = field(default_factory=list[str])
    branches: list[str] = field(default_factory=list[str])
    """One of these has to hold as well, each along the index for itself."""
    values: dict[str, Any] = field(default_factory=dict[str, Any])

    def look_at_ids(self) -> None:
        """Walk along no index but that of the ids."""
        self.walked = ""
        self.found = [HAS_TAG if each == TAGGED else each for each in self.found]


def page(
    connection: sqlite3.Connection, prefix: str, query: ExecutionQuery
) -> StoredPage:
    """One page, newest first; a row that cannot be read is left out and logged.

    The cursor tells whether the listing continues, not the number of items: a page of
    unreadable rows is empty and has one. A row whose creation time is not a number has
    no place in the order and is not listed.
    """
    search = _search(connection, prefix, query)

    def read(rows: Iterable[Row]) -> tuple[list[StoredExecution], Place | None]:
        return _filled(rows, query.limit)

    items, following = read_rows(
        connection,
        _statement(search, payloads=query.payloads),
        search.values,
        read,
    )
    if following is None and search.filtered and search.walked:
        following = _last_walked(connection, search)
    cursor = None if following is None else cursor_of(*following)
    return StoredPage(items=items, cursor=cursor)


def _filled(
    rows: Iterable[Row], limit: int
) -> tuple[list[StoredExecution], Place | None]:
    """What fits on a page, and its last place if there is more."""
    size, last = PageSize(limit), None
    items: list[StoredExecution] = []
    for row in rows:
        if size.is_reached:
            return items, last
        columns = ExecutionRow._make(row)
        last = (columns.created_at, columns.id)
        execution = None
        try:
            execution = read_execution(columns)
            items.append(execution)
        except UnreadableRowError as error:
            logger.warning("%s; it is left out of the listing", error)
        size.add(execution)
    return items, None


def place_of(cursor: str) -> tuple[float, bytes]:
    """Where a page ended, or `InvalidInput`; the id as its bytes."""
    match read_cursor(cursor):
        case [created_at, str(id_)] if _is_moment(created_at):
            try:
                return created_at, id_.encode(errors="surrogateescape")
            except UnicodeEncodeError:
                raise not_a_cursor(cursor) from None
        case _:
            raise not_a_cursor(cursor)


def cursor_of(created_at: float, id_: str | bytes) -> str:
    """The cursor behind a row; damaged ids may be bytes that are not text."""
    text = id_.decode(errors="surrogateescape") if isinstance(id_, bytes) else id_
    return make_cursor([created_at, text])


def _is_moment(value: object) -> bool:
    """Whether it is a number that SQLite keeps and compares."""
    if type(value) is float:
        return not math.isnan(value)
    return type(value) is int and -MAX_MOMENT <= value <= MAX_MOMENT


def _search(
    connection: sqlite3.Connection, prefix: str, query: ExecutionQuery
) -> Search:
    search = Search(values={"prefix": prefix, "limit": query.limit + 1})
    _add_times(search, query)
    if query.parent is not None:
        search.values["parent"] = query.parent
        if query.tag is not None:
            search.values["tag"] = query.tag
            search.filtered.append(HAS_TAG)
        _add_entries(connection, search, query, BY_PARENT, "parent = :parent")
    elif query.tag is not None:
        search.values["tag"] = query.tag
        _add_entries(connection, search, query, "tags", TAGGED)
    else:
        _add_function_and_status(connection, search, query)
    if query.id_prefix:
        ids = (query.id_prefix, f"{query.id_prefix}\U0010ffff")
        search.values["id_from"], search.values["id_to"] = ids
        search.filtered.append("id >= :id_from AND id < :id_to")
        if (
            fetch(connection, _HAS_FEW, (*ids, MAX_IDS_LOOKED_UP))[0][0]
            < MAX_IDS_LOOKED_UP
        ):
            search.look_at_ids()
    return search


def _add_times(search: Search, query: ExecutionQuery) -> None:
    if query.since is not None:
        search.found.append("created_at >= :since")
        search.values["since"] = to_milliseconds(query.since)
    if query.until is not None:
        search.found.append("created_at < :until")
        search.values["until"] = to_milliseconds(query.until)
    if query.until is None and query.cursor is None:
        search.found.append("created_at <= :latest")
        search.values["latest"] = MAX_MOMENT
    if query.cursor is not None:
        # Bytes cast to text are behind the same bytes, whether these are text or not.
        search.found.append("(created_at, id) < (:created_at, CAST(:id AS TEXT))")
        search.values["created_at"], search.values["id"] = place_of(query.cursor)


def _add_function_and_status(
    connection: sqlite3.Connection, search: Search, query: ExecutionQuery
) -> None:
    """The index by status or that by event; what is left is looked at on the way."""
    names: list[str] = []
    if query.function is not None:
        names = _add_events(connection, search, query.function)
    if names and query.statuses <= MOSTLY:
        search.walked = BY_EVENT
        search.branches = [f"event_name = :{name}" for name in names]
        _add_statuses(search, query)
    elif query.statuses:
        search.walked = BY_STATUS
        search.branches = [one_of([each]) for each in sorted(query.statuses)]
        if names:
            search.filtered.append(_one_of(names))


def _add_entries(
    connection: sqlite3.Connection,
    search: Search,
    query: ExecutionQuery,
    walked: str,
    found: str,
) -> None:
    """The entries of an index; everything else is looked at on the way."""
    search.walked = walked
    search.found.append(found)
    _add_statuses(search, query)
    if query.function is not None:
        names = _add_events(connection, search, query.function)
        search.filtered.append(_one_of(names))


def _add_statuses(search: Search, query: ExecutionQuery) -> None:
    """What is left to be looked at on the way."""
    if query.statuses:
        search.filtered.append(one_of(query.statuses))


def _add_events(
    connection: sqlite3.Connection, search: Search, function: str
) -> list[str]:
    """The names of the values that hold the events of a function."""
    served = fetch(connection, _EVENTS_OF_FUNCTION, (search.values["prefix"], function))
    events = [function, *(name for (name,) in served)]
    names = [f"event{number}" for number in range(len(events))]
    search.values |= dict(zip(names, events, strict=True))
    if served:
        search.filtered.append("(event_name = :event0 OR function_id = :event0)")
    return names


def _one_of(names: list[str]) -> str:
    return f"event_name IN ({', '.join(f':{name}' for name in names)})"


def _statement(search: Search, *, payloads: bool = True) -> str:
    """The rows of a page and one more."""
    columns = EXECUTION_COLUMNS if payloads else WITHOUT_PAYLOADS
    if not search.walked:
        # With `+` only the index of ids is left to the planner.
        conditions = [*search.found, *search.filtered, *_alternatives(search)]
        return (
            f"SELECT {columns} FROM executions "  # noqa: S608 - constants
            f"WHERE +{' AND '.join(conditions)} "
            "ORDER BY +created_at DESC, +id DESC LIMIT :limit"
        )
    # The walk is in order already, and ends as soon as there is enough.
    walked = _walked(search, "seq AS place, created_at AS created, id AS name")
    filtered = " AND ".join(search.filtered) or "true"
    return (
        f"SELECT {columns} FROM ({walked}) "  # noqa: S608 - constants
        f"CROSS JOIN executions ON seq = place WHERE {filtered} LIMIT :limit"
    )


def _alternatives(search: Search) -> list[str]:
    return [f"({' OR '.join(search.branches)})"] if search.branches else []


def _walked(search: Search, columns: str) -> str:
    """The entries of the index in order, at most `MAX_WALKED`; events are merged."""
    branches = [
        f"SELECT {columns} FROM {search.walked} "  # noqa: S608 - constants
        f"WHERE {' AND '.join([*search.found, branch])}"
        for branch in search.branches or ["true"]
    ]
    return f"{' UNION ALL '.join(branches)} ORDER BY 2 DESC, 3 DESC LIMIT {MAX_WALKED}"


def _last_walked(
    connection: sqlite3.Connection, search: Search
) -> tuple[float, str | bytes] | None:
    """Where a walk that was cut short has ended."""
    walked = _walked(search, "seq, created_at, id")
    rows = fetch(connection, f"{walked} OFFSET {MAX_WALKED - 1}", search.values)
    return rows[0][1:] if rows else None


class Listing(ListingStore):
    """The pages of one backend."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @override
    async def page(self, query: ExecutionQuery) -> StoredPage:
        return await self._opened().read(page, query)
