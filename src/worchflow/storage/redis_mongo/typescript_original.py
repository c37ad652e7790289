"""What programs of the original have left, put in order for ours (`ts_compat`)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ...model.records import SUSPENDED
from ...model.transitions import CLAIMABLE
from .documents import ENDED_STATUSES, EXECUTIONS
from .expressions import CREATED_AT, as_date, as_long
from .indexes import OWNER, THEIRS, THEIRS_ENDED
from .outbox import FOLLOW_UPS, follow_ups_expression

if TYPE_CHECKING:
    from .documents import Document
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

GRACE_MILLISECONDS = 5_000
"""Milliseconds; what was written just now is on its way by itself."""
ORPHANED_MILLISECONDS = 60_000
"""Milliseconds; older `processing` documents of the original have lost their worker."""

THEIR_WAITING = sorted(CLAIMABLE - SUSPENDED)
"""The statuses of what waits to be claimed that the original knows."""


class Original:
    """Gives what the original has written last our stamps, by its status alone.

    The original maintains the status and `updatedAt`, always as a double; whatever we
    write makes that a whole number. So what it wrote last is told apart, and an index
    holds nothing but that: what is found here is found once.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def take_over(self) -> None:
        """Put in order what waits, what has lost its worker, and what has ended.

        One fleet at a time works on a prefix and database.
        """
        stores = self._stores
        now = stores.clock.now()
        written = await stores.mongo.update(
            EXECUTIONS,
            [
                self._live(
                    {"$in": sorted(CLAIMABLE - SUSPENDED)}, now - GRACE_MILLISECONDS
                ),
                self._live({"$eq": "processing"}, now - ORPHANED_MILLISECONDS),
                self._ended({"dueAt": {"$exists": True}}, THEIRS_ENDED),
                self._ended({"owner": {"$type": "string"}}, OWNER),
            ],
        )
        for refusal in written.refused.values():
            logger.warning(
                "MongoDB refuses to put in order what the original has left (code %d: "
                "%.200s); it is tried again",
                refusal.code,
                refusal.message,
            )

    def _live(self, status: Document, before: int) -> Document:
        """Queue what nobody owns and the original wrote last, before a moment."""
        query = {
            "queuePrefix": self._stores.documents.prefix,
            "updatedAt": {"$type": "double", "$lt": before},
            # As the index says it, or MongoDB does not see that it has them all.
            "status": {"$gt": "failed"} | status,
            "owner": None,
        }
        values: Document = {
            "queuePrefix": {"$literal": self._stores.options.queue_prefix},
            "status": {
                "$cond": [{"$eq": ["$status", "processing"]}, "queued", "$status"]
            },
            "dueAt": {"$ifNull": ["$dueAt", CREATED_AT]},
            "enqueuedAt": {"$ifNull": ["$enqueuedAt", CREATED_AT]},
            "updatedAt": as_long("$updatedAt"),
        }
        return {"q": query, "u": [{"$set": values}], "multi": True, "hint": THEIRS}

    def _ended(self, stamped: Document, index: object) -> Document:
        """Close what has ended and still says that it waits or runs."""
        query = stamped | {
            "queuePrefix": self._stores.documents.prefix,
            "status": {"$lte": "failed", "$in": ENDED_STATUSES},
        }
        left = follow_ups_expression(as_long("$token"))
        stamps = ["owner", "claim", "dueAt", "runAt", "reason", "sweptAt", "handOns"]
        change: list[Document] = [
            # Its type still says who wrote the result.
            {"$set": {"finishedAt": as_date("$updatedAt"), FOLLOW_UPS: left}},
            # Whoever of ours had it before did not end it.
            {"$unset": [*stamps, "doneBy", "cancelRequested"]},
        ]
        return {"q": query, "u": change, "multi": True, "hint": index}
