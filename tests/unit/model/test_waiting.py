from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from worchflow import Execution, ExecutionStatus
from worchflow.foundations.durations import format_duration
from worchflow.model.records import ErrorInfo, WorkerSeen
from worchflow.model.waiting import TO_BE_CANCELLED, why_waiting

WORKER = 'a worker that serves "pay" and has a free slot'
NOW = datetime(2030, 1, 31, 8, tzinfo=UTC)
SENT = NOW - timedelta(minutes=5)
SOON = NOW + timedelta(hours=1)
QUEUED = Execution(
    id="e-1",
    event_name="pay",
    function_id=None,
    data=None,
    status=ExecutionStatus.QUEUED,
    result=None,
    error=None,
    attempt_count=0,
    recoveries=0,
    created_at=SENT,
    updated_at=SENT,
    started_at=None,
    finished_at=None,
    run_at=None,
    worker=None,
    reason=None,
    cancel_requested=False,
)
RETRYING = replace(
    QUEUED,
    status=ExecutionStatus.RETRYING,
    attempt_count=2,
    error=ErrorInfo(type="ValueError", message="no", traceback=""),
)


SLEEPING = replace(
    QUEUED, status=ExecutionStatus.SLEEPING, reason='the end of sleep "Nap"'
)


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
def test_what_runs_or_has_ended_does_not_wait(status: str) -> None:
    execution = replace(QUEUED, status=ExecutionStatus(status), reason="x")

    assert why_waiting(execution, NOW) is None


@pytest.mark.parametrize(
    ("execution", "sentence"),
    [
        (
            QUEUED,
            f"It has been due for 5 min and waits for {WORKER}.",
        ),
        (
            # A retry of an old one.
            replace(QUEUED, updated_at=NOW - timedelta(seconds=3)),
            f"It has been due for 3.0 s and waits for {WORKER}.",
        ),
        (
            replace(SLEEPING, reason="news", run_at=SOON, deadline_at=SOON),
            (
                "It waits for news; it fails at its deadline, in 1 h, at "
                "2030-01-31 09:00:00 UTC."
            ),
        ),
        (
            replace(SLEEPING, status=ExecutionStatus.WAITING, run_at=SOON),
            (
                'It waits for the end of sleep "Nap"; at the latest it continues '
                "in 1 h, at 2030-01-31 09:00:00 UTC."
            ),
        ),
        (
            replace(SLEEPING, run_at=NOW, deadline_at=NOW),
            f"Its deadline has passed; it waits for {WORKER}, to fail.",
        ),
        (
            replace(QUEUED, run_at=NOW + timedelta(hours=1)),
            "It was sent with a delay and is due in 1 h, at 2030-01-31 09:00:00 UTC.",
        ),
        (
            replace(QUEUED, run_at=NOW - timedelta(seconds=2)),
            f"It has been due for 2.0 s and waits for {WORKER}.",
        ),
        (
            replace(QUEUED, started_at=SENT, updated_at=NOW - timedelta(seconds=90)),
            f"It has been due for 1 min 30 s and continues with {WORKER}.",
        ),
        (
            replace(
                QUEUED,
                reason='no live worker serves the event "pay"',
                run_at=NOW + timedelta(seconds=8),
            ),
            (
                'No live worker serves the event "pay"; it is looked at again '
                "in 8.0 s, at 2030-01-31 08:00:08 UTC."
            ),
        ),
        (
            replace(RETRYING, run_at=NOW + timedelta(seconds=0.25)),
            (
                "Attempt 2 failed with ValueError: no; the next one is due in 250 ms, "
                "at 2030-01-31 08:00:00 UTC."
            ),
        ),
        (
            replace(RETRYING, reason='no live worker serves the event "pay"'),
            (
                "Attempt 2 failed with ValueError: no; no live worker serves the event "
                '"pay".'
            ),
        ),
        (
            replace(SLEEPING, run_at=NOW + timedelta(days=2)),
            (
                'It waits for the end of sleep "Nap"; it is due in 2 d, at '
                "2030-02-02 08:00:00 UTC."
            ),
        ),
        (
            replace(SLEEPING, run_at=NOW),
            f"It is due and continues with {WORKER}.",
        ),
        (
            replace(
                SLEEPING,
                reason='no live worker serves the event "pay"',
                run_at=NOW + timedelta(seconds=8),
            ),
            (
                'No live worker serves the event "pay"; it is looked at again '
                "in 8.0 s, at 2030-01-31 08:00:08 UTC."
            ),
        ),
        (
            replace(SLEEPING, status=ExecutionStatus.WAITING, reason=None),
            "It waits for something that has not come.",
        ),
        (
            replace(RETRYING, run_at=NOW, error=None),
            f"Attempt 2 failed; the next one waits for {WORKER}.",
        ),
    ],
)
def test_what_waits_says_why(execution: Execution, sentence: str) -> None:
    assert why_waiting(execution, NOW) == sentence


