"""Which of the workers does what one does for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from typing_extensions import override

from ..contract.leadership import LeadershipStore
from .documents import META

if TYPE_CHECKING:
    from .stores import Stores

LOCK_TTL = 30_000
"""Milliseconds for which a worker is elected without saying so again."""


class Leadership(LeadershipStore):
    """One document of each queue prefix says who it is, and until when."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @override
    async def holds(self, worker_id: str) -> bool:
        """Whether this worker is elected; it is from now on if nobody else is."""
        stores = self._stores
        lock_id = f"sweep:{stores.options.queue_prefix}"
        expires = {"$add": ["$$NOW", Int64(LOCK_TTL)]}
        free = {"$expr": {"$lt": ["$expiresAt", "$$NOW"]}}
        statement = {
            "q": {"_id": lock_id, "$or": [{"owner": worker_id}, free]},
            "u": [{"$set": {"owner": {"$literal": worker_id}, "expiresAt": expires}}],
        }
        if (await stores.mongo.update(META, [statement])).count:
            return True
        lock = {
            "_id": lock_id,
            "owner": worker_id,
            "expiresAt": DatetimeMS(stores.clock.now() + LOCK_TTL),
        }
        return not (await stores.mongo.insert(META, [lock])).refused
