"""The ways a worker releases an execution it owns.

All that end an attempt carry a record of it, where there is one to store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..foundations.types import value
from .records import MAX_ATTEMPT_RECORDS, AttemptOutcome, AttemptRecord

if TYPE_CHECKING:
    from datetime import datetime

    from ..foundations.types import Payload
    from .records import Claim, ErrorInfo, ExecutionStatus

FIRST_TOKEN = 1
"""The token of the first claim of an execution."""


@value
class Completed:
    """The handler returned; the result is final.

    Without `attempt`, the attempt of the first claim is told by `only_attempt`.
    """

    result: Payload
    attempt: AttemptRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The execution has failed for good.

    `attempted` is False when no attempt was made, as for a poisoned execution.
    """

    error: ErrorInfo
    attempted: bool = True
    attempt: AttemptRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryAt:
    """The attempt failed; the next may start `delay` seconds from the store's now."""

    error: ErrorInfo
    delay: float
    attempt: AttemptRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """Handed back unfinished; no attempt is counted.

    Without a delay it goes to the front of the queue; with one it becomes due
    `delay` seconds from the store's now, and `reason` says why it waits.
    """

    delay: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """The attempt was stopped because somebody cancelled the execution."""

    reason: str | None = None
    attempt: AttemptRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspended:
    """Its code waits, and leaves the worker meanwhile; the attempt has not ended.

    `wakeups` is the count of the execution that was read before all that it waits for
    was looked at. If it was woken since, it is queued instead. `status` is that of one
    that is suspended.
    """

    status: ExecutionStatus
    wakeups: int
    until: datetime | None = None
    """When it is due without being woken: its earliest deadline, by the store's clock.
    None: only a wake-up ends it."""
    reason: str | None = None
    """What it waits for, for people."""
    started_at: datetime | None = None
    """When the attempt began, under whichever claim, by the clock of its worker."""
    pause: float = 0.0
    """Seconds from the store's now for which it is not claimed, whatever wakes it."""
    awaits_children: bool = False
    """Whether the end of a child queues it, and does not only count as a wake-up."""


UNFINISHED = (Released, Suspended)
"""Those that do not end an attempt."""
EndOfAttempt: TypeAlias = Completed | Failed | RetryAt | Cancelled
Settlement: TypeAlias = EndOfAttempt | Released | Suspended


def attempts_after(
    claim: Claim, settlement: Settlement
) -> tuple[AttemptRecord, ...] | None:
    """The attempts of an execution with that of a settlement; None: unchanged."""
    if isinstance(settlement, UNFINISHED) or settlement.attempt is None:
        return None
    before = claim.execution.attempts
    return (*before[1 - MAX_ATTEMPT_RECORDS :], settlement.attempt)


def only_attempt(
    token: int,
    settled_by: str | None,
    started_at: datetime | None,
    finished_at: datetime | None,
) -> tuple[AttemptRecord, ...]:
    """The attempts of a completed execution that has no stored record of any.

    If its first claim completed it, all of that one attempt is stored anyway: its
    worker in `settled_by`, the mark of the settlement, its times as those of the
    execution. A separate record would be a tenth of the cost of an execution.
    """
    if token != FIRST_TOKEN or settled_by is None:
        return ()
    worker, _, settled_token = settled_by.rpartition(":")
    if settled_token != str(token) or started_at is None or finished_at is None:
        return ()
    return (
        AttemptRecord(1, worker, started_at, finished_at, AttemptOutcome.COMPLETED),
    )


def claim_mark(claim: Claim) -> str:
    """What the holder of a claim marks its writes with, to recognise them later.

    A token is given once for each execution: no other claim has the same mark.
    """
    return f"{claim.worker_id}:{claim.token}"


class ClaimKey(NamedTuple):
    """A claim, as the key of what a process remembers of it until it is settled."""

    worker_id: str
    execution_id: str
    token: int

    @classmethod
    def of(cls, claim: Claim) -> ClaimKey:
        """The key of a claim."""
        return cls(claim.worker_id, claim.execution.id, claim.token)


@value
class Settled:
    """What became of a settlement.

    `applied` is False when the claim was no longer held: nothing was changed.
    `status` is the execution's status now, as far as the store told; a
    non-terminal settlement of an execution that somebody cancelled meanwhile is
    applied as `cancelled`, a suspension of one that was woken meanwhile as `queued`.
    """

    applied: bool
    status: ExecutionStatus | None
