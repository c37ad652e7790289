"""The time by MongoDB's clock, read without asking it every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...foundations.milliseconds import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .mongo_gateway import MongoGateway

MAX_ROUND_TRIP_SECONDS = 1.0
"""Seconds; a slower sample says too little about the server's clock."""
MAX_FIRST_SAMPLES = 3
"""Samples until one is fast enough, as long as there is none to go by."""


class StoreClock:
    """Stamps due and queued times by the server's clock, whatever ours says.

    Its time is the server's or a little earlier, by at most the round trip of the
    last sample: what it calls due is due for the server too.
    """

    def __init__(self, mongo: MongoGateway, monotonic: Callable[[], float]) -> None:
        self._mongo = mongo
        self._monotonic = monotonic
        self._offset: float | None = None

    async def refresh(self) -> None:
        """Take a sample; raises `StoreUnavailable`."""
        took, offset = await self._sample()
        if self._offset is None:
            for _ in range(MAX_FIRST_SAMPLES - 1):
                if took > MAX_ROUND_TRIP_SECONDS:
                    took, offset = min((took, offset), await self._sample())
        elif took > MAX_ROUND_TRIP_SECONDS:
            return
        self._offset = offset

    async def _sample(self) -> tuple[float, float]:
        """The seconds of a round trip, and what to add to our milliseconds."""
        before = self._monotonic()
        server = to_milliseconds(await self._mongo.now())
        after = self._monotonic()
        return after - before, server - after * 1000

    def now(self) -> int:
        """Milliseconds since 1970 by the server's clock."""
        if self._offset is None:
            raise RuntimeError("the store's clock was not read yet: open() first")
        return int(self._offset + self._monotonic() * 1000)
