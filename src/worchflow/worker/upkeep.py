"""What every worker does for the fleet: take over from the dead, find lost work."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..foundations.errors import StoreUnavailable

if TYPE_CHECKING:
    from ..engine.worker_runtime import WorkerRuntime
    from ..model.options import WorkerOptions
    from .execution_slots import ExecutionSlots
    from .lease import Lease
    from .membership import Membership

logger = logging.getLogger("worchflow.worker")


class UpkeepLoop:
    """Rounds of reap and sweep, jittered so that a fleet does not move in step."""

    def __init__(
        self,
        slots: ExecutionSlots,
        runtime: WorkerRuntime,
        membership: Membership,
        options: WorkerOptions,
    ) -> None:
        self._store = runtime.store
        self._random = runtime.random
        self._repeated = runtime.repeated
        self._membership = membership
        self._slots = slots
        self._interval = options.upkeep_interval

    async def run(self) -> None:
        """Look after the fleet until cancelled; the first round is at once."""
        while True:
            lease = self._membership.lease
            if lease is not None and lease.holds():
                await self._round(lease)
            await asyncio.sleep(self._interval * (0.75 + self._random() / 2))

    async def _round(self, lease: Lease) -> None:
        try:
            reaped = await self._store.workers.reap(
                lease.worker.id, expired=lease.unbroken_for_a_ttl()
            )
            if reaped:
                logger.warning(
                    "reclaimed %d execution(s) of dead workers; they resume after "
                    "their last recorded step",
                    reaped,
                )
            self._slots.may_be_quarantined = True
            swept = await self._store.sweeping.sweep(lease.worker.id)
            if swept:
                logger.info("put %d waiting execution(s) back in the queue", swept)
        except StoreUnavailable as error:
            self._repeated.warning(
                logger, "%s; upkeep is skipped until it answers", error
            )
