"""How an attempt ended, what follows from it, and what is stored of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any
from unittest.mock import ANY

import pytest

from tests.unit.engine.attempts import Engine
from worchflow import DeadlineExceeded, NonRetryable, Retry, RetryAfter
from worchflow.engine.attempt import Attempt
from worchflow.engine.execution_deadline import ExecutionDeadline
from worchflow.engine.outcome import (
    Outcome,
    failed_outcome,
    poisoned,
    recorded,
    too_late,
    unfinished,
    unstorable,
)
from worchflow.model.records import AttemptOutcome, StepStatus, StoredStep
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Settlement,
)
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import StoredWait


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
    attempt = await engine.attempt(handler, retries=retries)

    outcome = failed_outcome(attempt, error)

    settlement: Any = outcome.settlement
    is_final = expected is Failed
    kind: Any = Failed if is_final else RetryAt
    assert isinstance(settlement, kind)
    assert settlement.error.type == type(error).__name__
    assert outcome.notice.status == ("failed" if is_final else "retrying")
    if not is_final:
        assert settlement.delay == expected
    (line,) = caplog.records
    assert line.levelno == (logging.ERROR if is_final else logging.WARNING)
    assert line.exc_info is not None


@pytest.mark.parametrize(("left", "is_final"), [(59.0, True), (61.0, False)])
async def test_a_retry_after_the_deadline_is_not_waited_for(
    engine: Engine, left: float, is_final: bool, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = await engine.attempt(handler, retries=RETRIED)
    ends = attempt.loop.time() + left
    attempt.deadline = ExecutionDeadline(engine.runtime.clock.now(), ends)

    settlement: Any = failed_outcome(attempt, ValueError("bad")).settlement

    assert isinstance(settlement, Failed) is is_final
    assert settlement.error.type == "ValueError"
    assert ("the next would start after its deadline" in caplog.text) is is_final


async def test_what_never_ran_is_no_attempt(engine: Engine) -> None:
    attempt = await engine.attempt(handler)

    outcome = too_late(
        engine.runtime, attempt.claim, attempt.function, DeadlineExceeded("too late")
    )

    assert outcome.settlement == Failed(error=ANY, attempted=False)
    assert outcome.notice.status == "failed"


async def test_what_was_suspended_ends_its_attempt_in_its_wait(engine: Engine) -> None:
    attempt = await engine.attempt(handler)
    began = engine.runtime.clock.now()
    suspended = replace(attempt.claim.execution, attempt_started_at=began)
    wait = StoredWait(step_id="s", kind=StepKind.SLEEP, title="Nap", token=1)
    # It has its answer, and is kept.
    token = StoredWait(step_id="t", kind=StepKind.TOKEN, title="Manager", token=1)
    answered = StoredStep(step_id="t", title="Manager", status=StepStatus.COMPLETED)
    claim = replace(
        attempt.claim,
        execution=suspended,
        steps={"t": answered},
        waits={"t": token, "s": wait},
    )

    settlement: Any = too_late(
        engine.runtime, claim, attempt.function, DeadlineExceeded("too late")
    ).settlement

    assert settlement.attempted
    assert (settlement.error.type, settlement.error.step) == ("DeadlineExceeded", "Nap")
    assert settlement.attempt.started_at == began
    assert settlement.attempt.error == settlement.error


async def test_final_overrules_the_policy(engine: Engine) -> None:
    attempt = await engine.attempt(handler, retries=RETRIED)

    assert isinstance(
        failed_outcome(attempt, ValueError(), final=True).settlement, Failed
    )


async def with_token(engine: Engine, token: int) -> Attempt:
    """An attempt under the claim of this token, after those before it."""
    attempt = await engine.attempt(handler)
    while attempt.claim.token < token:
        attempt = await engine.attempt(handler)
    assert attempt.claim.token == token
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
    attempt = await with_token(engine, 2)
    began = engine.runtime.clock.now()
    notice = unfinished(attempt.claim, Cancelled()).notice

    made: Any = recorded(Outcome(settlement, notice), attempt, began).settlement

    assert (made.attempt.number, made.attempt.worker) == (1, "w-1")
    assert (made.attempt.started_at, made.attempt.outcome) == (began, outcome)
    assert made.attempt.ended_at >= began


async def test_nothing_is_stored_that_is_told_anyway(engine: Engine) -> None:
    for settlement, token in ((Completed("1"), 1), (Released(), 2)):
        attempt = await with_token(engine, token)
        outcome = Outcome(settlement, unfinished(attempt.claim, Cancelled()).notice)
        assert recorded(outcome, attempt, engine.runtime.clock.now()) is outcome


async def test_what_the_store_refuses_has_failed_with_a_record(engine: Engine) -> None:
    attempt = await with_token(engine, 1)
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
    attempt = await engine.attempt(handler)

    settlement = poisoned(attempt.claim).settlement

    assert isinstance(settlement, Failed)
    assert not settlement.attempted
    assert (settlement.attempt, settlement.error.type) == (None, "poison")


@pytest.mark.parametrize(
    ("settlement", "status"), [(Cancelled(), "cancelled"), (Released(), "queued")]
)
async def test_what_is_not_finished_tells_its_status(
    engine: Engine, settlement: Any, status: str
) -> None:
    attempt = await engine.attempt(handler)

    outcome = unfinished(attempt.claim, settlement)

    assert (outcome.settlement, outcome.notice.status) == (settlement, status)
