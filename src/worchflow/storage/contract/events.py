"""The log of events, and how they reach the executions that wait for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ...model.events import LogLook, NewEvent, StoredEvent
    from ...model.records import Claim, NewExecution
    from ...model.waits import StoredWait

DELIVERY_PAGE = 1000
"""Waits whose executions are woken at once."""


class EventStore(ABC):
    """Events of one queue prefix, each under its id."""

    clocks_apart: ClassVar[timedelta] = timedelta(0)
    """By so much an event may be stamped before an execution that was accepted first:
    the servers of a store have clocks of their own."""

    @abstractmethod
    async def append(self, event: NewEvent) -> StoredEvent:
        """Accept an event durably; what is stored under its id, which was first.

        Its moment is the store's. It is pending until `deliver` has reached everybody:
        a sweep delivers what stays so.
        """

    @abstractmethod
    async def deliver(self, event: StoredEvent, after: str | None = None) -> str | None:
        """Wake a page of the executions that wait for an event.

        Returns what the next page is asked for by; None once everybody was woken, and
        the event is pending no more. Delivering one again harms nobody.
        """

    async def deliver_all(self, event: StoredEvent, after: str | None = None) -> None:
        """Wake everybody who waits for an event, page by page, or from `after` on."""
        after = await self.deliver(event, after)
        while after is not None:
            after = await self.deliver(event, after)

    @abstractmethod
    async def publish(self, executions: Sequence[NewExecution]) -> None:
        """Tell those who wait for the events that accepted executions are.

        Each has an `event_key`. A sweep reaches those whom the first page does not.
        """

    @abstractmethod
    async def find(
        self,
        claim: Claim,
        wait: StoredWait,
        passed: Collection[str],
        left_out: Collection[str] = (),
    ) -> LogLook:
        """The oldest event that a wait of the claim's execution may take.

        It was accepted before the wait's deadline, no other step of the execution has
        taken it but for those in `left_out`, and its id is none of `passed`. Every
        event is seen whose `append` returned before this was called.
        """

    @abstractmethod
    async def take(
        self,
        claim: Claim,
        step_id: str,
        event_id: str,
        left_out: Collection[str] = (),
    ) -> bool:
        """Keep an event from all other steps of the claim's execution.

        Whether it is this step's, now or before: the first call counts, whoever holds
        the claim, and those for steps in `left_out` do not.
        """

    @abstractmethod
    async def prune(self, age: float, limit: int) -> int:
        """Remove up to `limit` events that were accepted over `age` seconds ago.

        Those that a stored wait may still take, and those that are pending, stay.
        Returns how many are gone; 0 when none is left.
        """
