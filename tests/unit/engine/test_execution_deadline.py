"""How long an execution may take, and what it fails with when it takes longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.stores import new_step
from worchflow import create_function
from worchflow.engine.execution_deadline import (
    ExecutionDeadline,
    deadline_to_store,
    passed_limit,
)
from worchflow.model.beginning import Begun
from worchflow.model.records import Claim, ExecutionStatus, StoredExecution

ACCEPTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = 1000.0
"""By the clock of the event loop."""


async def handler(ctx: Any) -> None: ...


def claim_of(waited: float = 0.0, **fields: Any) -> Claim:
    """A claim of what was started so many seconds after it could begin."""
    execution = StoredExecution(
        id="e-1",
        event_name="pay",
        event_data="null",
        status=ExecutionStatus.PROCESSING,
        created_at=ACCEPTED,
        updated_at=ACCEPTED,
        started_at=ACCEPTED + timedelta(seconds=waited),
    )
    return Claim(execution=replace(execution, **fields), worker_id="w-1", token=1)


def test_one_is_only_stored_once() -> None:
    limited = create_function("pay", handler, deadline="1h")
    free = create_function("pay", handler)

    assert deadline_to_store(claim_of(), limited) == 3600
    assert deadline_to_store(claim_of(deadline_at=ACCEPTED), limited) is None
    assert deadline_to_store(claim_of(), free) is None


def test_it_is_known_by_two_clocks() -> None:
    deadline = ExecutionDeadline.of(Begun(ACCEPTED, 30.0), NOW)

    assert deadline is not None
    assert not deadline.has_passed(NOW + 29.9)
    assert deadline.has_passed(NOW + 30.0)
    assert deadline.or_before(None) == ACCEPTED
    later, earlier = ACCEPTED + timedelta(1), ACCEPTED - timedelta(1)
    assert deadline.or_before(later) == ACCEPTED
    assert deadline.or_before(earlier) == earlier
    assert ExecutionDeadline.of(Begun(None, None), NOW) is None


def test_what_has_passed_its_deadline_says_how_long_that_was() -> None:
    function = create_function("pay", handler, deadline="1h")
    passed = ExecutionDeadline(ACCEPTED + timedelta(hours=1), NOW)

    error = passed_limit(claim_of(), function, passed, NOW)

    assert error is not None
    assert error.execution_id == "e-1"
    assert error.message == (
        "pay has not ended within its deadline of 1 h, at 2026-03-01 13:00:00 UTC"
    )
    assert passed_limit(claim_of(), function, passed, NOW - 1) is None


def test_what_was_started_too_late_says_since_when_it_was_due() -> None:
    function = create_function("pay", handler, start_timeout="10m", deadline="1h")

    error = passed_limit(claim_of(601.0), function, None, NOW)

    assert error is not None
    assert error.message == (
        "no worker has started pay within its start_timeout of 10 min; it was due at "
        "2026-03-01 12:00:00 UTC"
    )
    assert passed_limit(claim_of(600.0), function, None, NOW) is None


@pytest.mark.parametrize(
    ("waited", "is_late"), [(3600 + 600, False), (3600 + 601, True)]
)
def test_a_delay_does_not_count(waited: float, is_late: bool) -> None:
    function = create_function("pay", handler, start_timeout="10m")
    delayed = claim_of(waited, eligible_at=ACCEPTED + timedelta(hours=1))

    assert (passed_limit(delayed, function, None, NOW) is not None) is is_late


@pytest.mark.parametrize(
    "begun", [{"attempt_count": 1}, {"attempt_started_at": ACCEPTED}]
)
def test_what_has_begun_is_not_judged_by_a_newer_start_timeout(
    begun: dict[str, Any],
) -> None:
    function = create_function("pay", handler, start_timeout="10m")
    with_step = replace(claim_of(601.0), steps={"s": new_step()})

    assert passed_limit(claim_of(601.0, **begun), function, None, NOW) is None
    assert passed_limit(with_step, function, None, NOW) is None
