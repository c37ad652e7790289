"""The storage contract: what every backend promises, and the only extension point.

A backend keeps executions and steps, hands them out under leases and tells about
changes. Payloads are opaque text to it. Every method may raise `StoreUnavailable`
(within `options.timeout` seconds, outcome unknown) and every method is safe to
call again after that. Eligible for a claim is an execution that is `queued` or
`retrying`, un-owned, not cancelled, due by the store's clock, and whose event the
worker serves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ...model.notices import Notice
    from ...model.options import BackendOptions
    from ...model.records import (
        Claim,
        ExecutionQuery,
        ExecutionStatus,
        NewExecution,
        StoredExecution,
        StoredPage,
        StoredStep,
        WorkerRecord,
        WorkerSeen,
    )
    from ...model.settlement import Settled, Settlement


@dataclass(frozen=True, kw_only=True, slots=True)
class Inserted:
    """The outcome of inserting one execution.

    `existing` is None when it was accepted now (also when a repeated call finds
    its own write by the nonce); else it is the execution that has the id, and
    nothing was written. So it is where the id `is_foreign`: it belongs to an execution
    of another queue prefix, of which nothing is told.
    """

    id: str
    existing: StoredExecution | None = None
    is_foreign: bool = False


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


class ExecutionStore(ABC):
    """Executions as senders and readers see them."""

    @abstractmethod
    async def insert(self, executions: Sequence[NewExecution]) -> list[Inserted]:
        """Accept executions durably, in one round trip per store; one outcome each.

        Accepted means: it survives the loss of this process and of Redis. Becoming
        visible to workers may lag, but never needs this process. What becomes of one
        has no bearing on the others.
        """

    @abstractmethod
    async def get(self, execution_id: str) -> StoredExecution | None:
        """The execution, or None. Reads what was last acknowledged."""

    @abstractmethod
    async def steps(self, execution_id: str) -> list[StoredStep]:
        """Everything recorded for it, by `started_at`, then in order of recording."""

    @abstractmethod
    async def list(self, query: ExecutionQuery) -> StoredPage:
        """Executions of this prefix by (`created_at`, id), newest first.

        What a page costs does not depend on how much is stored. Where no index answers
        a filter, a page may hold fewer than the limit, even none, and have a cursor.
        `InvalidInput` for a cursor this store did not make.
        """

    @abstractmethod
    async def counts(self) -> dict[ExecutionStatus, int]:
        """Executions of this prefix by status; may lag two seconds."""

    @abstractmethod
    async def workers(self) -> Sequence[WorkerSeen]:
        """The workers of this prefix that did not leave, dead ones too.

        A dead one is forgotten once nothing is left that it owned.
        """

    @abstractmethod
    async def cancel(
        self, execution_id: str, reason: str | None
    ) -> tuple[StoredExecution | None, bool]:
        """Cancel it: un-owned at once, owned by a flag its worker obeys.

        The flag is sticky: every later non-terminal settlement, reap and sweep of
        it ends as `cancelled`. Returns the execution as it stands now (None: no
        such id) and whether this call changed anything: a terminal execution and
        one already flagged stay as they are.
        """

    @abstractmethod
    async def retry(self, execution_id: str) -> tuple[StoredExecution | None, bool]:
        """Queue a failed or cancelled execution again.

        Keeps completed steps, removes recorded step failures, resets attempt count,
        recoveries, error, reason and the cancel flag, counts the token on. Any other
        status stays as it is. Returns the execution as it stands now (None: no such
        id) and whether this call queued it.
        """

    @abstractmethod
    async def prune(self, status: ExecutionStatus, age: float, limit: int) -> int:
        """Remove up to `limit` executions with all that is recorded for them.

        Those of a terminal status that ended over `age` seconds ago by the store's
        clock, the longest ago first. Returns how many are gone; 0 when none is left.
        A `retry` before it keeps an execution, one after it finds none: never is an
        execution retried without its steps. What an interrupted call has begun, a
        later one completes; no steps are left behind.
        """


class ClaimStore(ABC):
    """Executions as workers see them. Ownership is (worker, token), never status."""

    @abstractmethod
    async def join(
        self, worker: WorkerRecord, on_cancel: Callable[[str], None]
    ) -> None:
        """Register a worker and give it a lease of `options.lease_ttl`.

        `on_cancel(execution_id)` is called on the event loop as soon as a hint says
        that an execution should be cancelled; a hint may be lost or be of another
        worker's. `Renewal.cancelled` is the certain way.
        """

    @abstractmethod
    def renew(self, worker_id: str) -> Renewal:
        """Renew the lease by the store's clock.

        Blocking: called from the lease's own thread, on a connection of its own;
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
    async def claim(
        self, worker: WorkerRecord, limit: int, wait: float
    ) -> Sequence[Claim]:
        """Own up to `limit` eligible executions, never more.

        Of one event the oldest first, as well as can be; of several each gets its
        share. What this worker does not serve delays nothing that it does, however
        much waits of it.

        Waits up to `wait` seconds for the first; takes what is there, never waits to
        fill. Executions with `worker.quarantine_after` deaths stay where they are. Each
        execution is claimed by exactly one caller, with a token higher than ever
        before; its status becomes `processing`, its `function_id` the one
        `worker.functions` has for its event, `started_at` is set by its first claim,
        and an `ExecutionStarted` notice is published. Due executions whose event no
        live worker serves wait, with a reason that this or a sweep stores. Cancelling
        the call never loses work: a later call or `adopt` hands out what it took.
        """

    @abstractmethod
    async def claim_quarantined(self, worker: WorkerRecord) -> Claim | None:
        """Own the next of the eligible executions that `claim` leaves alone.

        Those with `worker.quarantine_after` deaths or more; None if there is none.
        Everything else is as in `claim`.
        """

    @abstractmethod
    async def begin(self, claim: Claim) -> bool:
        """Record durably that the code of an execution begins under this claim.

        Called for what was recovered before, ahead of its handler: from now on a death
        of the worker counts against it. False when the claim is not held any more.
        """

    @abstractmethod
    async def adopt(
        self, worker: WorkerRecord, execution_ids: frozenset[str]
    ) -> Sequence[Claim]:
        """The claims this worker already holds among the ids, without a new token.

        For executions the store says it owns and the process does not know of,
        after a claim of unknown outcome.
        """

    @abstractmethod
    async def checkpoint(self, claim: Claim, step: StoredStep) -> StoredStep:
        """Record a step durably and return what is recorded.

        First write wins, whoever holds the claim: when the step was recorded before,
        that record is returned unchanged. A failure under a claim from before an
        explicit retry is not recorded any more, and nothing under a claim on an earlier
        execution counts for the one that has its id now: `ExecutionNotFound`, or the
        step as it is given. With a completed one a `StepCompleted` notice is published.
        """

    @abstractmethod
    async def settle(
        self, claim: Claim, settlement: Settlement, notice: Notice | None
    ) -> Settled:
        """Release an execution: the only way a holder does.

        Applied only while (worker, token) still own it; a repeated call after an
        unknown outcome recognises its own write. A non-terminal settlement of an
        execution flagged as cancelled is applied as `cancelled`. `notice` is
        published after it is durable, unless the settlement was not applied or
        ended otherwise; then the store publishes an `ExecutionUpdated` of its own.
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
        store makes of it after an outage is no verdict on those who wait for it too.
        Only a worker that itself renewed without a gap for a whole TTL may pass
        `expired=True`. Takeover happens here and nowhere else.
        """

    @abstractmethod
    async def sweep(self, worker_id: str) -> int:
        """Make visible what is due and not in the queue; returns how many executions.

        What is flagged and un-owned becomes `cancelled`; what no live worker serves
        has a reason that says so. At most one worker does it at a time.
        """

    @abstractmethod
    async def elect(self, worker_id: str) -> bool:
        """Whether this worker is the one that now does what one does for all.

        Of the live workers at most one is; asking again keeps it elected.
        """


class NoticeSubscription(Protocol):
    """Notices about one execution, from when it was opened. Losing one is allowed."""

    async def next(self, timeout: float) -> Notice | None:
        """The next notice, or None after `timeout` seconds."""
        ...


class Backend(ExecutionStore, ClaimStore):
    """The stores of one event loop, opened and closed as one.

    Opening and closing count: whoever opens closes, the last close closes what the
    backend itself made, never a client that was handed to it.
    """

    options: BackendOptions

    @abstractmethod
    async def open(self) -> None:
        """Connect, check versions and settings, make indexes or tables.

        Raises `StoreUnavailable`, `ConfigurationError` or `SchemaTooNew`.
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

    @abstractmethod
    def watch(
        self, execution_id: str, *, progress: bool = True
    ) -> AbstractAsyncContextManager[NoticeSubscription]:
        """Subscribe to notices about one execution. Latency only: see `next`.

        Without `progress` those of its starts and steps are left out.
        """

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the data is, for people; without passwords."""
