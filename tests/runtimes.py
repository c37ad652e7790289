"""A `Runtime` that a test drives."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from worchflow.foundations.runtime import Runtime

POLL_SECONDS = 0.002


class ManualRuntime(Runtime):
    """Its clocks stand still until they are moved, and its threads wait for that."""

    def __init__(self) -> None:
        self._beginning = int(datetime.now(UTC).timestamp())
        self.seconds = 1000.0
        self.waiting: set[threading.Event] = set()
        """What threads wait for until the clock has moved on."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._beginning + self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        end = self.seconds + seconds
        self.waiting.add(event)
        while self.seconds < end and not event.wait(POLL_SECONDS):
            pass
        self.waiting.discard(event)
        return event.is_set()
