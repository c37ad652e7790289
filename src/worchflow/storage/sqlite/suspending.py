"""Suspending an execution: it leaves its worker until it is woken or due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.records import ExecutionStatus
from ...model.settlement import Settled, claim_mark
from .rows import milliseconds_or_none
from .settling import Ending, SuspendRequest, follow, look, tell
from .times import due_after, due_at
from .writer import one_by_one

if TYPE_CHECKING:
    from ...model.settlement import Suspended
    from .writer import Transaction

_WAKEUPS = """
    SELECT wakeups FROM executions
    WHERE id = ? AND queue_prefix = ? AND owner = ? AND token = ?
        AND NOT cancel_requested
"""

_SUSPEND = """
    UPDATE executions SET status = :status, owner = NULL, due_at = :due_at,
        run_at = :run_at, not_before = :not_before, reason = :reason, deaths = 0,
        updated_at = :now, done_by = :mark, attempt_started_at = :started_at,
        awaits_children = :awaits_children
    WHERE id = :id
"""


def _suspend(tx: Transaction, prefix: str, request: SuspendRequest) -> Settled:
    """Suspend what the claim still holds; queue it if it was woken since it looked."""
    claim, settlement = request.claim, request.settlement
    id_, mark = claim.execution.id, claim_mark(claim)
    held = (id_, prefix, claim.worker_id, claim.token)
    row = tx.connection.execute(_WAKEUPS, held).fetchone()
    if row is None:
        end = Ending(status=settlement.status)
        settled = look(tx, prefix, request, end)
        follow(tx, prefix, [request], [settled])
    else:
        not_before = None
        if settlement.pause > 0:
            not_before = due_after(tx.now, settlement.pause)
        end = _ending(settlement, row[0], not_before, tx.now)
        values = {
            "id": id_,
            "status": end.status.value,
            "due_at": end.due_at,
            "run_at": end.run_at,
            "not_before": not_before,
            "reason": end.reason,
            "now": tx.now,
            "started_at": milliseconds_or_none(settlement.started_at),
            "mark": mark,
            "awaits_children": settlement.awaits_children
            and end.status is settlement.status,
        }
        tx.connection.execute(_SUSPEND, values)
        settled = Settled(applied=True, status=end.status)
    # What was woken is told by the store: `notice` is about what was asked for.
    tell(tx, prefix, request, Ending(status=settlement.status), settled)
    if end.due_at is not None:
        tx.hints.work.add((prefix, claim.execution.event_name))
    return settled


def _ending(
    settlement: Suspended, woken: int, not_before: int | None, now: int
) -> Ending:
    if woken != settlement.wakeups:
        due = not_before or now
        return Ending(status=ExecutionStatus.QUEUED, due_at=due, run_at=not_before)
    due_at_ = None
    if settlement.until is not None:
        due_at_ = max(due_at(settlement.until), not_before or 0)
    return Ending(
        status=settlement.status,
        due_at=due_at_,
        run_at=due_at_,
        reason=settlement.reason,
    )


suspend = one_by_one(_suspend)
