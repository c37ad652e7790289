"""Which executions a listing is about, checked before a store is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..foundations.durations import to_utc
from ..foundations.errors import InvalidInput
from ..foundations.limits import check_cursor, check_name
from ..model.records import ExecutionQuery, ExecutionStatus

if TYPE_CHECKING:
    from datetime import datetime

LONGEST_PAGE = 200


def checked_query(  # noqa: PLR0913, PLR0917  # what `client.list` takes, in order
    status: ExecutionStatus | str | None,
    function: str | None,
    since: datetime | None,
    until: datetime | None,
    id_prefix: str | None,
    cursor: str | None,
    limit: int,
    payloads: bool,  # noqa: FBT001
) -> ExecutionQuery:
    """The query that `client.list` was called with; an error names what is wrong."""
    if type(limit) is not int or not 1 <= limit <= LONGEST_PAGE:
        raise InvalidInput(
            f"limit={limit!r} must be a whole number from 1 to {LONGEST_PAGE}",
            field="limit",
        )
    if type(payloads) is not bool:
        raise InvalidInput(
            f"payloads={payloads!r} must be True or False", field="payloads"
        )
    return ExecutionQuery(
        status=None if status is None else checked_status(status),
        function=None if function is None else check_name(function, "function"),
        since=None if since is None else to_utc(since, "since"),
        until=None if until is None else to_utc(until, "until"),
        id_prefix=id_prefix,
        cursor=None if cursor is None else check_cursor(cursor),
        limit=limit,
        payloads=payloads,
    )


def checked_status(value: str) -> ExecutionStatus:
    """The status of this name; `InvalidInput` for any other word."""
    try:
        return ExecutionStatus(value)
    except ValueError:
        raise InvalidInput(
            f"status={value!r} is no status; there are: "
            + ", ".join(status.value for status in ExecutionStatus),
            field="status",
        ) from None
