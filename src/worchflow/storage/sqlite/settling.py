"""Releasing an execution: one compare-and-set on worker and token."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...foundations.types import value
from ...model.records import ExecutionStatus
from ...model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Settled,
    attempts_after,
    claim_mark,
)
from .attempts import attempts_text
from .bulk import execute_rows, named_rows
from .executions import tell_status
from .following import follow_ends
from .hints import itself
from .rows import error_row
from .times import due_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.notices import Notice
    from ...model.records import Claim, ErrorInfo
    from ...model.settlement import EndOfAttempt, Suspended
    from .writer import Transaction


class SettlementRow(NamedTuple):
    """What a settlement writes of an execution."""

    id: str
    owner: str
    token: int
    status: str
    due_at: int | None
    run_at: int | None
    reason: str | None
    result: str | None
    error_type: str | None
    error_message: str | None
    error_traceback: str | None
    error_step: str | None
    failed_attempts: int
    finished_at: int | None
    cancel_reason: str | None
    done_by: str
    attempts: str | None


_ERROR = ", ".join(
    f"{each} = CASE v.status WHEN 'queued' THEN executions.{each} ELSE v.{each} END"
    for each in ("error_type", "error_message", "error_traceback", "error_step")
)

# A flagged execution is left to `_SETTLE_FLAGGED` unless it ends anyway.
_SETTLE = f"""
    UPDATE executions SET status = v.status, owner = NULL, due_at = v.due_at,
        run_at = v.run_at, reason = v.reason, result = v.result, {_ERROR},
        attempt_count = attempt_count + v.failed_attempts, finished_at = v.finished_at,
        cancel_reason = CASE v.status WHEN 'cancelled'
            THEN coalesce(v.cancel_reason, executions.cancel_reason) END,
        cancel_requested = 0, updated_at = {{now}}, done_by = v.done_by,
        attempts = coalesce(v.attempts, executions.attempts),
        attempt_started_at = CASE v.status WHEN 'queued'
            THEN executions.attempt_started_at END
    FROM {named_rows(SettlementRow._fields)} AS v
    WHERE executions.id = v.id AND executions.owner = v.owner
        AND executions.token = v.token AND executions.queue_prefix = {{prefix}}
        AND (v.finished_at IS NOT NULL OR NOT executions.cancel_requested)
"""  # noqa: S608 - made of constants

_SETTLE_FLAGGED = """
    UPDATE executions SET status = 'cancelled', owner = NULL, cancel_requested = 0,
        attempt_count = attempt_count + :failed, reason = NULL, updated_at = :now,
        finished_at = :now, done_by = :mark, attempts = coalesce(:attempts, attempts)
    WHERE id = :id AND queue_prefix = :prefix AND owner = :worker AND token = :token
        AND cancel_requested
"""

_NOW = """
    SELECT status, done_by, attempt_count FROM executions
    WHERE id = ? AND queue_prefix = ?
