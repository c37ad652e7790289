"""What a commit tells others: there is work, this is cancelled, that has happened.

Hints only save time. Whoever misses one finds out by looking.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from ...notices import Notice, decode_notice, encode_notice

Happening: TypeAlias = tuple[str, Callable[[], Notice]]
"""Prefix and what makes a notice: most of them nobody wants to hear."""

DATAGRAM_NOTICES = 100
"""Notices in one datagram: well below what a socket takes at once."""


@dataclass(slots=True)
class Hints:
    """Collected while a transaction runs, published once it is durable."""

    work: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Prefix and event name of what can be claimed now or has a new due time."""
    cancelled: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Prefix and id of owned executions that somebody wants cancelled."""
    happenings: list[Happening] = field(default_factory=list[Happening])
    _notices: list[tuple[str, Notice]] | None = None

    def add(self, other: Hints) -> None:
        """Take over what another part of the transaction collected."""
        self.work |= other.work
        self.cancelled |= other.cancelled
        self.happenings += other.happenings

    def tell(self, prefix: str, notice: Callable[[], Notice]) -> None:
        """Let those who watch an execution have a notice of it."""
        self.happenings.append((prefix, notice))

    def notices(self) -> list[tuple[str, Notice]]:
        """Prefix and notice of all that happened; call it once all is collected."""
        if self._notices is None:
            self._notices = [(prefix, make()) for prefix, make in self.happenings]
        return self._notices

    def urgent_datagrams(self) -> list[bytes]:
        """Work and cancellations, for all other processes."""
        if not (self.work or self.cancelled):
            return []
        urgent = {"work": list(self.work), "cancelled": list(self.cancelled)}
        return [json.dumps(urgent).encode()]

    def notice_datagrams(self) -> list[bytes]:
        """Notices, for the processes that watch."""
        texts = [(prefix, encode_notice(notice)) for prefix, notice in self.notices()]
        return [
            json.dumps({"notices": texts[start : start + DATAGRAM_NOTICES]}).encode()
            for start in range(0, len(texts), DATAGRAM_NOTICES)
        ]


def read_datagram(message: bytes) -> Hints:
    """The hints in a message; empty for anything that is none."""
    hints = Hints()
    try:
        fields: dict[str, Any] = json.loads(message)
        hints.work = {(str(p), str(event)) for p, event in fields.get("work", ())}
        hints.cancelled = {(str(p), str(i)) for p, i in fields.get("cancelled", ())}
        for prefix, text in fields.get("notices", ()):
            if (notice := decode_notice(text)) is not None:
                hints.tell(str(prefix), partial(itself, notice))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Hints()
    return hints


def itself(notice: Notice) -> Notice:
    """What makes a notice that is there already."""
    return notice
