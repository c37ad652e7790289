"""What follows an end: the parent is woken, the children are cancelled.

Both belong to the transaction of the end. Of more children than one transaction may
end, the rest is left to a sweep: `has_children` of the ended one says so.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ...foundations.json_text import json_text
from ...model.children import parent_ended_reason
from ...model.notices import ExecutionUpdated
from ...model.records import ExecutionStatus
from ..contract.children import CHILDREN_PAGE
from .rows import fetch
from .waits import IS_SUSPENDED, tell_woken, waking

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

    from .rows import Row
    from .writer import Transaction

CANCELLED = """
    status = 'cancelled', due_at = NULL, run_at = NULL, not_before = NULL,
    reason = NULL, hand_ons = 0, cancel_reason = :reason, updated_at = :now,
    finished_at = :now
"""
"""What a cancellation assigns to an execution that nobody owns."""

FLAGGED = "cancel_requested = 1, cancel_reason = :reason, updated_at = :now"
"""What a cancellation assigns to one that somebody owns."""

# What ended before was followed then: a settlement may be repeated. With `+` only the
# index of ids is left to the planner, which would rather walk all of a prefix.
_ENDED_NOW = """
    SELECT seq, id, nonce, token, has_children, parent, parent_nonce FROM executions
    WHERE id IN (SELECT value FROM json_each(:ids)) AND +queue_prefix = :prefix
        AND finished_at = :now
"""

_IS_AWAITING = f"({IS_SUSPENDED} AND awaits_children)"

_LIVE_PARENTS = f"""
    SELECT seq, id, nonce, event_name, attempt_count, {_IS_AWAITING} FROM executions
    WHERE id IN (SELECT value FROM json_each(:ids)) AND +queue_prefix = :prefix
        AND finished_at IS NULL
"""  # noqa: S608 - made of constants

_WAKE = f"""
    UPDATE executions SET {waking(_IS_AWAITING)}
    WHERE seq IN (SELECT value FROM json_each(:numbers))
"""  # noqa: S608 - made of constants

_TO_CANCEL = """
    SELECT seq, id, nonce, token, has_children, owner IS NOT NULL, event_name,
        attempt_count
    FROM executions
    WHERE queue_prefix = :prefix AND parent = :parent AND parent_nonce = :nonce
        AND parent_token <= :token AND NOT leaves
        AND finished_at IS NULL AND NOT cancel_requested
    ORDER BY created_at, id LIMIT :limit
"""

_CANCEL = f"""
    UPDATE executions SET {CANCELLED}
    WHERE seq IN (SELECT value FROM json_each(:numbers))
"""  # noqa: S608 - made of constants

_FLAG = f"""
    UPDATE executions SET {FLAGGED}
    WHERE seq IN (SELECT value FROM json_each(:numbers))
"""  # noqa: S608 - made of constants

_FOLLOWED = """
    UPDATE executions SET has_children = 0
    WHERE seq IN (SELECT value FROM json_each(?))
"""

_END = "SELECT seq, id, nonce, token FROM executions WHERE id = ? AND queue_prefix = ?"

_TO_FOLLOW = """
    SELECT seq, id, nonce, token FROM executions
    WHERE queue_prefix = ? AND has_children AND finished_at IS NOT NULL
    ORDER BY finished_at LIMIT ?