"""


@value
class SettleRequest:
    """One settlement of one claim."""

    claim: Claim
    settlement: EndOfAttempt | Released
    notice: Notice | None
    is_followed: bool = False
    """Whether it has a parent, or may have children, which are told of its end."""


@value
class SuspendRequest:
    """One suspension of one claim."""

    claim: Claim
    settlement: Suspended
    notice: Notice | None
    is_followed: bool = False
    """As for a `SettleRequest`: what somebody has cancelled ends instead."""


@value
class Ending:
    """What a settlement makes of an execution."""

    status: ExecutionStatus
    due_at: int | None = None
    run_at: int | None = None
    reason: str | None = None
    result: str | None = None
    error: ErrorInfo | None = None
    failed_attempts: int = 0
    cancel_reason: str | None = None


def settle(
    tx: Transaction, prefix: str, requests: Sequence[SettleRequest]
) -> list[Settled]:
    """Settle claims; one that is no longer held changes nothing."""
    endings = [ending(request.settlement, tx.now) for request in requests]
    rows = [_row(*pair, tx.now) for pair in zip(requests, endings, strict=True)]
    same = {"prefix": prefix, "now": tx.now}
    if execute_rows(tx.connection, _SETTLE, rows, same) == len(rows):
        settled = [Settled(applied=True, status=end.status) for end in endings]
    else:
        pairs = zip(requests, endings, strict=True)
        settled = [look(tx, prefix, request, end) for request, end in pairs]
    for request, end, outcome in zip(requests, endings, settled, strict=True):
        tell(tx, prefix, request, end, outcome)
    follow(tx, prefix, requests, settled)
    return settled


def follow(
    tx: Transaction,
    prefix: str,
    requests: Sequence[SettleRequest | SuspendRequest],
    settled: Sequence[Settled],
) -> None:
    """Do what follows the settlements that were ends."""
    ended = [
        request.claim.execution.id
        for request, outcome in zip(requests, settled, strict=True)
        if request.is_followed
        and outcome.applied
        and outcome.status is not None
        and outcome.status.is_terminal
    ]
    if ended:
        follow_ends(tx, prefix, ended)


def ending(settlement: EndOfAttempt | Released, now: int) -> Ending:
    """The values a settlement leaves behind."""
    status = ExecutionStatus
    match settlement:
        case Completed(result=result):
            return Ending(status=status.COMPLETED, result=result)
        case Failed(error=error, attempted=attempted):
            return Ending(
                status=status.FAILED, error=error, failed_attempts=int(attempted)
            )
        case RetryAt(error=error, delay=delay):
            # Behind what came in this very millisecond.
            due = max(due_after(now, delay), now + 1)
            return Ending(
                status=status.RETRYING,
                due_at=due,
                run_at=due if delay > 0 else None,
                error=error,
                failed_attempts=1,
            )
        case Released(delay=delay, reason=reason) if delay > 0:
            due = due_after(now, delay)
            return Ending(status=status.QUEUED, due_at=due, run_at=due, reason=reason)
        case Released(reason=reason):
            return Ending(status=status.QUEUED, due_at=front(now), reason=reason)
        case Cancelled(reason=reason):
            return Ending(status=status.CANCELLED, cancel_reason=reason)


def front(now: int) -> int:
    """A due time before everything that waits; the latest comes first."""
    return -now


def _row(request: SettleRequest, end: Ending, now: int) -> SettlementRow:
    claim = request.claim
    return SettlementRow(  # by place, like `step_row`
        claim.execution.id,
        claim.worker_id,
        claim.token,
        end.status.value,
        end.due_at,
        end.run_at,
        end.reason,
        end.result,
        *error_row(end.error),
        end.failed_attempts,
        now if end.status.is_terminal else None,
        end.cancel_reason,
        claim_mark(claim),
        attempts_text(attempts_after(claim, request.settlement)),
    )


def look(
    tx: Transaction, prefix: str, request: SettleRequest | SuspendRequest, end: Ending
) -> Settled:
    """What became of a settlement when some of a batch were not plainly applied."""
    claim = request.claim
    flagged = tx.connection.execute(
        _SETTLE_FLAGGED,
        {
            "id": claim.execution.id,
            "prefix": prefix,
            "worker": claim.worker_id,
            "token": claim.token,
            "failed": end.failed_attempts,
            "now": tx.now,
            "mark": claim_mark(claim),
            "attempts": attempts_text(attempts_after(claim, request.settlement)),
        },
    )
    if flagged.rowcount:
        return Settled(applied=True, status=ExecutionStatus.CANCELLED)
    row = tx.connection.execute(_NOW, (claim.execution.id, prefix)).fetchone()
    if row is None:
        return Settled(applied=False, status=None)
    return Settled(applied=row[1] == claim_mark(claim), status=_status(row[0]))


def tell(
    tx: Transaction,
    prefix: str,
    request: SettleRequest | SuspendRequest,
    end: Ending,
    outcome: Settled,
) -> None:
    """Publish what became of a settlement: its own notice if nothing else did."""
    execution = request.claim.execution
    if outcome.applied and outcome.status is end.status:
        if request.notice is not None:
            tx.hints.tell(prefix, itself(request.notice))
        if end.due_at is not None:
            tx.hints.work.add((prefix, execution.event_name))
    elif outcome.status is not None:
        tell_status(tx, prefix, execution, outcome.status)


def _status(word: str) -> ExecutionStatus | None:
    try:
        return ExecutionStatus(word)
    except ValueError:
        return None
