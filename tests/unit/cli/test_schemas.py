"""What `-o json` prints of a record: every field, as JSON has it."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime

from worchflow.cli.schemas import execution_schema, listed_schema, part_schema
from worchflow.model.records import (
    ErrorInfo,
    Execution,
    ExecutionStatus,
    StepRecord,
    StepStatus,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, 5999, tzinfo=UTC)
ERROR = ErrorInfo(type="ValueError", message="no", traceback="", step=None)
EXECUTION = Execution(
    id="e",
    event_name="pay",
    function_id=None,
    data={"amount": 5},
    status=ExecutionStatus.FAILED,
    result=None,
    error=ERROR,
    attempt_count=1,
    recoveries=0,
    created_at=NOW,
    updated_at=NOW,
    started_at=None,
    finished_at=NOW,
    run_at=None,
    worker=None,
    reason=None,
    cancel_requested=False,
)
STEP = StepRecord(
    execution_id="e",
    step_id="s",
    title="Charge",
    key=None,
    status=StepStatus.FAILED,
    result=None,
    error=ERROR,
    attempts=1,
    started_at=NOW,
    finished_at=None,
)


def test_an_execution_is_printed_with_all_its_fields() -> None:
    schema = execution_schema(EXECUTION)

    assert list(schema) == [field.name for field in fields(EXECUTION)]
    assert schema["created_at"] == "2026-01-01T12:00:00.005Z"
    assert schema["started_at"] is None
    assert json.loads(json.dumps(schema))["error"] == {
        "type": "ValueError",
        "message": "no",
        "traceback": "",
        "step": None,
    }


def test_a_listing_has_no_payloads_and_a_step_no_execution() -> None:
    left_out = execution_schema(EXECUTION).keys() - listed_schema(EXECUTION).keys()
    assert left_out == {"data", "result", "attempts"}
    names = {field.name for field in fields(STEP)}
    assert names - part_schema(STEP).keys() == {"execution_id"}
