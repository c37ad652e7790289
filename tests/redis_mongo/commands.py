"""What a backend sends to MongoDB, counted."""

from __future__ import annotations

from collections import Counter

from pymongo import monitoring


class Commands(monitoring.CommandListener):
    """Counts the commands that MongoDB is sent."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.read_levels: Counter[str] = Counter()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        name = event.command_name
        self.seen[f"{name} {event.command.get(name)}"] += 1
        if name in {"find", "aggregate"}:
            level = event.command.get("readConcern", {}).get("level", "local")
            self.read_levels[level] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...
