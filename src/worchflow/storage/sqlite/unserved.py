"""Executions of events that no live worker serves: they wait longer and say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.records import SUSPENDED
from ...model.transitions import requeue_delay, unserved_reason
from .rows import one_of
from .times import boot_id, due_after

if TYPE_CHECKING:
    from .writer import Transaction

MAX_REQUEUED = 100
"""Executions put off by one call; the next call continues."""

# Walks from one event name to the next in the index, past all that wait under it.
_DUE_EVENTS = """
    WITH RECURSIVE due (event_name) AS (
        SELECT min(event_name) FROM executions
            WHERE queue_prefix = :prefix AND due_at IS NOT NULL
        UNION ALL
        SELECT (
            SELECT min(event_name) FROM executions
            WHERE queue_prefix = :prefix AND due_at IS NOT NULL
                AND event_name > due.event_name
        ) FROM due WHERE due.event_name IS NOT NULL
    )
    SELECT event_name FROM due
    WHERE event_name IS NOT NULL AND event_name NOT IN (
        SELECT json_extract(f.value, '$[0]')
        FROM workers, json_each(workers.functions) AS f
        WHERE queue_prefix = :prefix AND NOT dead
            AND boot_id = :boot_id AND lease_until > :lease_now
    )
"""

_DUE = """
    SELECT seq, hand_ons FROM executions
    WHERE queue_prefix = ? AND event_name = ? AND due_at <= ?
    ORDER BY due_at LIMIT ?
"""

_PUT_OFF = """
    UPDATE executions SET hand_ons = hand_ons + 1, due_at = ?, run_at = ?, reason = ?
    WHERE seq = ?
"""

# What is suspended without a due time would wait for a wake-up.
_PUT_BACK = f"""
    UPDATE executions SET hand_ons = 0, due_at = :now, reason = NULL,
        run_at = iif({one_of(SUSPENDED)}, :now, NULL)
    WHERE seq IN (
        SELECT seq FROM executions
        WHERE queue_prefix = :prefix AND hand_ons > 0 AND due_at > :now
            AND event_name IN (
                SELECT json_extract(value, '$[0]') FROM json_each(:functions)
            )
        ORDER BY due_at LIMIT :limit
    )
"""  # noqa: S608 - made of constants


def requeue(tx: Transaction, prefix: str) -> None:
    """Put off what is due and what no live worker serves, some at a time."""
    parameters = {"prefix": prefix, "boot_id": boot_id(), "lease_now": tx.lease_now}
    room = MAX_REQUEUED
    for (event_name,) in tx.connection.execute(_DUE_EVENTS, parameters).fetchall():
        due = tx.connection.execute(_DUE, (prefix, event_name, tx.now, room)).fetchall()
        reason = unserved_reason(event_name)
        counts = [n if isinstance(n, int) else 0 for _, n in due]
        times = [due_after(tx.now, requeue_delay(count)) for count in counts]
        tx.connection.executemany(
            _PUT_OFF,
            [
                (then, then, reason, number)
                for then, (number, _) in zip(times, due, strict=True)
            ],
        )
        room -= len(due)
        if room <= 0:
            return


def put_back(tx: Transaction, prefix: str, functions: str) -> None:
    """A worker for these events has come: what was put off need not wait longer."""
    tx.connection.execute(
        _PUT_BACK,
        {
            "now": tx.now,
            "prefix": prefix,
            "functions": functions,
            "limit": MAX_REQUEUED * 100,
        },
    )
