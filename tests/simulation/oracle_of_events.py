"""What must hold for events: none is lost, and none ends two waits."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.mongo_values import Document
    from tests.simulation.oracle import Oracle

PRIMARIES_DIFFER = 0.5
"""Seconds by which the clocks of two primaries differ at most."""


class EventOracle:
    """Judges the events of one run."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._taken: dict[tuple[str, str], str] = {}
        """By which step each event of an execution was taken."""
        self._emitted: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
        """Of each execution the events that were certainly accepted by then."""

    def was_taken(self, id: str, title: str, value: str | None) -> None:
        """A handler was given an event, or is told that none came in time."""
        self._oracle.saw(id, title, value or "nothing")
        if value is None:
            return
        self._oracle.counts["events taken"] += 1
        if self._taken.setdefault((id, value), title) != title:
            self._oracle.violated(f"{value} ends two waits", id)

    def has_event(self, id: str, number: int) -> bool:
        """Whether an event of an execution is accepted, as only the store can say."""
        events = self._oracle.network.mongo.collection("events")
        return events.committed(f"w {id}-{number}") is not None

    def was_emitted(self, id: str, value: str) -> None:
        """A client was told that an event of an execution is accepted."""
        self._emitted[id].append((value, self._oracle.server_now()))

    def wait_ends(self, step: Document) -> None:
        """A wait that ends without an event: there was none that it could take."""
        result = step.get("result")
        if result not in (None, "null"):
            return
        self._oracle.counts["waits timed out"] += 1
        id_, mongo = step["executionId"], self._oracle.network.mongo
        wait = mongo.collection("waits").latest.get(step["_id"])
        if wait is None:
            return
        deadline = wait["deadline"]
        taken = mongo.collection("takenEvents").latest.values()
        losers = self._oracle.fan_out.losers(id_)
        gone = {
            each["eventId"]
            for each in taken
            if each["executionId"] == id_ and each["stepId"] not in losers
        }
        latest = deadline - timedelta(seconds=PRIMARIES_DIFFER)
        for value, at in self._emitted[id_]:
            event_id = f"{id_}-{value.split()[1]}"
            if at < latest and event_id not in gone:
                self._oracle.violated(
                    f"{value} had come before its wait timed out", id_
                )
