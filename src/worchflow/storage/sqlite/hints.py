"""What a commit tells others: there is work, this is cancelled, that has happened.

Hints only save time. Whoever misses one finds out by looking.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...model.notices import PROGRESS, decode_notice, encode_notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...model.notices import Notice

MAX_DATAGRAM_NOTICES = 100
"""Notices in one datagram: well below what a socket takes at once."""
MAX_DATAGRAM_IDS = 250
"""Ids of executions, of up to 400 bytes with their prefix, in one datagram."""


@dataclass(slots=True)
class Happening:
    """What makes a notice once somebody wants to hear it: most of them nobody does."""

    prefix: str
    is_progress: bool
    make: Callable[[], Notice]
    made: Notice | None = None

    @property
    def notice(self) -> Notice:
        """The notice; ask for it once the transaction is durable."""
        if self.made is None:
            self.made = self.make()
        return self.made


@dataclass(slots=True)
class Hints:
    """Collected while a transaction runs, published once it is durable."""

    work: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Prefix and event name of what can be claimed now or has a new due time."""
    cancelled: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Prefix and id of owned executions that somebody wants cancelled."""
    woken: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Prefix and id of executions that were woken, maybe where they run."""
    happenings: list[Happening] = field(default_factory=list[Happening])

    def add(self, other: Hints) -> None:
        """Take over what another part of the transaction collected."""
        self.work |= other.work
        self.cancelled |= other.cancelled
        self.woken |= other.woken
        self.happenings += other.happenings

    def tell(
        self, prefix: str, notice: Callable[[], Notice], *, progress: bool = False
    ) -> None:
        """Let those who watch an execution, or its `progress`, have a notice of it."""
        self.happenings.append(Happening(prefix, progress, notice))

    @property
    def have_more_than_progress(self) -> bool:
        """Whether there is more than the progress of executions that continue."""
        return bool(
            self.work
            or self.cancelled
            or self.woken
            or not all(happening.is_progress for happening in self.happenings)
        )

    def urgent_datagrams(self) -> list[bytes]:
        """Work, cancellations and wake-ups, for all other processes."""
        urgent: list[dict[str, Any]] = []
        cancelled, woken = list(self.cancelled), list(self.woken)
        if self.work or cancelled:
            both = {"work": list(self.work), "cancelled": cancelled[:MAX_DATAGRAM_IDS]}
            urgent.append(both)
        urgent += _in_pages("cancelled", cancelled[MAX_DATAGRAM_IDS:])
        urgent += _in_pages("woken", woken)
        return [json.dumps(each).encode() for each in urgent]

    def all_datagrams(self) -> list[bytes]:
        """All notices, for the processes that follow the progress of an execution."""
        return _notice_datagrams(self.happenings)

    def end_datagrams(self) -> list[bytes]:
        """Notices of no mere progress, for the processes that wait for results."""
        return _notice_datagrams(
            [one for one in self.happenings if not one.is_progress]
        )


def _in_pages(field_: str, ids: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {field_: ids[start : start + MAX_DATAGRAM_IDS]}
        for start in range(0, len(ids), MAX_DATAGRAM_IDS)
    ]


def _notice_datagrams(happenings: Sequence[Happening]) -> list[bytes]:
    texts = [(one.prefix, encode_notice(one.notice)) for one in happenings]
    return [
        json.dumps({"notices": texts[start : start + MAX_DATAGRAM_NOTICES]}).encode()
        for start in range(0, len(texts), MAX_DATAGRAM_NOTICES)
    ]


def read_datagram(message: bytes) -> Hints:
    """The hints in a message; empty for anything that is none."""
    hints = Hints()
    try:
        fields: dict[str, Any] = json.loads(message)
        hints.work = {(str(p), str(event)) for p, event in fields.get("work", ())}
        hints.cancelled = {(str(p), str(i)) for p, i in fields.get("cancelled", ())}
        hints.woken = {(str(p), str(i)) for p, i in fields.get("woken", ())}
        for prefix, text in fields.get("notices", ()):
            if (notice := decode_notice(text)) is not None:
                progress = isinstance(notice, PROGRESS)
                hints.tell(str(prefix), itself(notice), progress=progress)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Hints()
    return hints


def itself(notice: Notice) -> Callable[[], Notice]:
    """What makes a notice that is there already."""
    return lambda: notice