"""


class End(NamedTuple):
    """An execution that has ended, and that may have children."""

    seq: int
    id: str
    nonce: str
    token: int


class ChildRow(NamedTuple):
    """A child that is to be cancelled."""

    seq: int
    id: str
    nonce: str
    token: int
    has_children: int
    is_owned: int
    event_name: str
    attempt_count: int


def follow_ends(tx: Transaction, prefix: str, ids: Collection[str]) -> None:
    """Do what follows the ends of those of these executions that ended just now."""
    values = {"ids": json_text(list(ids)), "prefix": prefix, "now": tx.now}
    ends: list[End] = []
    parents: set[tuple[str, str]] = set()
    for *end, has_children, parent, nonce in fetch(tx.connection, _ENDED_NOW, values):
        if has_children:
            ends.append(End(*end))
        if isinstance(parent, str):  # A damaged one is nobody's.
            parents.add((parent, nonce))
    if parents:
        _wake(tx, prefix, parents)
    _cancel_children(tx, prefix, ends, CHILDREN_PAGE - tx.followed)


def finish_following(tx: Transaction, prefix: str, execution_id: str) -> None:
    """Cancel all children that are left of an execution that has ended."""
    (row,) = fetch(tx.connection, _END, (execution_id, prefix))
    # Those that were inserted late too, after nothing was left.
    ends = [End(*row)]
    while _cancel_children(tx, prefix, ends, CHILDREN_PAGE):
        pass


def follow_left(tx: Transaction, prefix: str, _: None) -> bool:
    """Cancel a page of the children that ends have left; whether there may be more."""
    ends = [End(*row) for row in _to_follow(tx.connection, prefix, CHILDREN_PAGE)]
    is_cut = _cancel_children(tx, prefix, ends, CHILDREN_PAGE - tx.followed)
    return is_cut or len(ends) == CHILDREN_PAGE


def is_left(connection: sqlite3.Connection, prefix: str, _: None) -> bool:
    """Whether there are ended executions whose children are left to be cancelled."""
    return bool(_to_follow(connection, prefix, 1))


def _to_follow(
    connection: sqlite3.Connection, prefix: str, limit: int
) -> Sequence[Row]:
    return fetch(connection, _TO_FOLLOW, (prefix, limit))


def _wake(tx: Transaction, prefix: str, parents: Collection[tuple[str, str]]) -> None:
    """Wake parents by their ids and nonces: an id may have been given anew."""
    ids = json_text([id_ for id_, _ in parents])
    found = fetch(tx.connection, _LIVE_PARENTS, {"ids": ids, "prefix": prefix})
    live = [row for row in found if (row[1], row[2]) in parents]
    if not live:
        return
    numbers = json_text([row[0] for row in live])
    tx.connection.execute(_WAKE, {"numbers": numbers, "now": tx.now})
    queued = [
        (id_, event, failed) for _, id_, _, event, failed, awaits in live if awaits
    ]
    tell_woken(tx, prefix, queued, [id_ for _, id_, *_, awaits in live if not awaits])


def _cancel_children(
    tx: Transaction, prefix: str, ends: Iterable[End], limit: int
) -> bool:
    """Cancel so many children, and the children of these; whether some may be left."""
    waiting = deque(ends)
    followed: list[int] = []
    while waiting and limit > 0:
        end = waiting[0]
        page = _children_of(tx, prefix, end, limit)
        waiting += _cancel(tx, prefix, end, page)
        tx.followed += len(page)
        if len(page) < limit:
            followed.append(waiting.popleft().seq)
        limit -= len(page)
    if followed:
        tx.connection.execute(_FOLLOWED, (json_text(followed),))
    return bool(waiting)


def _children_of(
    tx: Transaction, prefix: str, end: End, limit: int
) -> Sequence[ChildRow]:
    values = {
        "prefix": prefix,
        "parent": end.id,
        "nonce": end.nonce,
        "token": end.token,
        "limit": limit,
    }
    return [ChildRow(*row) for row in fetch(tx.connection, _TO_CANCEL, values)]


def _cancel(
    tx: Transaction, prefix: str, parent: End, page: Sequence[ChildRow]
) -> list[End]:
    """End children, or flag those that somebody owns; those that have children too."""
    reason = parent_ended_reason(parent.id)
    for statement, is_owned in ((_CANCEL, False), (_FLAG, True)):
        numbers = [child.seq for child in page if bool(child.is_owned) is is_owned]
        if numbers:
            values = {"numbers": json_text(numbers), "reason": reason, "now": tx.now}
            tx.connection.execute(statement, values)
    ends: list[End] = []
    for child in page:
        if child.is_owned:
            tx.hints.cancelled.add((prefix, child.id))
            continue
        tx.hints.tell(prefix, partial(_notice, child))
        if child.has_children:
            ends.append(End(child.seq, child.id, child.nonce, child.token))
    return ends


def _notice(child: ChildRow) -> ExecutionUpdated:
    return ExecutionUpdated(
        execution_id=child.id,
        event_name=child.event_name,
        attempt=child.attempt_count + 1,
        status=ExecutionStatus.CANCELLED,
    )
