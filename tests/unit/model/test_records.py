"""Public records tell pydantic, and so FastAPI, what they hold."""

from __future__ import annotations

import typing
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from worchflow import Execution, ExecutionStatus, Retry, StepRecord
from worchflow.definitions.context import ReceivedEvent
from worchflow.foundations.limits import PayloadLimits
from worchflow.ledger import Report
from worchflow.model.notices import KINDS, Ready
from worchflow.model.options import Retention, WorkerOptions
from worchflow.model.records import (
    AttemptOutcome,
    AttemptRecord,
    ErrorInfo,
    Page,
    StepStatus,
)

RECORDS: list[Any] = [
    *(Execution, StepRecord, Page[Execution], ErrorInfo, AttemptRecord),
    *(ExecutionStatus, StepStatus, ReceivedEvent[int], Ready, *KINDS.values()),
    *(PayloadLimits, Retention, WorkerOptions, Report),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_public_record_has_an_adapter_and_a_json_schema(record: Any) -> None:
    adapter = TypeAdapter[Any](record)

    for mode in ("validation", "serialization"):
        assert adapter.json_schema(mode=mode)


def test_a_policy_that_names_classes_resolves() -> None:
    assert typing.get_type_hints(Retry)["delay"]


def test_a_record_comes_back_from_its_json() -> None:
    now = datetime.now(UTC)
    execution = Execution(
        id="order-1",
        event_name="pay",
        function_id="pay",
        data={"amount": 5},
        status=ExecutionStatus.FAILED,
        result=None,
        error=ErrorInfo(type="ValueError", message="no", traceback=""),
        attempt_count=4,
        recoveries=0,
        created_at=now,
        updated_at=now,
        started_at=now,
        finished_at=now,
        run_at=None,
        worker=None,
        reason=None,
        cancel_requested=False,
        headers={"traceparent": "00-1-2-01"},
        tags=("blue",),
        attempts=(
            AttemptRecord(
                number=1,
                worker="w",
                started_at=now,
                ended_at=now,
                outcome=AttemptOutcome.FAILED,
                error=ErrorInfo(type="ValueError", message="no", traceback=""),
            ),
        ),
    )
    page = Page(items=[execution], cursor="next")
    adapter = TypeAdapter(Page[Execution])

    assert adapter.validate_json(adapter.dump_json(page)) == page
