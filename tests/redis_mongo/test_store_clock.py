"""The store's clock, as a process reads it that stands still meanwhile."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from worchflow.foundations.milliseconds import to_milliseconds
from worchflow.storage.redis_mongo.mongo_gateway import MongoGateway
from worchflow.storage.redis_mongo.store_clock import StoreClock

FREEZE = timedelta(hours=1)
MINUTE_MILLISECONDS = 60_000


class Frozen(MongoGateway):
    """MongoDB for a process that stands still with one answer in hand.

    All clocks, the server's too, are behind by the freeze until it is over.
    """

    def __init__(self, *args: Any, frozen_sample: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._samples_until = frozen_sample
        self._behind = FREEZE

    async def now(self) -> datetime:
        answer = await super().now() - self._behind
        if not self._samples_until:
            self._behind = timedelta()
        self._samples_until -= 1
        return answer

    def monotonic(self) -> float:
        return time.monotonic() - self._behind.total_seconds()


@pytest.mark.parametrize("frozen_sample", [0, 1])
async def test_a_freeze_during_a_sample_moves_no_deadline(
    mongo_url: str, frozen_sample: int
) -> None:
    """A clock that is behind by the freeze makes the first sleeps that much shorter."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    async with client:
        database = client.get_default_database()
        gateway = Frozen(database, timeout=20.0, frozen_sample=frozen_sample)
        clock = StoreClock(gateway, gateway.monotonic)
        for _ in range(frozen_sample + 1):
            await clock.refresh()
        behind = to_milliseconds(await gateway.now()) - clock.now()

    assert abs(behind) < MINUTE_MILLISECONDS
