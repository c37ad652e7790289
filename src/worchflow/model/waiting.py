"""Why an execution is not running now, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..foundations.durations import format_duration
from .records import ExecutionStatus
from .transitions import unserved_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from .records import Execution, WorkerSeen

MAX_MESSAGE_LENGTH = 200
"""Characters of an error's message; the whole of it is beside the sentence."""
TO_BE_CANCELLED = (
    "Its cancellation was requested; it ends as cancelled once its running code stops."
)
UPKEEP_SECONDS = 10.0
"""Seconds; between two looks of a worker for what dead ones own, and some room."""


def why_waiting(
    execution: Execution,
    now: datetime,
    workers: Sequence[WorkerSeen] | None = None,
    lease_ttl: float = 0.0,
) -> str | None:
    """What it waits for; None for one that has ended, or runs and is not cancelled.

    With the workers of its store and the length of their leases in seconds it is told
    too that its worker is silent, or that none serves its event.
    """
    status, deadline = execution.status, execution.deadline_at
    if status.is_terminal:
        return None
    if status is ExecutionStatus.PROCESSING:
        silent = None if workers is None else _silent(execution, workers, lease_ttl)
        return silent or (TO_BE_CANCELLED if execution.cancel_requested else None)
    if deadline is not None and deadline <= now:
        who = _free_worker(execution, workers)
        return f"Its deadline has passed; it waits for {who}, to fail."
    if status is ExecutionStatus.RETRYING:
        return _retrying(execution, now, workers)
    if status.is_suspended:
        return _suspended(execution, now, workers)
    return _queued(execution, now, workers)


def _silent(
    execution: Execution, workers: Sequence[WorkerSeen], lease_ttl: float
) -> str | None:
    if execution.worker is None:
        return None
    own = next((each for each in workers if each.id == execution.worker), None)
    if own is not None and own.is_alive and (own.silent_for or 0.0) < lease_ttl / 2:
        return None
    worker = f"Its worker {execution.worker}"
    if own is None:
        said = f"{worker} is gone"
    elif own.silent_for is None:
        said = f"{worker} ended with the machine it was on"
    else:
        said = f"{worker} was last heard of {format_duration(own.silent_for)} ago"
    flagged = execution.cancel_requested
    takes_over = "cancels it" if flagged else "takes over"
    if own is not None and own.is_alive:
        rest = format_duration(lease_ttl - (own.silent_for or 0.0) + UPKEEP_SECONDS)
        return (
            f"{said}; unless it is heard of again, another {takes_over} within {rest}."
        )
    if not any(each.is_alive for each in workers):
        return f"{said}; a worker {takes_over} once one is started."
    taken_over = "cancelled" if flagged else "taken over"
    longest = format_duration(lease_ttl + UPKEEP_SECONDS)
    return f"{said}; it is {taken_over} within {longest}."


def _retrying(
    execution: Execution, now: datetime, workers: Sequence[WorkerSeen] | None
) -> str:
    failed = f"Attempt {execution.attempt_count} failed"
    if execution.error is not None:
        message = " ".join(execution.error.message.split())
        failed += f" with {execution.error.type}"
        failed += f": {_shortened(message)}" if message else ""
    if execution.reason is not None:
        return f"{failed}; {_reason(execution, now)}."
    if _is_ahead(execution.run_at, now):
        return f"{failed}; the next one is due {_when(execution.run_at, now)}."
    return f"{failed}; the next one waits for {_free_worker(execution, workers)}."


def _suspended(
    execution: Execution, now: datetime, workers: Sequence[WorkerSeen] | None
) -> str:
    waits_for = execution.reason or "something that has not come"
    if waits_for == unserved_reason(execution.event_name):
        return _queued(execution, now, workers)
    if execution.run_at is None:
        return f"It waits for {waits_for}."
    if _is_ahead(execution.run_at, now):
        when = _when(execution.run_at, now)
        if execution.run_at == execution.deadline_at:
            return f"It waits for {waits_for}; it fails at its deadline, {when}."
        if execution.status is ExecutionStatus.SLEEPING:
            return f"It waits for {waits_for}; it is due {when}."
        return f"It waits for {waits_for}; at the latest it continues {when}."
    return f"It is due and continues with {_free_worker(execution, workers)}."


def _shortened(text: str) -> str:
    longest = MAX_MESSAGE_LENGTH
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _reason(execution: Execution, now: datetime) -> str:
    again = ""
    if _is_ahead(execution.run_at, now):
        again = f"; it is looked at again {_when(execution.run_at, now)}"
    return f"{execution.reason}{again}"


def _queued(
    execution: Execution, now: datetime, workers: Sequence[WorkerSeen] | None
) -> str:
    if execution.reason is not None:
        reason = _reason(execution, now)
        return f"{reason[:1].upper()}{reason[1:]}."
    if _is_ahead(execution.run_at, now):
        return f"It was sent with a delay and is due {_when(execution.run_at, now)}."
    who = _free_worker(execution, workers)
    if execution.started_at is not None:
        since = format_duration((now - execution.updated_at).total_seconds())
        return f"It has been due for {since} and continues with {who}."
    # It was accepted, or retried.
    since = format_duration(
        (now - (execution.run_at or execution.updated_at)).total_seconds()
    )
    return f"It has been due for {since} and waits for {who}."


def _free_worker(
    execution: Execution, workers: Sequence[WorkerSeen] | None = None
) -> str:
    event = execution.event_name
    if workers is not None and not any(
        each.is_alive and event in each.functions for each in workers
    ):
        return f'a worker that serves "{event}": none is running'
    return f'a worker that serves "{event}" and has a free slot'


def _is_ahead(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now


def _when(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "now"
    ahead = format_duration((moment - now).total_seconds())
    return f"in {ahead}, at {moment:%Y-%m-%d %H:%M:%S} UTC"
