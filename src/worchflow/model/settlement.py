"""The ways a worker releases an execution it owns.

All but `Released` carry a record of the attempt, if one was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ..foundations.types import value
from .records import MAX_ATTEMPT_RECORDS

if TYPE_CHECKING:
    from ..foundations.types import Payload
    from .records import AttemptRecord, Claim, ErrorInfo, ExecutionStatus


@value
class Completed:
    """The handler returned; the result is final."""

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


Settlement: TypeAlias = Completed | Failed | RetryAt | Released | Cancelled


def attempts_after(
    claim: Claim, settlement: Settlement
) -> tuple[AttemptRecord, ...] | None:
    """The attempts of an execution with that of a settlement; None: unchanged."""
    if isinstance(settlement, Released) or settlement.attempt is None:
        return None
    before = claim.execution.attempts
    return (*before[1 - MAX_ATTEMPT_RECORDS :], settlement.attempt)


@value
class Settled:
    """What became of a settlement.

    `applied` is False when the claim was no longer held: nothing was changed.
    `status` is the execution's status now, as far as the store told; a
    non-terminal settlement of an execution that somebody cancelled meanwhile is
    applied as `cancelled`.
    """

    applied: bool
    status: ExecutionStatus | None
