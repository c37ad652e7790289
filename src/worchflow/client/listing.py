"""Which executions a listing is about, checked before a store is asked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

from ..foundations.durations import to_utc
from ..foundations.errors import InvalidInput
from ..foundations.limits import check_cursor, check_id_of_others, check_name
from ..foundations.suggestions import refuse_unknown
from ..model.records import ExecutionQuery, ExecutionStatus, Page
from ..serialization.decoding import decode_executions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ..model.records import Execution
    from ..serialization.payloads import Payloads
    from .connection import Connection

T = TypeVar("T")
R = TypeVar("R")

MAX_PAGE = 200


class ListFilters(TypedDict, total=False):
    """Which executions `client.list` lists, and how many."""

    status: ExecutionStatus | str | Iterable[ExecutionStatus | str] | None
    """One, or any of several."""
    function: str | None
    """A function's id or an event's name."""
    tag: str | None
    parent: str | None
    """The id of the execution whose children are listed."""
    since: datetime | None
    """Created then or later."""
    until: datetime | None
    """Created before then."""
    id_prefix: str | None
    cursor: str | None
    """That of the page before."""
    limit: int
    payloads: bool


async def read_page(
    connection: Connection, filters: ListFilters, payloads: Payloads
) -> Page[Execution]:
    """The page that `client.list` was called for."""
    page = await connection.page(checked_query(filters))
    items = decode_executions(page.items, payloads)
    return Page(items=items, cursor=page.cursor)


def checked_query(filters: ListFilters) -> ExecutionQuery:
    """The query that `client.list` was called with; an error names what is wrong."""
    refuse_unknown(filters, ListFilters.__optional_keys__, "list")
    limit, payloads = filters.get("limit", 50), filters.get("payloads", True)
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(
            f"limit={limit!r} must be a whole number from 1 to {MAX_PAGE}",
            field="limit",
        )
    if type(payloads) is not bool:
        raise InvalidInput(
            f"payloads={payloads!r} must be True or False", field="payloads"
        )
    return ExecutionQuery(
        statuses=checked_statuses(filters.get("status")),
        function=_checked(
            filters.get("function"), partial(check_name, field="function")
        ),
        tag=_checked(filters.get("tag"), partial(check_name, field="tag")),
        parent=_checked(
            filters.get("parent"), partial(check_id_of_others, field="parent")
        ),
        since=_checked(filters.get("since"), partial(to_utc, field="since")),
        until=_checked(filters.get("until"), partial(to_utc, field="until")),
        id_prefix=filters.get("id_prefix"),
        cursor=_checked(filters.get("cursor"), check_cursor),
        limit=limit,
        payloads=payloads,
    )


def _checked(value: T | None, check: Callable[[T], R]) -> R | None:
    return None if value is None else check(value)


def checked_statuses(
    value: ExecutionStatus | str | Iterable[ExecutionStatus | str] | None,
) -> frozenset[ExecutionStatus]:
    """The statuses of these names; none for None. `InvalidInput` for other words."""
    if value is None:
        return frozenset()
    several = not isinstance(value, str) and isinstance(value, Iterable)
    names = tuple(value) if several else (value,)
    if not names:
        raise InvalidInput(
            "status is an empty list: name some, or leave it out for all",
            field="status",
        )
    return frozenset(checked_status(each) for each in names)


def checked_status(value: object) -> ExecutionStatus:
    """The status of this name; `InvalidInput` for any other word."""
    try:
        return ExecutionStatus(cast("str", value))
    except ValueError:
        raise InvalidInput(
            f"status={value!r} is not a status; there are: "
            + ", ".join(status.value for status in ExecutionStatus),
            field="status",
        ) from None
