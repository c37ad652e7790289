"""From records as a store holds them to records as users see them."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ..foundations.errors import SerializationError
from ..foundations.ids import step_name
from ..model.records import Execution, StepRecord, StoredExecution, WaitRecord
from ..model.step_kind import StepKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.records import ErrorInfo, StoredStep
    from ..model.waits import StoredWait
    from .payloads import Payloads

logger = logging.getLogger("worchflow.client")

DECODED = {"result", "error", "reason", "attempts", "parent"}


SAME = sorted(
    {each.name for each in fields(Execution)}
    & {each.name for each in fields(StoredExecution)} - DECODED
)
"""What users see of an execution as a store holds it."""


def decode_execution(stored: StoredExecution, payloads: Payloads) -> Execution:
    """The execution with plain JSON values; `SerializationError` if one is broken."""
    where = f"execution {stored.id}"
    same: dict[str, Any] = {name: getattr(stored, name) for name in SAME}
    return Execution(
        **same,
        data=payloads.decode(stored.event_data, Any, where=where),
        result=None
        if stored.result is None
        else payloads.decode(stored.result, Any, where=where),
        error=_error(stored.error, payloads),
        reason=stored.cancel_reason or stored.reason,
        parent=None if stored.parent is None else stored.parent.id,
        attempts=tuple(
            replace(each, error=_error(each.error, payloads))
            for each in stored.attempts
        ),
    )


def _error(error: ErrorInfo | None, payloads: Payloads) -> ErrorInfo | None:
    return None if error is None else payloads.decode_error(error)


def decode_executions(
    stored: Iterable[StoredExecution], payloads: Payloads
) -> list[Execution]:
    """The executions of a listing; what is broken is left out, and logged."""
    found: list[Execution] = []
    for each in stored:
        try:
            found.append(decode_execution(each, payloads))
        except SerializationError as error:
            logger.warning("%s; it is left out of the listing", error)
    return found


def decode_step(
    execution_id: str, stored: StoredStep, payloads: Payloads
) -> StepRecord:
    """The step with a plain JSON result; `SerializationError` if it is broken."""
    where = f"step {step_name(stored.title, stored.key)} of execution {execution_id}"
    return StepRecord(
        kind=stored.kind,
        execution_id=execution_id,
        step_id=stored.step_id,
        title=stored.title,
        key=stored.key,
        status=stored.status,
        result=None
        if stored.result is None
        else payloads.decode(stored.result, Any, where=where),
        error=_error(stored.error, payloads),
        attempts=stored.attempts,
        started_at=stored.started_at,
        finished_at=stored.finished_at,
    )


def wait_record(execution_id: str, stored: StoredWait) -> WaitRecord:
    """The wait as users see it: a token's has its id, and no event."""
    event = stored.event
    is_token = stored.kind is StepKind.TOKEN
    return WaitRecord(
        execution_id=execution_id,
        step_id=stored.step_id,
        title=stored.title,
        kind=stored.kind,
        deadline=stored.deadline,
        event=None if event is None or is_token else event.name,
        key=None if event is None or is_token else event.key,
        token=event.key if event is not None and is_token else None,
        tries=stored.tries,
    )
