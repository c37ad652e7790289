"""How long an execution may take, waits included: what takes longer fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from ..foundations.durations import format_duration
from ..foundations.errors import DeadlineExceeded

if TYPE_CHECKING:
    from datetime import datetime

    from ..definitions.function import AnyFunction
    from ..model.beginning import Begun
    from ..model.records import Claim


class ExecutionDeadline:
    """The deadline of an execution, by the store's clock and by that of its loop."""

    __slots__ = ("at", "ends")

    def __init__(self, at: datetime, ends: float) -> None:
        self.at = at
        """By the store's clock."""
        self.ends = ends
        """By the clock of the event loop."""

    @classmethod
    def of(cls, begun: Begun, now: float) -> ExecutionDeadline | None:
        """That of an execution whose code begins; `now` is by the loop's clock."""
        if begun.deadline_at is None or begun.deadline_left is None:
            return None
        return cls(begun.deadline_at, now + begun.deadline_left)

    def has_passed(self, now: float) -> bool:
        """Whether it has, by the loop's clock."""
        return self.ends <= now

    def or_before(self, moment: datetime | None) -> datetime:
        """The earlier of it and a moment by the store's clock."""
        return self.at if moment is None else min(self.at, moment)


def after_waiting(claim: Claim, seconds: float) -> Claim:
    """A claim so many seconds later: so much less is left until its deadline."""
    if claim.deadline_left is None:
        return claim
    return replace(claim, deadline_left=max(0.0, claim.deadline_left - seconds))


def deadline_to_store(claim: Claim, function: AnyFunction) -> float | None:
    """Seconds that an execution may take; None without a limit, or if it is stored."""
    return function.deadline if claim.execution.deadline_at is None else None


def passed_limit(
    claim: Claim, function: AnyFunction, deadline: ExecutionDeadline | None, now: float
) -> DeadlineExceeded | None:
    """The error of an execution that has passed a limit before its code runs, if so.

    `now` is by the loop's clock.
    """
    if _starts_too_late(claim, function):
        return _start_timeout_error(claim, function)
    if deadline is not None and deadline.has_passed(now):
        return deadline_error(claim, function, deadline)
    return None


def deadline_error(
    claim: Claim, function: AnyFunction, deadline: ExecutionDeadline
) -> DeadlineExceeded:
    """What an execution fails with that has not ended by its deadline."""
    allowed = deadline.at - claim.execution.may_begin_at
    return DeadlineExceeded(
        f"{function.id} has not ended within its deadline of "
        f"{format_duration(allowed.total_seconds())}, at {_text(deadline.at)}",
        execution_id=claim.execution.id,
    )


def _starts_too_late(claim: Claim, function: AnyFunction) -> bool:
    """Whether the first claim came after the function's `start_timeout`.

    What shows that its code has begun was in time: the option may be newer.
    """
    timeout, execution = function.start_timeout, claim.execution
    if timeout is None or execution.started_at is None:
        return False
    has_begun = (
        execution.attempt_count
        or execution.attempt_started_at is not None
        or claim.steps
    )
    waited = execution.started_at - execution.may_begin_at
    return not has_begun and waited > timedelta(seconds=timeout)


def _start_timeout_error(claim: Claim, function: AnyFunction) -> DeadlineExceeded:
    due = claim.execution.may_begin_at
    return DeadlineExceeded(
        f"no worker has started {function.id} within its start_timeout of "
        f"{format_duration(function.start_timeout or 0.0)}; it was due at {_text(due)}",
        execution_id=claim.execution.id,
    )


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
