"""Removing executions that ended long ago, with everything recorded for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from ...foundations.json_text import json_text
from ..contract.retention import RetentionStore
from .writer import one_by_one

if TYPE_CHECKING:
    from ...model.records import ExecutionStatus
    from .loop_binding import Opened
    from .writer import Transaction

PAGE, MAX_KEPT_PAGES = 1000, 20
"""Executions that are looked at together, and pages without one to remove of a call."""

# What has children still has to cancel some; a parent may ask for a child, once it is
# retried maybe.
_ENDED = """
    SELECT seq, finished_at, has_children OR parent IS NOT NULL AND EXISTS (
        SELECT 1 FROM executions AS above
        WHERE above.id = executions.parent AND above.queue_prefix = :prefix
            AND above.nonce = executions.parent_nonce
            AND above.status != 'completed'
    )
    FROM executions
    WHERE queue_prefix = :prefix AND status = :status AND finished_at < :before
        AND (finished_at, seq) > (:finished_at, :seq)
    ORDER BY finished_at, seq LIMIT :page
"""

_FORGET_STEPS = """
    DELETE FROM steps WHERE execution IN (SELECT value FROM json_each(?))
"""

_FORGET = "DELETE FROM executions WHERE seq IN (SELECT value FROM json_each(?))"


class Position(NamedTuple):
    """An execution in the order of the ends."""

    finished_at: int
    seq: int


FIRST = Position(0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneRequest:
    """Which executions to remove: `age` is in milliseconds."""

    status: ExecutionStatus
    age: int
    limit: int
    behind: Position = FIRST


def prune(tx: Transaction, prefix: str, request: PruneRequest) -> tuple[int, Position]:
    """Remove executions and their steps in one transaction.

    Returns how many, and behind which the next call looks: those before it are kept.
    """
    behind = request.behind
    values = {
        "prefix": prefix,
        "status": request.status.value,
        "before": tx.now - request.age,
        "page": PAGE,
    }
    for _ in range(MAX_KEPT_PAGES):
        position = behind._asdict()
        page = tx.connection.execute(_ENDED, values | position).fetchall()
        gone = [seq for seq, _, is_kept in page if not is_kept][: request.limit]
        if gone:
            numbers = (json_text(gone),)
            tx.connection.execute(_FORGET_STEPS, numbers)
            tx.connection.execute(_FORGET, numbers)
            return len(gone), behind
        if len(page) < PAGE:
            return 0, FIRST
        seq, finished_at, _ = page[-1]
        behind = Position(finished_at, seq)
    return 0, behind


_prune = one_by_one(prune)


class Retention(RetentionStore):
    """The removal of what has ended in one backend, in one transaction a call.

    Children whose parents may ask for them are kept: it is looked behind them, and the
    next call continues there.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._behind: dict[ExecutionStatus, Position] = {}

    @override
    async def prune(self, status: ExecutionStatus, age: float, limit: int) -> int:
        behind = self._behind.get(status, FIRST)
        request = PruneRequest(
            status=status, age=round(age * 1000), limit=limit, behind=behind
        )
        removed, self._behind[status] = await self._opened().write(_prune, request)
        return removed
