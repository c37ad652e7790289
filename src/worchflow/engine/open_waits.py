"""The open waits of one attempt for the same events, in the order of asking."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ..model.events import StoredEvent


class OpenWait(Protocol):
    """A wait that the store knows and that has not ended."""

    def may_take(self, event: StoredEvent) -> bool:
        """Whether an event that matches may end it."""
        ...

    def reconsider(self) -> None:
        """Look at events again that other steps had taken: they may be free now."""
        ...


class OpenWaits:
    """Gives each event to the wait that was asked for first, of those it may end.

    They look into the log one after the other, holding `turn`. An event may be accepted
    between two looks: who finds one that an earlier wait may take promises it to that.
    """

    __slots__ = ("_promised", "turn")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self._promised: dict[OpenWait, StoredEvent | None] = {}
        """All that are open, in the order of asking, with what each was promised."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._promised)

    def __iter__(self) -> Iterator[OpenWait]:
        """Those that are open, in the order of asking."""
        return iter(tuple(self._promised))

    def add(self, wait: OpenWait) -> None:
        """Count a wait as the last that was asked for."""
        self._promised[wait] = None

    def remove(self, wait: OpenWait) -> bool:
        """Count it no more; whether it leaves a promised event to the others."""
        return self._promised.pop(wait, None) is not None

    @property
    def promised(self) -> Collection[str]:
        """The ids of the events that are promised."""
        return {event.id for event in self._promised.values() if event is not None}

    def promise(self, event: StoredEvent, finder: OpenWait) -> OpenWait:
        """Promise an event to the first that may take it; whom, the finder at last."""
        first = next(
            (
                wait
                for wait, promised in self._promised.items()
                if wait is finder or (promised is None and wait.may_take(event))
            ),
            finder,
        )
        self._promised[first] = event
        return first

    def promised_to(self, wait: OpenWait) -> StoredEvent | None:
        """What a wait was promised, until it is removed or forgoes that."""
        return self._promised[wait]

    def forgo(self, wait: OpenWait) -> None:
        """Leave what a wait was promised to the others."""
        self._promised[wait] = None
