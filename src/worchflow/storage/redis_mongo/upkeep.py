"""What an open backend does beside its calls: due work, the clock, orphaned ids."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ...foundations.errors import StoreUnavailable
from .tasks import end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .claimer import Claimer
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

TICK_SECONDS = 0.5
"""Seconds between two looks at what is due; sooner when the next due time is known."""
MAX_PROMOTED_PER_CALL = 100
CLOCK_AGE = 60.0
RECONCILE_AGE = 30.0


class Upkeep:
    """One task per backend. Everything it does, something else would do later."""

    def __init__(self, stores: Stores, claimers: Mapping[str, Claimer]) -> None:
        self._stores = stores
        self._claimers = claimers
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._clock_read = self._reconciled = loop.time()
        self._task = loop.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        await end(self._task)

    async def promote(self) -> float:
        """Queue what is due; seconds until it is worth looking again."""
        stores = self._stores
        now = stores.clock.now()
        (answer,) = await stores.redis.run(
            [stores.scripts.promote(now, MAX_PROMOTED_PER_CALL)]
        )
        if isinstance(answer, Exception):
            raise StoreUnavailable(f"Redis refused to promote: {answer}")
        count, following = int(answer[0]), int(answer[1])
        if count == MAX_PROMOTED_PER_CALL:
            return 0.0
        if following < 0:
            return TICK_SECONDS
        return min(TICK_SECONDS, max(0.0, (following - now) / 1000))

    async def _run(self) -> None:
        while True:
            pause = TICK_SECONDS
            try:
                pause = await self._tick()
            except StoreUnavailable as error:
                logger.debug("upkeep waits: %s", error)
            except Exception:
                logger.exception("upkeep failed; trying again")
            await asyncio.sleep(max(0.005, pause))

    async def _tick(self) -> float:
        now = self._time()
        if now - self._clock_read >= CLOCK_AGE:
            await self._stores.clock.refresh()
            self._clock_read = now
        if not self._claimers:
            return TICK_SECONDS
        is_time = now - self._reconciled >= RECONCILE_AGE
        for claimer in list(self._claimers.values()):
            if is_time or claimer.has_lost:
                await claimer.reconcile()
        if is_time:
            self._reconciled = now
        return await self.promote()
