"""A backend: its life, and the subjects under which the contract is reached.

A backend keeps executions and steps, hands them out under leases and tells about
changes. Payloads are opaque text to it. Every method may raise `StoreUnavailable`
(within `options.timeout` seconds, outcome unknown) and every method is safe to
call again after that. Eligible for a claim is an execution that is `queued`,
`retrying`, `sleeping` or `waiting`, un-owned, not cancelled, due by the store's clock,
and whose event the worker serves. A suspended one without a deadline is never due.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...model.options import BackendOptions
    from .children import ChildStore
    from .claims import ClaimStore
    from .events import EventStore
    from .executions import ExecutionStore
    from .leadership import LeadershipStore, SweepStore
    from .listing import CountingStore, ListingStore
    from .notices import NoticeStore
    from .retention import RetentionStore
    from .steps import StepStore
    from .waits import WaitStore
    from .workers import WorkerStore


class Backend(ABC):
    """The stores of one event loop, opened and closed as one.

    Opening and closing count: whoever opens closes, the last close closes what the
    backend itself made, never a client that was handed to it.
    """

    options: BackendOptions

    @abstractmethod
    async def open(self, *, migrate: bool = False) -> None:
        """Connect, check versions and settings, make indexes or tables.

        With `migrate` stores of an earlier release are brought up to date: what is in
        them is kept, and releases from `compatible_from` on can still use them.
        Raises `StoreUnavailable`, `ConfigurationError`, `SchemaTooNew`, or
        `SchemaTooOld` without `migrate`; what is refused is left untouched.
        """

    @abstractmethod
    async def close(self) -> None:
        """Write what is still buffered, then close everything it made."""

    @abstractmethod
    async def check(self) -> None:
        """Raise `StoreUnavailable` unless every store answers now."""

    @abstractmethod
    def clone(self) -> Backend:
        """A second backend on the same stores, for another event loop.

        `ConfigurationError` when it was made from clients bound to one loop.
        """

    def make_nothing(self) -> bool:
        """Have nothing made by opening it; call it before.

        Where there is no database yet, this backend has an empty one of its own, and
        True is returned. A store on servers makes its indexes all the same.
        """
        return False

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the data is, for people; without passwords."""

    @property
    @abstractmethod
    def executions(self) -> ExecutionStore:
        """Executions, each under its id."""

    @property
    @abstractmethod
    def listing(self) -> ListingStore:
        """Pages of executions."""

    @property
    @abstractmethod
    def counting(self) -> CountingStore:
        """How many there are."""

    @property
    @abstractmethod
    def retention(self) -> RetentionStore:
        """The removal of what ended long ago."""

    @property
    @abstractmethod
    def steps(self) -> StepStore:
        """Recorded steps."""

    @property
    @abstractmethod
    def waits(self) -> WaitStore:
        """What executions wait for."""

    @property
    @abstractmethod
    def events(self) -> EventStore:
        """What executions are told."""

    @property
    @abstractmethod
    def children(self) -> ChildStore:
        """Executions that others have started."""

    @property
    @abstractmethod
    def claims(self) -> ClaimStore:
        """Who owns which execution."""

    @property
    @abstractmethod
    def workers(self) -> WorkerStore:
        """Workers and their leases."""

    @property
    @abstractmethod
    def leadership(self) -> LeadershipStore:
        """Which worker does what one does for all."""

    @property
    @abstractmethod
    def sweeping(self) -> SweepStore:
        """Finding what is due and not in the queue."""

    @property
    @abstractmethod
    def notices(self) -> NoticeStore:
        """Notices to those who watch."""
