"""Executions that others have started, and which claims may have started some."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ...foundations.json_text import json_text
from ...model.children import Child
from ...model.settlement import ClaimKey
from ..contract.children import CHILDREN_PAGE, ChildStore
from .executions import ALONE, get, retry
from .rows import ExecutionRow, UnreadableRowError, fetch, read_execution
from .writer import one_by_one

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ...model.records import Claim, Parent, StoredExecution
    from .loop_binding import Opened
    from .writer import Transaction


logger = logging.getLogger("worchflow.storage.sqlite")

# What a parent does not ask for may be large.
_UNREAD = {
    "event_data": "'null'",
    "headers": "NULL",
    "tags": "NULL",
    "attempts": "NULL",
}
_READ = ", ".join(_UNREAD.get(each, each) for each in ExecutionRow._fields)

_IS_HELD = """
    id = :id AND queue_prefix = :prefix AND nonce = :nonce AND owner = :worker
        AND token = :token
"""

_ANNOUNCE = f"UPDATE executions SET has_children = 1 WHERE {_IS_HELD}"  # noqa: S608

_HELD = f"SELECT 1 FROM executions WHERE {_IS_HELD}"  # noqa: S608

# With `+` only the index of ids is left to the planner.
_FIND = f"""
    SELECT {_READ} FROM executions
    WHERE id IN (SELECT value FROM json_each(?)) AND +queue_prefix = ?
        AND parent IS NOT NULL
"""  # noqa: S608 - made of constants

_FIND_ENDED = f"{_FIND} AND finished_at IS NOT NULL"

_STARTED_UNDER = f"""
    UPDATE executions SET parent_token = ?, leaves = iif(leaves = {ALONE}, 0, leaves)
    WHERE id = ? AND queue_prefix = ?
"""  # noqa: S608 - made of constants


@dataclass(frozen=True, kw_only=True, slots=True)
class FindRequest:
    """Which children are looked for: all of these, or those that have ended."""

    ids: Sequence[str]
    only_ended: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryRequest:
    """A child to queue again under a claim of its parent."""

    claim: Claim
    child_id: str


def announce(tx: Transaction, prefix: str, claim: Claim) -> bool:
    """Write down that an execution may have children; whether the claim is held."""
    return tx.connection.execute(_ANNOUNCE, _this(prefix, claim)).rowcount == 1


def find(
    connection: sqlite3.Connection, prefix: str, request: FindRequest
) -> dict[str, Child]:
    """Children by their ids."""
    statement = _FIND_ENDED if request.only_ended else _FIND
    rows = fetch(connection, statement, (json_text(list(request.ids)), prefix))
    found: dict[str, Child] = {}
    for row in rows:
        try:
            execution = read_execution(row)
        except UnreadableRowError as error:
            logger.warning("%s; it is left out", error)
            continue
        if execution.parent is not None:
            found[execution.id] = _child(execution, execution.parent)
    return found


def retry_child(tx: Transaction, prefix: str, request: RetryRequest) -> bool:
    """Take a child of an earlier life into the present one; whether it is queued."""
    execution = request.claim.execution
    child = get(tx.connection, prefix, request.child_id)
    if (
        child is None
        or child.parent is None
        or (child.parent.id, child.parent.nonce) != (execution.id, execution.nonce)
        or child.parent.token >= execution.retry_token
        or not _is_held(tx, prefix, request.claim)
    ):
        return False
    _, is_queued = retry(tx, prefix, request.child_id)
    if is_queued or not (child.status.is_terminal or child.cancel_requested):
        this = (request.claim.token, request.child_id, prefix)
        tx.connection.execute(_STARTED_UNDER, this)
    return is_queued


def _child(execution: StoredExecution, parent: Parent) -> Child:
    has_ended = execution.status.is_terminal
    return Child(
        id=execution.id,
        status=execution.status,
        token=parent.token,
        result=execution.result if has_ended else None,
        error=execution.error if has_ended else None,
        cancel_reason=execution.cancel_reason,
    )


def _is_held(tx: Transaction, prefix: str, claim: Claim) -> bool:
    found: Any = tx.connection.execute(_HELD, _this(prefix, claim)).fetchone()
    return found is not None


def _this(prefix: str, claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.execution.id,
        "prefix": prefix,
        "nonce": claim.execution.nonce,
        "worker": claim.worker_id,
        "token": claim.token,
    }


_announce = one_by_one(announce)
_retry = one_by_one(retry_child)


class Children(ChildStore):
    """The children of one backend.

    It remembers which claims have announced theirs, so that settling one knows without
    a look whether children may have to be cancelled.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._announced: dict[ClaimKey, bool] = {}
        """Claims that announced children, and whether that is known to be written."""

    # -- what the other parts ask

    def may_have(self, claim: Claim) -> bool:
        """Whether a claim's execution may have children."""
        return claim.execution.has_children or (
            bool(self._announced) and ClaimKey.of(claim) in self._announced
        )

    def forget(self, claim: Claim) -> None:
        """A claim was settled, or is lost."""
        if self._announced:
            self._announced.pop(ClaimKey.of(claim), None)

    def forget_worker(self, worker_id: str) -> None:
        """A worker is gone."""
        if self._announced:
            self._announced = {
                key: is_written
                for key, is_written in self._announced.items()
                if key.worker_id != worker_id
            }

    def forget_all(self) -> None:
        """Keep nothing, as after closing."""
        self._announced = {}

    # -- the contract

    @override
    async def announce(self, claim: Claim) -> bool:
        key = ClaimKey.of(claim)
        if claim.execution.has_children or self._announced.get(key):
            return True
        # Before it is known to be written: it may be.
        self._announced[key] = False
        is_held = await self._opened().write(_announce, claim)
        if is_held:
            self._announced[key] = True
        else:
            self.forget(claim)
        return is_held

    @override
    async def find(
        self, ids: Sequence[str], *, only_ended: bool = False
    ) -> dict[str, Child]:
        found: dict[str, Child] = {}
        for start in range(0, len(ids), CHILDREN_PAGE):
            page = ids[start : start + CHILDREN_PAGE]
            request = FindRequest(ids=page, only_ended=only_ended)
            found |= await self._opened().read(find, request)
        return found

    @override
    async def retry(self, claim: Claim, child_id: str) -> bool:
        # An earlier release that retried the parent has left no word of its children.
        if not await self.announce(claim):
            return False
        request = RetryRequest(claim=claim, child_id=child_id)
        return await self._opened().write(_retry, request)
