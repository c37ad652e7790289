"""The legal moves between statuses, and the small decisions about waiting work."""

from __future__ import annotations

from .records import TERMINAL, ExecutionStatus

S = ExecutionStatus

MOVES: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    S.QUEUED: frozenset({S.PROCESSING, S.CANCELLED}),
    S.PROCESSING: frozenset(set(S) - {S.PROCESSING}),
    S.RETRYING: frozenset({S.PROCESSING, S.CANCELLED}),
    S.SLEEPING: frozenset({S.PROCESSING, S.QUEUED, S.CANCELLED}),
    S.WAITING: frozenset({S.PROCESSING, S.QUEUED, S.CANCELLED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset({S.QUEUED}),
    S.CANCELLED: frozenset({S.QUEUED}),
}
"""`failed` and `cancelled` lead back to `queued` by an explicit retry only, `sleeping`
and `waiting` by a wake-up; once due, these are claimed as they are."""


UNSURE = -1
"""`deaths` of what was recovered once, and nobody knows whether its code had begun."""

KILLED_WORKERS = "workers died while running it"
"""The stored reason of what waits after two deaths and more."""

MAX_REQUEUE_DELAY = 30.0
"""Seconds; the longest wait of an execution that no live worker serves."""


def can_move(before: ExecutionStatus, after: ExecutionStatus) -> bool:
    """Whether the state machine has this move."""
    return after in MOVES[before]


CLAIMABLE = frozenset(each for each in S if can_move(each, S.PROCESSING))
RETRYABLE = frozenset(each for each in TERMINAL if can_move(each, S.QUEUED))


def requeue_delay(times: int) -> float:
    """Seconds an unserved execution waits after being handed on `times` before."""
    return min(MAX_REQUEUE_DELAY, 2.0 ** min(times, 10))


def unserved_reason(event_name: str) -> str:
    """The stored reason of an execution that no live worker serves."""
    return f'no live worker serves the event "{event_name}"'
