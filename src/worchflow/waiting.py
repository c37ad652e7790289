"""Why an execution is not running now, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .durations import span
from .records import ExecutionStatus

if TYPE_CHECKING:
    from datetime import datetime

    from .records import Execution


def why_waiting(execution: Execution, now: datetime) -> str | None:
    """What it waits for; None for one that runs or has ended."""
    if execution.status is ExecutionStatus.RETRYING:
        return _retrying(execution, now)
    if execution.status is ExecutionStatus.QUEUED:
        return _queued(execution, now)
    return None


def _retrying(execution: Execution, now: datetime) -> str:
    failed = f"Attempt {execution.attempt_count} failed"
    if execution.error is not None:
        failed += f" with {execution.error.type}"
    if _is_ahead(execution.run_at, now):
        return f"{failed}; the next one is due {_when(execution.run_at, now)}."
    return f"{failed}; the next one waits for {_free_worker(execution)}."


def _queued(execution: Execution, now: datetime) -> str:
    if execution.reason is not None:
        again = ""
        if _is_ahead(execution.run_at, now):
            again = f"; the next look is {_when(execution.run_at, now)}"
        return f"{execution.reason[:1].upper()}{execution.reason[1:]}{again}."
    if _is_ahead(execution.run_at, now):
        return f"It was sent with a delay and is due {_when(execution.run_at, now)}."
    who = _free_worker(execution)
    if execution.started_at is not None:
        since = span((now - execution.updated_at).total_seconds())
        return f"It was handed back {since} ago and goes on with {who}."
    since = span((now - (execution.run_at or execution.created_at)).total_seconds())
    return f"It has been due for {since} and waits for {who}."


def _free_worker(execution: Execution) -> str:
    return f'a worker that serves "{execution.event_name}" and has a free slot'


def _is_ahead(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now


def _when(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "now"
    ahead = span((moment - now).total_seconds())
    return f"in {ahead}, at {moment:%Y-%m-%d %H:%M:%S} UTC"
