"""Workers, their leases, and what becomes of what the dead ones own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...model.records import WorkerRecord, WorkerSeen


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewal:
    """What a worker learns from renewing its lease.

    When `alive` is False the worker was fenced: it owns nothing any more and has
    to join again under a new id. `owned` are the ids of the executions the store
    says it owns, `cancelled` those of them somebody wants cancelled.
    """

    alive: bool
    owned: frozenset[str] = frozenset()
    cancelled: frozenset[str] = frozenset()


class WorkerHint(Enum):
    """What a worker may be told of an execution. Latency only: hints may be lost."""

    CANCEL = "cancel"
    """Somebody wants it cancelled; `Renewal.cancelled` is the certain way."""
    WOKEN = "woken"
    """It was woken and is not suspended; `WaitStore.wakeups` is the certain way."""


OnHint: TypeAlias = "Callable[[WorkerHint, str], None]"


class WorkerStore(ABC):
    """The workers of one queue prefix."""

    @abstractmethod
    async def join(self, worker: WorkerRecord, on_hint: OnHint) -> None:
        """Register a worker and give it a lease of `options.lease_ttl`.

        `on_hint(hint, execution_id)` is called on the event loop as soon as something
        is told of an execution, which may be another worker's.
        """

    @abstractmethod
    def renew(self, worker_id: str) -> Renewal:
        """Renew the lease by the store's clock.

        Blocking: called from the lease's own thread, on its own connection;
        raises `StoreUnavailable` after at most half a TTL. Never revives a worker
        that was declared dead.
        """

    @abstractmethod
    async def leave(self, worker_id: str) -> None:
        """End a worker.

        What it took from the queue and never claimed goes back at once, what it
        still owns is reaped by the others.
        """

    @abstractmethod
    async def seen(self) -> Sequence[WorkerSeen]:
        """The workers of this prefix that did not leave, dead ones too.

        A dead one is forgotten once nothing is left that it owned.
        """

    @abstractmethod
    async def reap(self, worker_id: str, *, expired: bool) -> int:
        """Take back what dead workers own; returns how many executions.

        They go to the queue's front with `recoveries` + 1, flagged ones to
        `cancelled`. A death counts in `deaths` only if code of the execution ran: it
        recorded a step under that claim, which also clears the count of those before,
        or `begin` was called. Of the first death nobody knows that without a step; it
        is added when a second one counts.
        Dead is a worker whose process is certainly gone (its file lock is free) and,
        with `expired`, one whose lease had run out when this was called: what the
        store makes of it after an outage is not a verdict on those who wait for it too.
        Only a worker that itself renewed without a gap for a whole TTL may pass
        `expired=True`. Takeover happens here and nowhere else.
        """
