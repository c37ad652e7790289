"""What the elected worker removes: executions whose retention has ended."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..foundations.errors import StoreUnavailable
from ..foundations.repeated_lines import RepeatedLines
from ..model.options import KEEP_EVERYTHING
from ..storage.contract.retention import prune_in_batches

if TYPE_CHECKING:
    from ..model.records import ExecutionStatus
    from ..storage.contract.backend import Backend
    from .membership import Membership

logger = logging.getLogger("worchflow.worker")


class PruneLoop:
    """Rounds of pruning, apart from upkeep: a round may take as long as it likes."""

    def __init__(
        self, backend: Backend, membership: Membership, interval: float
    ) -> None:
        self._backend = backend
        self._ages = (backend.options.retention or KEEP_EVERYTHING).ages
        self._membership = membership
        self._interval = interval
        self._repeated = RepeatedLines(backend.options.runtime.monotonic)
        self._random = backend.options.runtime.random

    async def run(self) -> None:
        """Prune until cancelled; the first round is after an interval."""
        while True:
            await asyncio.sleep(self._interval * (0.75 + self._random() / 2))
            for status, age in self._ages.items():
                try:
                    await self._round(status, age)
                except StoreUnavailable as error:
                    self._repeated.warning(
                        logger, "%s; nothing is removed until it answers", error
                    )

    async def _round(self, status: ExecutionStatus, age: float) -> None:
        removed = 0
        if await self._is_elected():
            async for batch in prune_in_batches(self._backend.retention, status, age):
                removed += batch
                if not await self._is_elected():
                    break
        if removed:
            logger.info(
                "removed %d %s execution(s) that ended over %g s ago",
                removed,
                status,
                age,
            )

    async def _is_elected(self) -> bool:
        lease = self._membership.lease
        if lease is None or not lease.holds():
            return False
        return await self._backend.leadership.holds(lease.worker.id)
