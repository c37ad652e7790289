"""What is recorded of an operation, and what its record gives back."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..foundations.errors import InvalidInput, StepFailed, StepResultChanged
from ..model.notices import StepCompleted, step_completed
from ..model.records import ErrorInfo, StepStatus, StoredStep
from .error_classes import as_instance, class_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..definitions.calls import NamedCall
    from ..foundations.types import Payload
    from ..model.step_kind import StepKind
    from .attempt import Attempt
    from .operation import Operation

logger = logging.getLogger("worchflow.engine")

MAX_UNRECORDED_BYTES = 64 * 1024 * 1024
"""Of failures of one attempt that are recorded before it is suspended."""


def replay(
    attempt: Attempt,
    operation: Operation,
    recorded: StoredStep,
    type_of: Callable[[], Any],
) -> Any:
    """The recorded value as the type that is named now; `StepFailed` for a failure.

    Fails the execution if what is recorded is of another kind.
    """
    call = operation.call
    refuse_other_kind(attempt, operation, recorded.kind)
    if recorded.status is StepStatus.FAILED:
        failure = _failure(attempt, call, recorded.error)
        if recorded.attempt is None:
            raise failure
        raise as_instance(failure, recorded.error_class)
    return replay_result(attempt, operation, recorded, type_of())


def replay_result(
    attempt: Attempt, operation: Operation, recorded: StoredStep, as_type: Any
) -> Any:
    """The recorded value as a type; fails the execution if it does not decode to it."""
    try:
        return attempt.runtime.payloads.decode_step(
            recorded.result, as_type, where=_where(operation.call)
        )
    except InvalidInput as error:
        raise fatal(attempt, error) from error.__cause__


def refuse_other_kind(attempt: Attempt, operation: Operation, kind: StepKind) -> None:
    """Fail the execution if what is stored under this step is of another kind."""
    if kind is not operation.kind:
        changed = StepResultChanged(
            f"{_where(operation.call)} is recorded as step.{kind.value}, and the code "
            f"asks for step.{operation.kind.value} under the same title: give it "
            "another title",
            field="title",
        )
        raise fatal(attempt, changed)


async def record_result(
    attempt: Attempt, operation: Operation, value: Any, as_type: Any
) -> Any:
    """Record a value; returns it as every later reader will see it."""
    try:
        payload, decoded = attempt.runtime.payloads.encode(
            value, as_type, kind="step", where=_where(operation.call)
        )
    except InvalidInput as error:
        raise fatal(attempt, error) from error.__cause__
    return await record_payload(attempt, operation, payload, decoded)


async def record_payload(
    attempt: Attempt, operation: Operation, payload: Payload, decoded: Any
) -> Any:
    """Record a value that is encoded already; returns what is recorded, decoded."""
    try:
        stored = await attempt.journal.checkpoint(
            _step(attempt, operation, StepStatus.COMPLETED, payload)
        )
    except InvalidInput as error:
        raise fatal(attempt, error) from error.__cause__
    if stored.status is StepStatus.FAILED or stored.result != payload:
        return operation.replay(stored)
    _tell(attempt, stored, decoded)
    return decoded


async def record_own(
    attempt: Attempt,
    operation: Operation,
    value: Any,
    as_type: Any,
    error: ErrorInfo | None = None,
) -> StoredStep:
    """Record what an operation of parts is recorded by; what is recorded of it.

    With an error it is that, and no value.
    """
    payload: Payload | None = None
    status = StepStatus.FAILED
    if error is None:
        status = StepStatus.COMPLETED
        payload, _ = attempt.runtime.payloads.encode(
            value, as_type, kind="step", where=_where(operation.call)
        )
    step = _step(attempt, operation, status, payload, error)
    stored = await attempt.journal.checkpoint(step)
    refuse_other_kind(attempt, operation, stored.kind)
    if stored.result == payload is not None:
        _tell(attempt, stored, value)
    return stored


async def record_error(
    attempt: Attempt, operation: Operation, error: ErrorInfo, error_class: str
) -> Any:
    """Record an error that is no failure of this execution's code, and raise it.

    Gives the value instead if one was recorded before.
    """
    step = _step(attempt, operation, StepStatus.FAILED, error=error)
    stored = await attempt.journal.checkpoint(replace(step, error_class=error_class))
    return operation.replay(stored)


async def record_failure(
    attempt: Attempt, operation: Operation, failure: Exception
) -> Any:
    """Record a failure for good and raise it, unless a value was recorded before."""
    error = attempt.runtime.payloads.encode_error(failure)
    stored = await attempt.journal.checkpoint(
        _step(attempt, operation, StepStatus.FAILED, error=error)
    )
    if stored.status is StepStatus.COMPLETED:
        return operation.replay(stored)
    _log_failure(attempt, operation, failure)
    raise _failure(attempt, operation.call, stored.error) from failure


def note_failure(attempt: Attempt, operation: Operation, failure: Exception) -> None:
    """Keep the failure of a step without retries of its own: a resume has to know it.

    Where one title is used again for the same step, its second use may be a retry that
    the handler makes by itself.
    """
    if attempt.function.repeat_titles == "reuse":
        return
    if attempt.unrecorded_bytes < MAX_UNRECORDED_BYTES:
        error = attempt.runtime.payloads.encode_error(failure)
        attempt.unrecorded_bytes += len(error.message) + len(error.traceback)
        step = _step(attempt, operation, StepStatus.FAILED, error=error)
        attempt.unrecorded_failures[operation.step_id] = replace(
            step, attempt=attempt.number, error_class=class_path(failure)
        )


def fatal(attempt: Attempt, error: InvalidInput) -> InvalidInput:
    """The error, noted as one that fails the execution at once."""
    error.execution_id = attempt.claim.execution.id
    attempt.fatal = error
    return error


def _step(
    attempt: Attempt,
    operation: Operation,
    status: StepStatus,
    result: str | None = None,
    error: ErrorInfo | None = None,
) -> StoredStep:
    return StoredStep(
        operation.step_id,
        operation.call.title,
        status,
        result,
        error,
        operation.tries,
        operation.started_at,
        attempt.runtime.clock.now(),
        operation.call.key,
        operation.kind,
    )


def _tell(attempt: Attempt, recorded: StoredStep, value: Any) -> None:
    emitter = attempt.runtime.emitter
    if emitter.listens_to(StepCompleted.name):
        emitter.emit(replace(step_completed(attempt.claim, recorded), result=value))


def _where(call: NamedCall) -> str:
    return f"step {call.name}"


def _failure(attempt: Attempt, call: NamedCall, stored: ErrorInfo | None) -> StepFailed:
    error = ErrorInfo(type="unknown", message="", traceback="")
    if stored is not None:
        error = attempt.runtime.payloads.decode_error(stored)
    return StepFailed(
        f"{_where(call)} of execution {attempt.claim.execution.id} has failed for "
        f"good: {error.type}: {error.message}",
        title=call.title,
        execution_id=attempt.claim.execution.id,
        error_type=error.type,
        error_message=error.message,
        traceback=error.traceback,
    )


def _log_failure(attempt: Attempt, operation: Operation, failure: Exception) -> None:
    logger.warning(
        "step %s of execution %s failed for good on try %d (%s); the handler gets a "
        "StepFailed",
        operation.call.name,
        attempt.claim.execution.id,
        operation.tries,
        type(failure).__name__,
        exc_info=attempt.runtime.payloads.shown(failure),
        extra={**attempt.fields, "step": operation.call.title},
    )
