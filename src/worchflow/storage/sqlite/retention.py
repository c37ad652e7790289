"""Removing executions that ended long ago, with everything recorded for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from ...foundations.json_text import json_text
from ..contract.retention import RetentionStore
from .writer import one_by_one

if TYPE_CHECKING:
    from ...model.records import ExecutionStatus
    from .loop_binding import Opened
    from .writer import Transaction

# What has children still has to cancel some; a parent may ask for a child, once it is
# retried maybe.
_ENDED = """
    SELECT seq FROM executions
    WHERE queue_prefix = :prefix AND status = :status AND finished_at < :before
        AND NOT has_children
        AND (parent IS NULL OR NOT EXISTS (
            SELECT 1 FROM executions AS above
            WHERE above.id = executions.parent AND above.queue_prefix = :prefix
                AND above.nonce = executions.parent_nonce
                AND above.status != 'completed'
        ))
    ORDER BY finished_at LIMIT :limit
"""

_FORGET_STEPS = """
    DELETE FROM steps WHERE execution IN (SELECT value FROM json_each(?))
"""

_FORGET = "DELETE FROM executions WHERE seq IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneRequest:
    """Which executions to remove: `age` is in milliseconds."""

    status: ExecutionStatus
    age: int
    limit: int


def prune(tx: Transaction, prefix: str, request: PruneRequest) -> int:
    """Remove executions and their steps in one transaction; how many executions."""
    values = {
        "prefix": prefix,
        "status": request.status.value,
        "before": tx.now - request.age,
        "limit": request.limit,
    }
    ended = [seq for (seq,) in tx.connection.execute(_ENDED, values)]
    if ended:
        numbers = (json_text(ended),)
        tx.connection.execute(_FORGET_STEPS, numbers)
        tx.connection.execute(_FORGET, numbers)
    return len(ended)


_prune = one_by_one(prune)


class Retention(RetentionStore):
    """The removal of what has ended in one backend, in one transaction a call."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @override
    async def prune(self, status: ExecutionStatus, age: float, limit: int) -> int:
        request = PruneRequest(status=status, age=round(age * 1000), limit=limit)
        return await self._opened().write(_prune, request)
