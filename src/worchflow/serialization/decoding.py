"""From records as a store holds them to records as users see them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..foundations.errors import SerializationError
from ..foundations.ids import step_name
from ..model.records import Execution, StepRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.records import StoredExecution, StoredStep
    from .payloads import Payloads

logger = logging.getLogger("worchflow.client")


def decode_execution(stored: StoredExecution, payloads: Payloads) -> Execution:
    """The execution with plain JSON values; `SerializationError` if one is broken."""
    where = f"execution {stored.id}"
    return Execution(
        id=stored.id,
        event_name=stored.event_name,
        function_id=stored.function_id,
        data=payloads.decode(stored.event_data, Any, where=where),
        status=stored.status,
        result=None
        if stored.result is None
        else payloads.decode(stored.result, Any, where=where),
        error=None if stored.error is None else payloads.decode_error(stored.error),
        attempt_count=stored.attempt_count,
        recoveries=stored.recoveries,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
        started_at=stored.started_at,
        finished_at=stored.finished_at,
        run_at=stored.run_at,
        worker=stored.worker,
        reason=stored.cancel_reason or stored.reason,
        cancel_requested=stored.cancel_requested,
    )


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
        execution_id=execution_id,
        step_id=stored.step_id,
        title=stored.title,
        key=stored.key,
        status=stored.status,
        result=None
        if stored.result is None
        else payloads.decode(stored.result, Any, where=where),
        error=None if stored.error is None else payloads.decode_error(stored.error),
        attempts=stored.attempts,
        started_at=stored.started_at,
        finished_at=stored.finished_at,
    )
