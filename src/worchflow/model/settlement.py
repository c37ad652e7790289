"""The ways a worker releases an execution it owns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ..foundations.types import value

if TYPE_CHECKING:
    from ..foundations.types import Payload
    from .records import ErrorInfo, ExecutionStatus


@value
class Completed:
    """The handler returned; the result is final."""

    result: Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The execution has failed for good.

    `attempted` is False when no attempt was made, as for a poisoned execution.
    """

    error: ErrorInfo
    attempted: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryAt:
    """The attempt failed; the next may start `delay` seconds from the store's now."""

    error: ErrorInfo
    delay: float


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


Settlement: TypeAlias = Completed | Failed | RetryAt | Released | Cancelled


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
