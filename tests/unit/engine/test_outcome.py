"""How an attempt ended, what follows from it, and what is stored of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.engine.attempts import Engine
from worchflow import NonRetryable, Retry, RetryAfter
from worchflow.engine.outcome import (
    Outcome,
    failed_outcome,
    poisoned,
    recorded,
    unfinished,
    unstorable,
)
from worchflow.model.records import AttemptOutcome, Claim
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Settlement,
)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


async def handler(ctx: Any) -> None: ...


RETRIED = Retry(max_retries=1, delay=60, immediate_first=False, jitter=False)


@pytest.mark.parametrize(
    ("error", "retries", "expected"),
    [
        (ValueError("bad"), 0, Failed),
        (ValueError("bad"), RETRIED, 60.0),
        (RetryAfter("5m"), RETRIED, 300.0),
        (NonRetryable("no"), RETRIED, Failed),
    ],
)
async def test_a_failure_is_retried_or_final(
    engine: Engine,
    error: Exception,
    retries: Any,
    expected: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcome = failed_outcome(engine.attempt(handler, retries=retries), error)

    settlement: Any = outcome.settlement
    is_final = expected is Failed
    assert isinstance(settlement, Failed if is_final else RetryAt)
    assert settlement.error.type == type(error).__name__
    assert outcome.notice.status == ("failed" if is_final else "retrying")
    if not is_final:
        assert settlement.delay == expected
    (line,) = caplog.records
    assert line.levelno == (logging.ERROR if is_final else logging.WARNING)
    assert line.exc_info is not None


async def test_final_overrules_the_policy(engine: Engine) -> None:
    attempt = engine.attempt(handler, retries=RETRIED)

    assert isinstance(
        failed_outcome(attempt, ValueError(), final=True).settlement, Failed
    )


def with_token(engine: Engine, token: int) -> Any:
    attempt = engine.attempt(handler)
    claim = attempt.claim
    attempt.claim = Claim(claim.execution, claim.worker_id, token)
    return attempt


@pytest.mark.parametrize(
    ("settlement", "outcome"),
    [
        (Completed("1"), AttemptOutcome.COMPLETED),
        (Cancelled(), AttemptOutcome.CANCELLED),
    ],
)
async def test_the_record_of_an_attempt_is_stored_with_its_settlement(
    engine: Engine, settlement: Settlement, outcome: AttemptOutcome
) -> None:
    attempt = with_token(engine, 2)
    began = engine.runtime.clock.now()
    notice = unfinished(attempt.claim, Cancelled()).notice

    made: Any = recorded(Outcome(settlement, notice), attempt, began).settlement

    assert (made.attempt.number, made.attempt.worker) == (1, "w-1")
    assert (made.attempt.started_at, made.attempt.outcome) == (began, outcome)
    assert made.attempt.ended_at >= began


async def test_nothing_is_stored_that_is_told_anyway(engine: Engine) -> None:
    notice = unfinished(with_token(engine, 1).claim, Cancelled()).notice
    for settlement, token in ((Completed("1"), 1), (Released(), 2)):
        outcome = Outcome(settlement, notice)
        attempt = with_token(engine, token)
        assert recorded(outcome, attempt, engine.runtime.clock.now()) is outcome


async def test_what_the_store_refuses_has_failed_with_a_record(engine: Engine) -> None:
    attempt = with_token(engine, 1)
    notice = unfinished(attempt.claim, Cancelled()).notice
    refused = Outcome(Completed("1"), notice)

    outcome = unstorable(
        engine.runtime, attempt.claim, refused, ValueError("too large")
    )

    settlement = outcome.settlement
    assert isinstance(settlement, Failed)
    assert settlement.attempt is not None
    assert settlement.attempt.outcome is AttemptOutcome.FAILED
    assert settlement.attempt.error == settlement.error
    assert settlement.error.message == "too large"


async def test_poison_is_no_attempt(engine: Engine) -> None:
    settlement = poisoned(engine.attempt(handler).claim).settlement

    assert isinstance(settlement, Failed)
    assert not settlement.attempted
    assert (settlement.attempt, settlement.error.type) == (None, "poison")


@pytest.mark.parametrize(
    ("settlement", "status"), [(Cancelled(), "cancelled"), (Released(), "queued")]
)
async def test_what_is_not_finished_tells_its_status(
    engine: Engine, settlement: Any, status: str
) -> None:
    outcome = unfinished(engine.attempt(handler).claim, settlement)

    assert (outcome.settlement, outcome.notice.status) == (settlement, status)
