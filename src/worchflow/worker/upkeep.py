"""What every worker does for the fleet: take over from the dead, find lost work."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..foundations.errors import StoreUnavailable

if TYPE_CHECKING:
    from ..engine.environment import Environment
    from ..model.options import WorkerOptions
    from .lease import Lease
    from .membership import Membership
    from .running import Running

logger = logging.getLogger("worchflow.worker")


class UpkeepLoop:
    """Rounds of reap and sweep, jittered so that a fleet does not move in step."""

    def __init__(
        self,
        running: Running,
        environment: Environment,
        membership: Membership,
        options: WorkerOptions,
    ) -> None:
        self._store = environment.store
        self._random = environment.random
        self._repeated = environment.repeated
        self._membership = membership
        self._running = running
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
            reaped = await self._store.reap(
                lease.worker.id, expired=lease.unbroken_for_a_ttl()
            )
            if reaped:
                logger.warning(
                    "took back %d execution(s) of dead workers; they resume after "
                    "their last recorded step",
                    reaped,
                )
            self._running.may_be_quarantined = True
            swept = await self._store.sweep(lease.worker.id)
            if swept:
                logger.info("put %d waiting execution(s) back in the queue", swept)
        except StoreUnavailable as error:
            self._repeated.warning(
                logger, "%s; upkeep is skipped until it answers", error
            )
