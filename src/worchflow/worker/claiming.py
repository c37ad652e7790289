"""The claim loop: a free slot first, then a claim, never more than fit."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..foundations.backoff import Backoff
from ..foundations.errors import StoreUnavailable
from ..model.notices import ErrorRaised

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.worker_runtime import WorkerRuntime
    from ..model.records import Claim
    from .execution_slots import ExecutionSlots
    from .lease import Lease
    from .membership import Membership

logger = logging.getLogger("worchflow.worker")

CLAIM_WAIT_SECONDS = 2.0
"""Seconds one claim waits for work before it asks again."""
MAX_PAUSE_SECONDS = 0.005
"""Seconds in which more slots may become free where few are, while much work waits."""
HEAD_START_SECONDS = 0.001
"""Seconds that are for what was claimed, before there is a look for more."""


class ClaimLoop:
    """Fills free slots with claims for as long as it runs."""

    def __init__(
        self, slots: ExecutionSlots, runtime: WorkerRuntime, membership: Membership
    ) -> None:
        self._slots = slots
        self._runtime = runtime
        self._membership = membership
        self._has_more = False
        """Whether the last claim found as much as was asked for."""
        self._took = 0.0
        """Seconds that it took."""
        self.on_idle: Callable[[], object] = lambda: None
        """Called when a claim waited and found nothing while nothing ran."""

    async def run(self) -> None:
        """Claim until cancelled."""
        backoff = Backoff(self._runtime.random)
        while True:
            await self._slots.wait_free()
            if self._has_more and self._slots.few_are_free:
                # What a claim costs is about the same for one and for many.
                await asyncio.sleep(min(MAX_PAUSE_SECONDS, self._took))
            lease = self._membership.lease
            if lease is None or not lease.holds():
                await asyncio.sleep(0.05)
                continue
            try:
                if await self._claim(lease) and not self._has_more:
                    await asyncio.sleep(HEAD_START_SECONDS)
                backoff.reset()
                continue
            except StoreUnavailable as error:
                pause = backoff.pause()
                self._runtime.repeated.warning(
                    logger,
                    "%s; worker %s claims nothing until it answers, next try in %.1f s",
                    error,
                    lease.worker.id,
                    pause,
                )
                self._runtime.emitter.emit(ErrorRaised(error=error))
            await asyncio.sleep(pause)

    async def _claim(self, lease: Lease) -> bool:
        """Start what can be claimed; whether there was anything."""
        store, slots = self._runtime.store, self._slots
        orphaned_claims = self._membership.orphaned_claims()
        if orphaned_claims:
            some = frozenset(sorted(orphaned_claims)[: slots.free])
            claims = await store.claims.adopt(lease.worker, some)
        elif quarantined := await self._claim_quarantined(lease):
            claims = [quarantined]
        else:
            limit, clock = slots.free, asyncio.get_running_loop().time
            began = clock()
            claims = await store.claims.claim(lease.worker, limit, CLAIM_WAIT_SECONDS)
            self._has_more = len(claims) == limit
            self._took = clock() - began
        for claim in claims:
            slots.start(claim, lease)
        if not (orphaned_claims or claims or slots.ids):
            self.on_idle()
        return bool(claims)

    async def _claim_quarantined(self, lease: Lease) -> Claim | None:
        """An execution for the quarantine slot, if that is free and one may wait."""
        slots = self._slots
        if not (slots.may_be_quarantined and slots.quarantine_is_free):
            return None
        slots.may_be_quarantined = False
        return await self._runtime.store.claims.claim_quarantined(lease.worker)
