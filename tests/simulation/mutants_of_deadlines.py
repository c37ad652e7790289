"""The rules of deadlines and start timeouts, taken out one by one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.simulation.mutant import Change, Mutant
from worchflow.engine import attempt, execution_deadline
from worchflow.engine.ownership import Interruption
from worchflow.storage.redis_mongo import beginning, executions
from worchflow.worker import claim_calls, execution_slots


def _not_cut_off() -> list[Change]:
    real = attempt.Attempt.time_out

    def time_out(self: Any, why: Interruption = Interruption.TIMEOUT) -> None:
        if why is not Interruption.DEADLINE:
            real(self, why)

    return [(attempt.Attempt, "time_out", time_out)]


def _suspended_for_longer() -> list[Change]:
    def or_before(self: Any, moment: Any) -> Any:
        return moment

    return [(execution_deadline.ExecutionDeadline, "or_before", or_before)]


def _counted_from_the_claim() -> list[Change]:
    real = beginning.date_or

    def date(field: str, otherwise: Any) -> Any:
        return "$$NOW" if field == "$acceptedAt" else real(field, otherwise)

    return [(beginning, "date_or", date)]


def _stored_anew_with_each_claim() -> list[Change]:
    real = beginning.date_or

    def date(field: str, otherwise: Any) -> Any:
        if field != "$deadlineAt":
            return real(field, otherwise)
        later = {"$add": ["$$NOW", otherwise["$add"][1]]}
        is_first = {"$eq": [{"$type": field}, "missing"]}
        return {"$cond": [is_first, otherwise, later]}

    def deadline_to_store(claim: Any, function: Any) -> Any:
        return function.deadline

    return [
        (beginning, "date_or", date),
        (claim_calls, "deadline_to_store", deadline_to_store),
    ]


def _kept_by_a_retry() -> list[Change]:
    real = executions._retry_change

    def change(*arguments: Any) -> Any:
        first, second = real(*arguments)
        gone = [each for each in second["$unset"] if each != "deadlineAt"]
        return [first, {"$unset": gone}]

    return [(executions, "_retry_change", change)]


def _runs_after_its_deadline() -> list[Change]:
    real = execution_slots.passed_limit

    def passed_limit(claim: Any, function: Any, _: Any, now: float) -> Any:
        return real(claim, function, None, now)

    return [(execution_slots, "passed_limit", passed_limit)]


def _retried_after_its_deadline() -> list[Change]:
    return [(attempt.Attempt, "has_time_for", lambda self, delay: True)]


def _every_claim_judged() -> list[Change]:
    def starts_too_late(claim: Any, function: Any) -> bool:
        timeout, execution = function.start_timeout, claim.execution
        if timeout is None:
            return False
        waited = execution.updated_at - execution.may_begin_at
        return bool(waited > timedelta(seconds=timeout))

    return [(execution_deadline, "_starts_too_late", starts_too_late)]


def _delay_counts_as_waiting() -> list[Change]:
    real = execution_deadline._starts_too_late

    def starts_too_late(claim: Any, function: Any) -> bool:
        execution, timeout = claim.execution, function.start_timeout
        if timeout is None or execution.retry_token or execution.token > 1:
            return real(claim, function)
        waited = execution.started_at - execution.accepted_at
        return bool(waited > timedelta(seconds=timeout))

    return [(execution_deadline, "_starts_too_late", starts_too_late)]


MUTANTS_OF_DEADLINES = (
    Mutant(
        "not cut off at its deadline",
        "code runs on, and completes what is late",
        _not_cut_off,
    ),
    Mutant(
        "suspended beyond its deadline",
        "what waits for ever never ends",
        _suspended_for_longer,
    ),
    Mutant(
        "deadline counted from the claim",
        "the time in the queue does not count",
        _counted_from_the_claim,
    ),
    Mutant(
        "deadline stored anew with each claim",
        "it moves whenever a worker dies",
        _stored_anew_with_each_claim,
    ),
    Mutant(
        "deadline kept by a retry",
        "what was late fails again at once",
        _kept_by_a_retry,
    ),
    Mutant(
        "claimed after its deadline and run",
        "code begins that may not",
        _runs_after_its_deadline,
    ),
    Mutant(
        "retried after its deadline",
        "it waits for an attempt that never comes, and its own error is lost",
        _retried_after_its_deadline,
    ),
    Mutant(
        "every claim judged by the start timeout",
        "what was started in time and waited fails as never started",
        _every_claim_judged,
    ),
    Mutant(
        "delay counted by the start timeout",
        "what was sent with a delay fails as never started",
        _delay_counts_as_waiting,
    ),
)
