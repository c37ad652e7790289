"""What must hold for the tries of a step that waits between them."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.simulation.plans import KINDS
from worchflow.foundations.ids import step_id

if TYPE_CHECKING:
    from tests.simulation.mongo_values import Document
    from tests.simulation.oracle import Oracle, Start

CLOCKS_DIFFER = 0.6
"""Seconds by which two primaries, and a worker's timers, differ at most."""
CERTAIN_AFTER = 0.2
"""Seconds after which a majority has a write, however slow the secondaries are."""

CONTINUED = "steps tried on after a suspension"
WAITED = "pauses between two tries in the store"
EVERY_CASE_OF_TRIES = (CONTINUED, WAITED)


class TryOracle:
    """Judges how often and when steps of one run are tried."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._stored: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        """When each wait was stored, and after how many tries."""
        self._before: dict[tuple[str, str, int], int] = {}
        """The tries that each claim knew of, before its first."""

    def stored(self, key: str, document: Document) -> None:
        """A wait is stored, or replaced."""
        if tries := document.get("tries"):
            self._oracle.counts[WAITED] += 1
            self._stored[key].append((self._oracle.world.now, tries))

    def starts(self, start: Start) -> int:
        """How often a step was tried that its claim knows of; its function is called.

        It does not begin before the moment until which it waits.
        """
        oracle, key = self._oracle, f"{start.id}:{step_id(start.title)}"
        wait = oracle.network.mongo.collection("waits").committed(key) or {}
        tries, claim = wait.get("tries", 0), (start.id, start.title, start.token)
        if claim not in self._before:
            latest = oracle.claimed_at(start.id, start.token) - CERTAIN_AFTER
            is_known = any(
                at < latest and each == tries for at, each in self._stored[key]
            )
            self._before[claim] = tries if is_known else 0
            oracle.counts[CONTINUED] += is_known
        if self._before[claim] or tries:
            earliest = wait["deadline"] - timedelta(seconds=CLOCKS_DIFFER)
            if oracle.server_now() < earliest:
                oracle.violated(f'"{start.title}" is tried too early', start.id)
        return self._before[claim]

    def recorded(self, step: Document) -> None:
        """A step is recorded: what has failed was tried as often as it may be."""
        plan = self._oracle.plans[step["executionId"]]
        most = KINDS[plan.kind].tries
        if step["status"] == "failed" and step.get("attempts", 1) != most > 1:
            self._oracle.violated(
                f"it was tried {step.get('attempts')} times, not {most}", plan.id
            )