def seen(
    id: str, silent_for: float | None, *, alive: bool = True, event: str = "pay"
) -> WorkerSeen:
    return WorkerSeen(
        id=id, functions={event: event}, silent_for=silent_for, is_alive=alive
    )


RUNNING = replace(QUEUED, status=ExecutionStatus.PROCESSING, worker="w-1")


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        ([seen("w-1", 4.0)], None),
        (
            [seen("w-1", 12.0)],
            (
                "was last heard of 12.0 s ago; unless it is heard of again, another "
                "takes over within 18.0 s."
            ),
        ),
        (
            [seen("w-1", 40.0, alive=False), seen("w-2", 1.0)],
            "was last heard of 40.0 s ago; it is taken over within 30.0 s.",
        ),
        (
            [seen("w-1", 2.0, alive=False), seen("w-2", 90.0, alive=False)],
            "was last heard of 2.0 s ago; a worker takes over once one is started.",
        ),
        (
            [seen("w-1", None, alive=False), seen("w-2", 1.0)],
            "ended with the machine it was on; it is taken over within 30.0 s.",
        ),
        ([seen("w-2", 1.0)], "is gone; it is taken over within 30.0 s."),
        ([], "is gone; a worker takes over once one is started."),
    ],
)
def test_who_runs_it_is_told_once_it_is_silent(
    workers: list[WorkerSeen], sentence: str | None
) -> None:
    expected = None if sentence is None else f"Its worker w-1 {sentence}"

    assert why_waiting(RUNNING, NOW, workers, lease_ttl=20.0) == expected

    flagged = replace(RUNNING, cancel_requested=True)
    told = why_waiting(flagged, NOW, workers, lease_ttl=20.0)
    if expected is None:
        expected = TO_BE_CANCELLED
    cancelled = expected.replace("takes over", "cancels it")
    assert told == cancelled.replace("taken over", "cancelled")


def test_that_a_running_one_is_to_be_cancelled_is_told() -> None:
    flagged = replace(RUNNING, cancel_requested=True)

    assert why_waiting(flagged, NOW) == TO_BE_CANCELLED
    assert why_waiting(replace(flagged, cancel_requested=False), NOW) is None


@pytest.mark.parametrize(
    ("workers", "end"),
    [
        ([seen("w-1", 1.0)], "and has a free slot."),
        ([], ": none is running."),
        ([seen("w-1", 1.0, event="other")], ": none is running."),
        ([seen("w-1", 1.0, alive=False)], ": none is running."),
    ],
)
@pytest.mark.parametrize("execution", [QUEUED, RETRYING, replace(SLEEPING, run_at=NOW)])
def test_that_no_worker_serves_it_is_told(
    execution: Execution, workers: list[WorkerSeen], end: str
) -> None:
    sentence = why_waiting(execution, NOW, workers)

    assert sentence is not None
    assert sentence.endswith(end)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 ms"),
        (0.0124, "12 ms"),
        (0.9999, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (3720, "1 h 2 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_a_length_of_time_is_told_in_two_units_at_most(
    seconds: float, text: str
) -> None:
    assert format_duration(seconds) == text
