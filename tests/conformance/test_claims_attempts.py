"""Attempts: each settlement adds its own, and the newest ten are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.stores import ERROR, claim_one, expect, insert_one, joined, now, settle
from worchflow.model.records import (
    MAX_ATTEMPT_RECORDS,
    AttemptOutcome,
    AttemptRecord,
    Claim,
    ErrorInfo,
    ExecutionQuery,
    ExecutionStatus,
)
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Settlement,
)
from worchflow.storage.contract.backend import Backend


def record(claim: Claim, outcome: str, error: ErrorInfo | None = None) -> AttemptRecord:
    return AttemptRecord(
        number=claim.execution.attempt_count + 1,
        worker=claim.worker_id,
        started_at=now(),
        ended_at=now() + timedelta(seconds=3),
        outcome=AttemptOutcome(outcome),
        error=error,
    )


@pytest.mark.parametrize(
    ("outcome", "error", "settlement"),
    [
        ("completed", None, lambda attempt: Completed(result="1", attempt=attempt)),
        ("failed", ERROR, lambda attempt: Failed(error=ERROR, attempt=attempt)),
        (
            "failed",
            ERROR,
            lambda attempt: RetryAt(error=ERROR, delay=60, attempt=attempt),
        ),
        ("cancelled", None, lambda attempt: Cancelled(attempt=attempt)),
    ],
    ids=["completed", "failed", "retrying", "cancelled"],
)
async def test_an_attempt_is_stored_with_its_settlement(
    backend: Backend, outcome: str, error: ErrorInfo | None, settlement: Any
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    await settle(backend, await claim_one(backend, worker), Released())
    claim = await claim_one(backend, worker)
    attempt = record(claim, outcome, error)

    await settle(backend, claim, settlement(attempt))

    await expect(backend, id_, attempts=(attempt,))


async def test_the_only_attempt_is_told_by_a_completed_execution(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)

    await settle(backend, claim, Completed(result="1"))

    found = await expect(backend, id_, status=ExecutionStatus.COMPLETED)
    (attempt,) = found.attempts
    assert (attempt.number, attempt.worker) == (1, worker.id)
    assert attempt.outcome is AttemptOutcome.COMPLETED
    assert attempt.error is None
    assert (attempt.started_at, attempt.ended_at) == (
        found.started_at,
        found.finished_at,
    )


async def test_without_a_record_a_later_claim_leaves_no_attempt(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    await settle(backend, await claim_one(backend, worker), Released())

    await settle(backend, await claim_one(backend, worker), Completed(result="1"))

    await expect(backend, id_, attempts=())


async def test_the_newest_attempts_are_kept_the_oldest_first(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    made: list[AttemptRecord] = []
    for _ in range(MAX_ATTEMPT_RECORDS + 2):
        claim = await claim_one(backend, worker)
        made.append(record(claim, "failed", ERROR))
        again = RetryAt(error=ERROR, delay=0.0, attempt=made[-1])
        await settle(backend, claim, again)

    await expect(backend, id_, attempts=tuple(made[-MAX_ATTEMPT_RECORDS:]))
    assert [each.number for each in made] == list(range(1, 13))


@pytest.mark.parametrize(
    "settlement",
    [Released(), Released(delay=0.0, reason="none"), Failed(error=ERROR)],
    ids=["released", "released with a reason", "no attempt"],
)
async def test_what_has_no_attempt_keeps_those_before(
    backend: Backend, settlement: Settlement
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    first = record(claim, "failed", ERROR)
    await settle(backend, claim, RetryAt(error=ERROR, delay=0.0, attempt=first))
    claim = await claim_one(backend, worker)

    await settle(backend, claim, settlement)

    await expect(backend, id_, attempts=(first,))


async def test_a_settlement_that_becomes_a_cancellation_keeps_its_attempt(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    await backend.executions.cancel(id_, None)
    attempt = record(claim, "failed", ERROR)

    await settle(backend, claim, RetryAt(error=ERROR, delay=0.0, attempt=attempt))

    status = ExecutionStatus.CANCELLED
    await expect(backend, id_, status=status, attempts=(attempt,))


async def test_attempts_survive_an_explicit_retry(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    attempt = record(claim, "failed", ERROR)
    await settle(backend, claim, Failed(error=ERROR, attempt=attempt))

    await backend.executions.retry(id_)

    await expect(backend, id_, attempts=(attempt,), attempt_count=0)


@pytest.mark.parametrize("is_first", [True, False], ids=["first claim", "second claim"])
async def test_a_listing_without_payloads_has_no_attempts(
    backend: Backend, is_first: bool
) -> None:
    worker = await joined(backend)
    await insert_one(backend)
    if not is_first:
        await settle(backend, await claim_one(backend, worker), Released())
    claim = await claim_one(backend, worker)
    attempt = None if is_first else record(claim, "completed")
    await settle(backend, claim, Completed(result="1", attempt=attempt))

    for payloads, number in ((True, 1), (False, 0)):
        (found,) = (await backend.listing.page(ExecutionQuery(payloads=payloads))).items
        assert len(found.attempts) == number
