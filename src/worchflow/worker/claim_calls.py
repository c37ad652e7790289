"""What a worker asks of the stores for a claim, again until they answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from ..engine.execution_deadline import deadline_to_store
from ..engine.outcome import fields_of
from ..foundations.backoff import Backoff
from ..foundations.errors import StoreUnavailable
from ..model.beginning import Begun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..definitions.function import AnyFunction
    from ..engine.outcome import Outcome
    from ..engine.worker_runtime import WorkerRuntime
    from ..model.records import Claim
    from ..model.settlement import Settled
    from .lease import Lease

logger = logging.getLogger("worchflow.worker")

T = TypeVar("T")


class ClaimCalls:
    """The beginning and the end of what a worker does under each of its claims."""

    def __init__(self, runtime: WorkerRuntime) -> None:
        self._runtime = runtime

    async def begin(
        self, claim: Claim, lease: Lease, function: AnyFunction
    ) -> Begun | None:
        """Record that its code begins, if somebody has to know; None: claim lost.

        That is if it was recovered, so that the next death counts, and if its function
        has a deadline that is not stored yet.
        """
        deadline = deadline_to_store(claim, function)
        has_passed = claim.deadline_left == 0
        if has_passed or not (claim.execution.recoveries or deadline is not None):
            return Begun(claim.execution.deadline_at, claim.deadline_left)
        claims = self._runtime.store.claims
        return await self._until_answered(
            lambda: claims.begin(claim, deadline), lease, claim, "waits to begin"
        )

    async def settle(
        self, claim: Claim, lease: Lease, outcome: Outcome
    ) -> Settled | None:
        """Release the execution; None once the lease is lost."""
        claims, ending = self._runtime.store.claims, type(outcome.settlement).__name__
        return await self._until_answered(
            lambda: claims.settle(claim, outcome.settlement, outcome.notice),
            lease,
            claim,
            f"has ended as {ending} and waits to be settled",
        )

    async def _until_answered(
        self, call: Callable[[], Awaitable[T]], lease: Lease, claim: Claim, what: str
    ) -> T | None:
        """Make a call of the store until it answers; None once the lease is lost."""
        backoff = Backoff(self._runtime.random)
        while not lease.lost:
            try:
                return await call()
            except StoreUnavailable as error:
                pause = backoff.pause()
                self._runtime.repeated.warning(
                    logger,
                    "%s; execution %s %s, next try in %.1f s",
                    error,
                    claim.execution.id,
                    what,
                    pause,
                    extra=fields_of(claim),
                )
            await asyncio.sleep(pause)
        return None
