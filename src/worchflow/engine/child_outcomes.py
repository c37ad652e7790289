"""How a child ended, as its parent records it and raises it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..foundations.errors import (
    ExecutionCancelled,
    ExecutionFailed,
    InvalidInput,
)
from ..model.records import ErrorInfo, ExecutionStatus, StepStatus
from .step_results import (
    fatal,
    record_error,
    record_payload,
    refuse_other_kind,
    replay_result,
)

if TYPE_CHECKING:
    from ..model.children import Child
    from ..model.records import StoredStep
    from .attempt import Attempt
    from .operation import Operation

FAILED = "worchflow:ExecutionFailed"
CANCELLED = "worchflow:ExecutionCancelled"
TIMED_OUT = "builtins:TimeoutError"
"""What is recorded of the errors that waiting for a child ends with: their classes."""
UNKNOWN = ErrorInfo(type="unknown", message="", traceback="")


async def record_outcome(
    attempt: Attempt, operation: Operation, child: Child, result_type: Any
) -> Any:
    """Record how a child ended, and give its result or raise its failure."""
    payloads = attempt.runtime.payloads
    if child.status is ExecutionStatus.COMPLETED:
        result = child.result or "null"
        where = f"the result of child {child.id}"
        try:
            value = payloads.decode(result, result_type, where=where)
        except InvalidInput as error:
            raise fatal(attempt, error) from error.__cause__
        return await record_payload(attempt, operation, result, value)
    if child.status is ExecutionStatus.CANCELLED:
        cancelled = ExecutionCancelled(child.cancel_reason or "")
        info = payloads.encode_error(cancelled)
        return await record_error(attempt, operation, info, CANCELLED)
    return await record_error(attempt, operation, child.error or UNKNOWN, FAILED)


async def record_timeout(
    attempt: Attempt, operation: Operation, error: TimeoutError
) -> Any:
    """Record that a child has not ended in time, and raise that."""
    info = attempt.runtime.payloads.encode_error(error)
    return await record_error(attempt, operation, info, TIMED_OUT)


def replay_outcome(
    attempt: Attempt,
    operation: Operation,
    recorded: StoredStep,
    child_id: str,
    result_type: Any,
) -> Any:
    """The recorded result as the type that is named now, or the failure raised."""
    refuse_other_kind(attempt, operation, recorded.kind)
    if recorded.status is StepStatus.FAILED:
        raise _failure(attempt, operation, recorded, child_id)
    return replay_result(attempt, operation, recorded, result_type)


def _failure(
    attempt: Attempt, operation: Operation, recorded: StoredStep, child_id: str
) -> Exception:
    error = attempt.runtime.payloads.decode_error(recorded.error or UNKNOWN)
    what = f"child {child_id} of step {operation.call.name}"
    if recorded.error_class == TIMED_OUT:
        late = TimeoutError(error.message)
        vars(late)["is_recorded"] = True
        return late
    failure: ExecutionCancelled | ExecutionFailed
    if recorded.error_class == CANCELLED:
        reason = error.message or None
        failure = ExecutionCancelled(
            f"{what} was cancelled" + (f": {reason}" if reason else ""),
            execution_id=child_id,
            reason=reason,
        )
    else:
        failure = ExecutionFailed(
            f"{what} has failed: {error.type}: {error.message}",
            execution_id=child_id,
            error_type=error.type,
            error_message=error.message,
            traceback=error.traceback,
        )
    failure.is_recorded = True
    return failure
