"""Executions as workers see them. Ownership is (worker, token), never status."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.beginning import Begun
    from ...model.notices import Notice
    from ...model.records import Claim, WorkerRecord
    from ...model.settlement import Settled, Settlement


class ClaimStore(ABC):
    """Claims, from their beginning to their settlement."""

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
        `worker.functions` has for its event, and `started_at` is set by its first
        claim. Due executions whose event no live worker serves wait, with a reason that
        this or a sweep stores. Cancelling the call never loses work: a later call or
        `adopt` hands out what it took. Of a child that does not leave its parent it is
        told whether that has ended: it was inserted late, or not cancelled yet.
        """

    @abstractmethod
    async def claim_quarantined(self, worker: WorkerRecord) -> Claim | None:
        """Own the next of the eligible executions that `claim` leaves alone.

        Those with `worker.quarantine_after` deaths or more; None if there is none.
        Everything else is as in `claim`.
        """

    @abstractmethod
    def announce(self, claim: Claim) -> None:
        """Publish an `ExecutionStarted` notice: the attempt of this claim starts.

        Waits for nothing and raises nothing; the notice may be lost, as any.
        """

    @abstractmethod
    async def begin(self, claim: Claim, deadline: float | None = None) -> Begun | None:
        """Record durably that the code of an execution begins under this claim.

        Called ahead of the handler for what was recovered before, because from now on
        a death of the worker counts against it, and for what has to end within
        `deadline` seconds of `may_begin_at` and has no deadline yet. That one is
        stored, and never moves until a retry. None when the claim is not held any more.
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
    async def settle(
        self, claim: Claim, settlement: Settlement, notice: Notice | None
    ) -> Settled:
        """Release an execution: the only way a holder does.

        Applied only while (worker, token) still own it; a repeated call after an
        unknown outcome recognises its own write. A non-terminal settlement of an
        execution flagged as cancelled is applied as `cancelled`. `notice` is
        published after it is durable, unless the settlement was not applied or
        ended otherwise; then the store publishes an `ExecutionUpdated` of its own.

        A suspension is applied as `queued`, due at the end of its pause, when
        `wakeups` has grown since it was read. Like a recorded step it clears `deaths`.
        """
