"""What the elected worker removes: executions and events that were kept long enough."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from ..foundations.errors import StoreUnavailable
from ..foundations.repeated_lines import RepeatedLines
from ..model.options import KEEP_EVERYTHING
from ..storage.contract.retention import prune_events_in_batches, prune_in_batches

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..storage.contract.backend import Backend
    from .membership import Membership

logger = logging.getLogger("worchflow.worker")


class PruneLoop:
    """Rounds of pruning, apart from upkeep: a round may take as long as it likes."""

    def __init__(
        self, backend: Backend, membership: Membership, interval: float
    ) -> None:
        self._backend = backend
        retention = backend.options.retention or KEEP_EVERYTHING
        self._ages, self._event_age = retention.ages, retention.event_age
        self._membership = membership
        self._interval = interval
        self._repeated = RepeatedLines(backend.options.runtime.monotonic)
        self._random = backend.options.runtime.random

    async def run(self) -> None:
        """Prune until cancelled; the first round is after an interval."""
        while True:
            await asyncio.sleep(self._interval * (0.75 + self._random() / 2))
            try:
                await self._round()
            except StoreUnavailable as error:
                self._repeated.warning(
                    logger, "%s; nothing is removed until it answers", error
                )

    async def _round(self) -> None:
        for status, age in self._ages.items():
            batches = prune_in_batches(self._backend.retention, status, age)
            removed = await self._remove(batches)
            if removed:
                logger.info(
                    "removed %d %s execution(s) that ended over %g s ago",
                    removed,
                    status,
                    age,
                )
        if self._event_age is not None:
            age = self._event_age
            batches = prune_events_in_batches(self._backend.events, age)
            if removed := await self._remove(batches):
                logger.info(
                    "removed %d event(s) that were accepted over %g s ago", removed, age
                )

    async def _remove(self, batches: AsyncGenerator[int]) -> int:
        """Remove for as long as this worker is elected; how many."""
        removed = 0
        async with aclosing(batches):
            if await self._is_elected():
                async for batch in batches:
                    removed += batch
                    if not await self._is_elected():
                        break
        return removed

    async def _is_elected(self) -> bool:
        lease = self._membership.lease
        if lease is None or not lease.holds():
            return False
        return await self._backend.leadership.holds(lease.worker.id)
