"""What a settlement says of its size is never less than what it writes."""

from __future__ import annotations

from datetime import UTC, datetime

import bson
import pytest

from worchflow.model.options import BackendOptions
from worchflow.model.records import (
    AttemptOutcome,
    AttemptRecord,
    Claim,
    ErrorInfo,
    ExecutionStatus,
    StoredExecution,
)
from worchflow.model.settlement import Cancelled, Completed, Failed, RetryAt, Settlement
from worchflow.storage.redis_mongo.documents import Documents
from worchflow.storage.redis_mongo.settlement_updates import SettlementUpdate

NOW = datetime(2026, 5, 6, tzinfo=UTC)
LONG = ErrorInfo(type="E", message="m" * 8000, traceback="é" * 16_000)


def attempt(number: int, error: ErrorInfo | None) -> AttemptRecord:
    outcome = AttemptOutcome.COMPLETED if error is None else AttemptOutcome.FAILED
    return AttemptRecord(number, "w" * 32, NOW, NOW, outcome, error)


def claim(failed: int) -> Claim:
    execution = StoredExecution(
        id="e-1",
        event_name="payment",
        event_data="{}",
        status=ExecutionStatus.PROCESSING,
        created_at=NOW,
        updated_at=NOW,
        attempts=tuple(attempt(number, LONG) for number in range(1, failed + 1)),
    )
    return Claim(execution, "w" * 32, failed + 1)


@pytest.mark.parametrize("failed", [0, 1, 10])
@pytest.mark.parametrize(
    "settlement",
    [
        Completed("1", attempt(11, None)),
        Failed(error=LONG, attempt=attempt(11, LONG)),
        RetryAt(error=LONG, delay=1, attempt=attempt(11, LONG)),
        Cancelled(attempt=attempt(11, None)),
    ],
    ids=["completed", "failed", "retrying", "cancelled"],
)
def test_the_size_covers_the_records_of_attempts(
    settlement: Settlement, failed: int
) -> None:
    documents = Documents(BackendOptions())
    update = SettlementUpdate(documents, claim(failed), settlement, 0)

    written = bson.encode({"u": update.update.change})

    assert len(written) <= update.size


@pytest.mark.parametrize("failed", [0, 1])
def test_what_has_failed_before_shares_no_statement(failed: int) -> None:
    """A thousand of them would be larger than a statement may be."""
    completed = Completed("1", attempt(failed + 1, None))
    update = SettlementUpdate(Documents(BackendOptions()), claim(failed), completed, 0)

    assert update.update.separate is bool(failed)
