"""Makes visible what is due and not in the queue, whatever Redis lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...errors import StoreUnavailable
from ...transitions import CLAIMABLE
from .documents import EXECUTIONS, META, UnreadableError, milliseconds_of
from .scripts import BACK

if TYPE_CHECKING:
    from .documents import Document
    from .executions import Executions
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

LOCK_TTL = 30_000
"""Milliseconds for which one worker is the sweeper without saying so again."""
SLACK = 5_000
"""Milliseconds; what became due just now is on its way."""
RECENT = 60_000
"""Milliseconds within which nothing is pushed twice, unless Redis lost it."""
HEAD = 20
PAGE = 1000
ORPHANED = 60_000
"""Milliseconds; older `processing` documents of the original have lost their worker."""


class Sweeper:
    """Sweeps as the one that is elected, page by page until nothing is left."""

    def __init__(self, stores: Stores, executions: Executions) -> None:
        self._stores = stores
        self._executions = executions

    async def sweep(self, worker_id: str) -> int:
        """Sweep if no other worker does; how many executions."""
        if not await self._is_elected(worker_id):
            return 0
        if self._stores.options.ts_compat:
            await self._stamp_documents_of_the_original()
        until = await self._watermark() - SLACK
        stale = DatetimeMS(await self._stale_before())
        since: Any = DatetimeMS(0)
        count = 0
        while True:
            page = await self._page(since, until, stale)
            if not page:
                return count
            count += await self._push(page)
            since = page[-1]["dueAt"]
            if len(page) < PAGE:
                return count
            if not await self._is_elected(worker_id):
                return count

    async def _is_elected(self, worker_id: str) -> bool:
        """Take or keep the lock document."""
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

    async def _watermark(self) -> int:
        """The due time of the list's head: what is younger is behind it."""
        stores = self._stores
        now = stores.clock.now()
        head = await stores.redis.items(stores.keys.queue, HEAD)
        if not head:
            return now
        found = await stores.mongo.find(
            EXECUTIONS,
            stores.documents.by_ids([each.decode(errors="replace") for each in head])
            | {"owner": None, "dueAt": {"$lte": DatetimeMS(now)}},
            fields=("dueAt",),
        )
        return min((milliseconds_of(d["dueAt"]) or now for d in found), default=now)

    async def _stale_before(self) -> int:
        """When an id that was pushed may be missing: long ago, or before a wipe."""
        stores = self._stores
        now = stores.clock.now()
        epoch = await stores.redis.first_value(stores.keys.epoch, str(now)) or b""
        began = int(epoch) if epoch.isdigit() and len(epoch) < 15 else 0
        return max(now - RECENT, began)

    async def _page(
        self, since: object, until: int, stale: DatetimeMS
    ) -> list[Document]:
        stores = self._stores
        # What a page pushed is stamped, so the next one starts at the same due time
        # without meeting it again.
        return await stores.mongo.find(
            EXECUTIONS,
            {
                "queuePrefix": stores.options.queue_prefix,
                "dueAt": {"$gte": since, "$lt": DatetimeMS(until)},
                "owner": None,
                "$or": [{"sweptAt": None}, {"sweptAt": {"$lt": stale}}],
            },
            sort=(("dueAt", 1),),
            limit=PAGE,
            hint={"queuePrefix": 1, "dueAt": 1},
        )

    async def _push(self, page: list[Document]) -> int:
        stores = self._stores
        pushes: list[Any] = []
        for document in page:
            try:
                execution = stores.documents.execution(document)
            except UnreadableError as error:
                logger.debug("%.200r is not swept: %s", document["_id"], error.message)
                continue
            if execution.cancel_requested:
                await self._executions.cancel_waiting(execution.id)
                continue
            fields = stores.documents.hash_fields(execution)
            pushes.append(stores.scripts.enqueue(fields, BACK))
        if pushes:
            (answer,) = await stores.redis.run(
                [stores.scripts.call(pushes[0].script, pushes)]
            )
            if isinstance(answer, StoreUnavailable):
                raise answer
        stamp = {"$set": {"sweptAt": DatetimeMS(stores.clock.now())}}
        query = {"_id": {"$in": [d["_id"] for d in page]}, "owner": None}
        await stores.mongo.update(EXECUTIONS, [{"q": query, "u": stamp, "multi": True}])
        return len(page)

    async def _stamp_documents_of_the_original(self) -> None:
        """Give documents without our stamps their place in the order, by `createdAt`.

        Also those that ran in a worker of the original that is gone: one fleet at a
        time works on a prefix and database.
        """
        stores = self._stores
        now = stores.clock.now()
        foreign: Document = {
            "queuePrefix": None,
            "dueAt": None,
            "owner": None,
            "token": None,
        }
        waiting = foreign | {
            "status": {"$in": list(CLAIMABLE)},
            "createdAt": {"$lt": now - SLACK},
        }
        orphaned = foreign | {
            "status": "processing",
            "updatedAt": {"$lt": now - ORPHANED},
        }
        values: Document = {
            "queuePrefix": {"$literal": stores.options.queue_prefix},
            "status": {
                "$cond": [{"$eq": ["$status", "processing"]}, "queued", "$status"]
            },
            "dueAt": {
                "$convert": {
                    "input": {"$toLong": "$createdAt"},
                    "to": "date",
                    "onError": "$$NOW",
                    "onNull": "$$NOW",
                }
            },
        }
        values["enqueuedAt"] = values["dueAt"]
        await stores.mongo.update(
            EXECUTIONS,
            [
                {"q": query, "u": [{"$set": values}], "multi": True}
                for query in (waiting, orphaned)
            ],
        )
