"""How an attempt ended, and what follows from a failure."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ..definitions.retry import decide_retry
from ..foundations.types import value
from ..model.children import parent_ended_reason
from ..model.notices import AttemptFailed, ExecutionSuspended, ExecutionUpdated
from ..model.records import (
    AttemptOutcome,
    AttemptRecord,
    ErrorInfo,
    ExecutionStatus,
)
from ..model.settlement import (
    FIRST_TOKEN,
    UNFINISHED,
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Suspended,
)

if TYPE_CHECKING:
    from datetime import datetime

    from ..definitions.calls import NamedCall
    from ..definitions.function import AnyFunction
    from ..foundations.errors import DeadlineExceeded
    from ..model.records import Claim
    from ..model.settlement import EndOfAttempt, Settlement
    from .attempt import Attempt
    from .worker_runtime import WorkerRuntime

logger = logging.getLogger("worchflow.engine")


@value
class Outcome:
    """A settlement to apply, and what to tell about it once it is applied."""

    settlement: Settlement
    notice: ExecutionUpdated


def failed_outcome(
    attempt: Attempt, error: BaseException, *, final: bool = False
) -> Outcome:
    """Retry or fail for good: the policy decides, `final` overrules it."""
    runtime, function = attempt.runtime, attempt.function
    delay = None
    if not final:
        delay = decide_retry(error, attempt.number, function.retry, runtime.random)
    is_too_late = delay is not None and not attempt.has_time_for(delay)
    if is_too_late:
        delay = None
    step = attempt.step_of(error)
    info = runtime.payloads.encode_error(error, step.label if step else None)
    settlement = (
        Failed(error=info) if delay is None else RetryAt(error=info, delay=delay)
    )
    _log(attempt, error, step, delay, is_too_late=is_too_late)
    readable = runtime.payloads.decode_error(info)
    return _outcome(attempt.claim, attempt.number, settlement, readable)


def unstorable(
    runtime: WorkerRuntime, claim: Claim, refused: Outcome, error: Exception
) -> Outcome:
    """What an outcome that the store refuses becomes: failed for good."""
    info = runtime.payloads.encode_error(error)
    number = claim.execution.attempt_count + 1
    logger.error(
        "the result of attempt %d of execution %s cannot be stored; it has failed for "
        "good and waits for an explicit retry",
        number,
        claim.execution.id,
        exc_info=runtime.payloads.shown(error),
        extra=fields_of(claim),
    )
    readable = runtime.payloads.decode_error(info)
    record: AttemptRecord | None = None
    settlement = refused.settlement
    if isinstance(settlement, UNFINISHED):
        pass  # Neither holds anything that a store could refuse.
    elif settlement.attempt is not None:
        record = replace(settlement.attempt, outcome=AttemptOutcome.FAILED, error=info)
    elif isinstance(settlement, Completed):
        now = runtime.clock.now()
        began = claim.execution.started_at or now
        outcome = AttemptOutcome.FAILED
        record = AttemptRecord(number, claim.worker_id, began, now, outcome, info)
    return _outcome(claim, number, Failed(error=info, attempt=record), readable)


def unfinished(claim: Claim, settlement: Cancelled | Released | Suspended) -> Outcome:
    """The outcome of an attempt that was ended early, or never made."""
    status = ExecutionStatus.QUEUED
    if isinstance(settlement, Cancelled):
        status = ExecutionStatus.CANCELLED
    elif isinstance(settlement, Suspended):
        status = settlement.status
    notice = ExecutionUpdated(
        execution_id=claim.execution.id,
        event_name=claim.execution.event_name,
        attempt=claim.execution.attempt_count + 1,
        status=status,
    )
    if isinstance(settlement, Suspended):
        notice = ExecutionSuspended(**vars(notice), reason=settlement.reason)
    return Outcome(settlement=settlement, notice=notice)


def poisoned(claim: Claim) -> Outcome:
    """The outcome of an execution that keeps killing its workers."""
    error = ErrorInfo(
        type="poison",
        message=f"{claim.execution.deaths} workers died while running it; it is "
        "not tried again before an explicit retry",
        traceback="",
    )
    number = claim.execution.attempt_count + 1
    logger.error(
        "execution %s of %s fails as poison: %s",
        claim.execution.id,
        claim.execution.event_name,
        error.message,
        extra=fields_of(claim),
    )
    settlement = Failed(error=error, attempted=False)
    return _outcome(claim, number, settlement, error)


def too_late(
    runtime: WorkerRuntime,
    claim: Claim,
    function: AnyFunction,
    error: DeadlineExceeded,
) -> Outcome:
    """The outcome of an execution that has passed a limit before its code could run.

    What was suspended ends the attempt in which it was; for others there was none.
    """
    execution = claim.execution
    number, began = execution.attempt_count + 1, execution.attempt_started_at
    # A token is kept when its answer is recorded.
    waits = [each for each in claim.waits.values() if each.step_id not in claim.steps]
    step = waits[0].title if len(waits) == 1 else None
    info = runtime.payloads.encode_error(error, step)
    record: AttemptRecord | None = None
    if began is not None:
        ended, failed = runtime.clock.now(), AttemptOutcome.FAILED
        record = AttemptRecord(number, claim.worker_id, began, ended, failed, info)
    logger.error(
        "execution %s (%s) fails: %s",
        execution.id,
        function.id,
        error.message,
        extra=fields_of(claim),
    )
    settlement = Failed(error=info, attempted=began is not None, attempt=record)
    readable = runtime.payloads.decode_error(info)
    return _outcome(claim, number, settlement, readable)


def with_its_parent(claim: Claim) -> Outcome:
    """The outcome of a child whose parent has ended: it does not start."""
    parent = claim.execution.parent
    reason = parent_ended_reason("" if parent is None else parent.id)
    return unfinished(claim, Cancelled(reason=reason))


OUTCOMES = {
    Completed: AttemptOutcome.COMPLETED,
    Failed: AttemptOutcome.FAILED,
    RetryAt: AttemptOutcome.FAILED,
    Cancelled: AttemptOutcome.CANCELLED,
}


def recorded(outcome: Outcome, attempt: Attempt, started_at: datetime) -> Outcome:
    """The same outcome with a record of the attempt, to be stored with it.

    Without one if the first claim completes its execution: see `only_attempt`.
    """
    settlement = outcome.settlement
    is_told_anyway = (
        isinstance(settlement, Completed) and attempt.claim.token == FIRST_TOKEN
    )
    if is_told_anyway or isinstance(settlement, UNFINISHED):
        return outcome
    error = settlement.error if isinstance(settlement, Failed | RetryAt) else None
    record = AttemptRecord(
        attempt.number,
        attempt.claim.worker_id,
        started_at,
        attempt.runtime.clock.now(),
        OUTCOMES[type(settlement)],
        error,
    )
    return Outcome(_with_attempt(settlement, record), outcome.notice)


def _with_attempt(settlement: EndOfAttempt, record: AttemptRecord) -> Settlement:
    # One for each execution: `dataclasses.replace` takes several times as long.
    match settlement:
        case Completed(result=result):
            return Completed(result, record)
        case Failed(error=error, attempted=attempted):
            return Failed(error=error, attempted=attempted, attempt=record)
        case RetryAt(error=error, delay=delay):
            return RetryAt(error=error, delay=delay, attempt=record)
        case Cancelled(reason=reason):
            return Cancelled(reason=reason, attempt=record)


def fields_of(claim: Claim) -> dict[str, object]:
    """What log lines carry about an attempt that has ended or was never made."""
    execution = claim.execution
    return {
        "execution_id": execution.id,
        "function": execution.function_id,
        "attempt": execution.attempt_count + 1,
    }


def _outcome(
    claim: Claim, attempt: int, settlement: Failed | RetryAt, error: ErrorInfo
) -> Outcome:
    will_retry = isinstance(settlement, RetryAt)
    status = ExecutionStatus.RETRYING if will_retry else ExecutionStatus.FAILED
    notice = AttemptFailed(
        execution_id=claim.execution.id,
        event_name=claim.execution.event_name,
        attempt=attempt,
        status=status,
        error=error,
        will_retry=will_retry,
    )
    return Outcome(settlement=settlement, notice=notice)


def _log(
    attempt: Attempt,
    error: BaseException,
    step: NamedCall | None,
    delay: float | None,
    *,
    is_too_late: bool,
) -> None:
    level = logging.ERROR
    follows = "it has failed for good and waits for an explicit retry"
    if is_too_late:
        follows = f"the next would start after its deadline: {follows}"
    if delay is not None:
        level = logging.WARNING
        follows = f"the next starts in {delay:.3g} s and runs no recorded step again"
    logger.log(
        level,
        "attempt %d of execution %s (%s) failed with %s%s; %s",
        attempt.number,
        attempt.claim.execution.id,
        attempt.function.id,
        type(error).__name__,
        f" in step {step.name}" if step else "",
        follows,
        exc_info=attempt.runtime.payloads.shown(error),
        extra=attempt.fields | {"step": step.title if step else None},
    )
