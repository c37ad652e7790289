"""The table of moves between statuses, and what follows from it."""

from __future__ import annotations

from worchflow.model.records import TERMINAL, ExecutionStatus
from worchflow.model.transitions import (
    CLAIMABLE,
    MAX_REQUEUE_DELAY,
    MOVES,
    RETRYABLE,
    can_move,
    requeue_delay,
)


def test_each_status_has_its_moves_and_none_leads_to_itself() -> None:
    assert set(MOVES) == set(ExecutionStatus)
    assert not [status for status in ExecutionStatus if can_move(status, status)]


def test_the_lists_of_statuses_agree_with_the_table() -> None:
    processing, queued = ExecutionStatus.PROCESSING, ExecutionStatus.QUEUED

    assert {s for s in ExecutionStatus if can_move(s, processing)} == CLAIMABLE
    assert {s for s in TERMINAL if can_move(s, queued)} == RETRYABLE
    assert not can_move(ExecutionStatus.COMPLETED, queued)
    for status in TERMINAL:
        assert MOVES[status] <= {queued}


def test_an_unserved_execution_waits_longer_each_time_up_to_a_bound() -> None:
    delays = [requeue_delay(times) for times in (0, 1, 4, 5, 10**9)]

    assert delays == [1.0, 2.0, 16.0, MAX_REQUEUE_DELAY, MAX_REQUEUE_DELAY]
