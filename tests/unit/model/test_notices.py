from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from worchflow.model.notices import (
    ExecutionStarted,
    decode_notice,
    encode_notice,
    encode_started,
    encode_step_completed,
    step_completed,
)
from worchflow.model.records import (
    Claim,
    ExecutionStatus,
    StepStatus,
    StoredExecution,
    StoredStep,
)

ODD = ["plain", 'a "quoted" title', "back\\slash", "Zürich ☃ 𝄞", "{}"]


def claim_of(event_name: str) -> Claim:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    execution = StoredExecution(
        id='id-"1"',
        event_name=event_name,
        event_data="null",
        status=ExecutionStatus.PROCESSING,
        created_at=moment,
        updated_at=moment,
        attempt_count=2,
    )
    return Claim(execution=execution, worker_id="worker", token=3)


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("keyed", [False, True])
def test_a_step_encoded_at_once_is_its_notice(text: str, keyed: bool) -> None:
    claim = claim_of(text)
    step = StoredStep(
        step_id="5" * 32,
        title=text,
        key=text if keyed else None,
        status=StepStatus.COMPLETED,
    )
    encoded = encode_step_completed(claim, step)
    notice = step_completed(claim, step)
    assert json.loads(encoded) == json.loads(encode_notice(notice))
    assert decode_notice(encoded) == notice
    assert (notice.attempt, notice.key) == (3, step.key)


def test_what_a_newer_version_adds_to_a_notice_is_ignored() -> None:
    fields = json.loads(encode_started(claim_of("plain")))

    assert isinstance(decode_notice(json.dumps(fields | {"new": 1})), ExecutionStarted)
    assert decode_notice(json.dumps({"name": "execution:start", "new": 1})) is None


@pytest.mark.parametrize("text", ODD)
def test_a_start_encoded_at_once_is_its_notice(text: str) -> None:
    claim = claim_of(text)
    assert decode_notice(encode_started(claim)) == ExecutionStarted(
        execution_id=claim.execution.id,
        event_name=text,
        attempt=3,
        status=ExecutionStatus.PROCESSING,
    )
