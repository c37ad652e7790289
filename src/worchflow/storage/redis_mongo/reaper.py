"""Takes back what dead workers own."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...foundations.errors import StoreUnavailable
from ...model.transitions import KILLED_WORKERS, UNSURE
from .cancelling import show_finished
from .documents import (
    EXECUTIONS,
    STEPS,
    WORKERS,
    UnreadableError,
)
from .errors import describe
from .expressions import CREATED_AT, as_long
from .indexes import OWNER, owned_by
from .outbox import FOLLOW_UPS, follow_ups_expression
from .scripts import FRONT, NOWHERE
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .counting import Counting
    from .documents import Document
    from .executions import Executions
    from .follow_ups import FollowUps
    from .scripts import ScriptCall
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

PAGE = 500
KEEP_DEAD_MILLISECONDS = 24 * 3600 * 1000
"""Milliseconds for which a dead worker is remembered: a claim of its that was
delayed on the way is noticed as long."""
SUSPICIOUS = 3
"""From so many workers on, more than half dying at once looks like our mistake."""


class Reaper:
    """Declares workers dead and releases what they own."""

    def __init__(
        self,
        stores: Stores,
        executions: Executions,
        counting: Counting,
        follow_ups: FollowUps,
    ) -> None:
        self._stores = stores
        self._executions = executions
        self._counting = counting
        self._follow_ups = follow_ups

    async def reap(self, *, expired: bool) -> int:
        """Take over from dead workers; with `expired`, leases that ran out count."""
        if expired:
            await self._declare_dead(self._stores.clock.now())
        dead = await self._stores.mongo.find(
            WORKERS,
            {"queuePrefix": self._stores.options.queue_prefix, "dead": True},
            fields=("_id",),
        )
        # Ids of ours are text; a document of somebody else is not a worker.
        worker_ids = [d["_id"] for d in dead if isinstance(d["_id"], str)]
        if expired:
            worker_ids += await self._that_left()
        if not worker_ids:
            return 0
        released: list[Document] = []
        while page := await self._stores.mongo.find(
            EXECUTIONS,
            owned_by(worker_ids) | self._stores.documents.live,
            limit=PAGE,
            hint=OWNER,
        ):
            part = await self._release(page, worker_ids)
            released += part
            if not part:
                break
        moved = await self._reclaim(worker_ids)
        # The last one pushed to the front is the first there: the oldest.
        released.sort(key=_place_in_queue, reverse=True)
        for document in released:
            # What is moved are ids; a document of the original has another `_id`.
            self._show(document, NOWHERE if document.get("id") in moved else FRONT)
        await self._follow_ups.begin(released)
        await self._forget()
        return len(released)

    async def end(self, worker_id: str) -> None:
        """End one worker: ids it took go back to the queue, and its document goes.

        While it owns executions their code may still run, so it then stays what it
        is until its lease runs out.
        """
        await self._reclaim([worker_id])
        stores = self._stores
        owned = owned_by([worker_id]) | stores.documents.live
        if await stores.mongo.find(EXECUTIONS, owned, limit=1, hint=OWNER):
            return
        await stores.mongo.delete(WORKERS, {"_id": worker_id})

    async def _that_left(self) -> list[str]:
        """Owners that are no workers: a claim of theirs arrived after they left."""
        stores = self._stores
        present = await stores.mongo.find(WORKERS, {}, fields=("_id",))
        ids = [document["_id"] for document in present]
        owned = await stores.mongo.find(
            EXECUTIONS,
            {
                "owner": {"$type": "string", "$nin": ids},
                "queuePrefix": stores.documents.prefix,
            },
            fields=("owner",),
            limit=PAGE,
            hint=OWNER,
        )
        owners = {document["owner"] for document in owned}
        if not owners:
            return []
        # Who joined since is there by now: nobody claims before.
        joined = await stores.mongo.find(
            WORKERS, {"_id": {"$in": list(owners)}}, fields=("_id",)
        )
        return list(owners - {document["_id"] for document in joined})

    async def _declare_dead(self, asked_at: int) -> None:
        """Those whose leases had ended when it was asked, by any clock.

        An outage may lie between then and now, in which nobody could renew.
        """
        stores = self._stores
        alive = {
            "queuePrefix": stores.options.queue_prefix,
            "dead": {"$ne": True},
        }
        ended = {"expiresAt": {"$lt": DatetimeMS(asked_at)}}
        expired = alive | {"$expr": {"$lt": ["$expiresAt", "$$NOW"]}}
        silent = await stores.mongo.find(WORKERS, expired | ended, fields=("_id",))
        if not silent:
            return
        known = await stores.mongo.find(WORKERS, alive, fields=("_id",))
        # First: if this process dies next, they have died all the same.
        await self._counting.ask_for_recount()
        grace = 0
        if len(known) >= SUSPICIOUS and 2 * len(silent) > len(known):
            grace = int(stores.options.lease_ttl * 1000)
        since = {"$subtract": ["$$NOW", Int64(grace)]}
        query = alive | ended | {"$expr": {"$lt": ["$expiresAt", since]}}
        statement = {"q": query, "u": _DEATH, "multi": True}
        written = await stores.mongo.update(WORKERS, [statement])
        if written.count:
            logger.warning(
                "%d worker(s) did not renew their lease for %g s: what they ran goes "
                "back to the queue",
                written.count,
                stores.options.lease_ttl,
            )

    async def _release(
        self, page: Sequence[Document], worker_ids: Sequence[str]
    ) -> list[Document]:
        """Release one page; the documents as they stand afterwards."""
        progressed = await self._that_progressed(page)
        ids = [document["_id"] for document in page]
        query: Document = {"_id": {"$in": ids}, "owner": {"$in": list(worker_ids)}}
        query |= self._stores.documents.live
        statement = {"q": query, "u": _release(progressed), "multi": True}
        await self._stores.mongo.update(EXECUTIONS, [statement])
        return await self._stores.mongo.find(
            EXECUTIONS, {"_id": {"$in": ids}, "owner": None}
        )

    async def _that_progressed(self, page: Sequence[Document]) -> list[str]:
        """The ids of those that recorded a step under the claim that ends now."""
        stores = self._stores
        found = await stores.mongo.find(
            STEPS,
            {
                "$or": [
                    stores.documents.own_steps(document)
                    | {"token": document.get("token")}
                    for document in page
                    if isinstance(document.get("id"), str)
                ]
                or [NOTHING]
            },
            fields=("executionId",),
        )
        return list({document["executionId"] for document in found})

    def _show(self, document: Document, place: str) -> None:
        stores = self._stores
        try:
            execution = stores.documents.execution(document)
        except UnreadableError:
            return
        if execution.status.is_terminal:
            show_finished(stores, execution)
            return
        self._executions.enqueue(execution, place)
        self._executions.tell(execution)

    async def _reclaim(self, worker_ids: Sequence[str]) -> set[str]:
        """Move their inflight lists to the queue's front; the ids that were moved.

        What an outage keeps from it, the sweep finds.
        """
        stores = self._stores
        moved: set[str] = set()
        with suppress(StoreUnavailable):
            calls = [stores.scripts.reclaim(each, PAGE) for each in worker_ids]
            while calls:
                answers = await stores.redis.run(calls)
                full: list[ScriptCall] = []
                for call, answer in zip(calls, answers, strict=True):
                    if isinstance(answer, Exception):
                        # One list must not keep those of the other workers.
                        logger.warning(
                            "Redis refused to move ids of a dead worker from %s to %s "
                            "(%s): the sweep queues them. If one of the keys holds a "
                            "value of a foreign type, delete or rename it",
                            *call.keys,
                            describe(answer),
                        )
                        continue
                    moved.update(each.decode(errors="replace") for each in answer)
                    if len(answer) == PAGE:
                        full.append(call)
                calls = full
        return moved

    async def _forget(self) -> None:
        since = {"$subtract": ["$$NOW", Int64(KEEP_DEAD_MILLISECONDS)]}
        query = {
            "queuePrefix": self._stores.options.queue_prefix,
            "dead": True,
            "$expr": {"$lt": ["$diedAt", since]},
        }
        await self._stores.mongo.delete(WORKERS, query)


def _place_in_queue(document: Document) -> int:
    return milliseconds_of(document.get("enqueuedAt")) or 0


NOTHING: Document = {"_id": None}

_DEATH: list[Document] = [{"$set": {"dead": True, "diedAt": "$$NOW"}}]

_FLAGGED = {"$eq": ["$cancelRequested", True]}

_AFTERWARDS: Document = {
    "$set": {
        "reason": {
            "$cond": [
                {"$gt": ["$deaths", 1]},
                {"$cond": [_FLAGGED, "$$REMOVE", KILLED_WORKERS]},
                "$$REMOVE",
            ]
        },
        FOLLOW_UPS: {
            "$cond": [_FLAGGED, follow_ups_expression("$token"), f"${FOLLOW_UPS}"]
        },
    }
}
"""What depends on the deaths and the token that it has by then."""


def _release(progressed: Sequence[str]) -> list[Document]:
    """For what a dead worker owned: back to its old place, or cancelled.

    `progressed` are the ids of those that recorded a step under the claim.
    """
    recoveries, deaths = as_long("$recoveries"), as_long("$deaths")
    counted = {
        "$switch": {
            "branches": [
                {"case": {"$in": ["$id", {"$literal": list(progressed)}]}, "then": 1},
                {
                    "case": {"$eq": ["$begun", "$token"]},
                    "then": {
                        "$cond": [{"$eq": [deaths, UNSURE]}, 2, {"$add": [deaths, 1]}]
                    },
                },
                {"case": {"$lte": [recoveries, 0]}, "then": UNSURE},
            ],
            "default": deaths,
        }
    }
    return [
        {
            "$set": {
                "status": {"$cond": [_FLAGGED, "cancelled", "queued"]},
                "recoveries": {"$add": [recoveries, 1]},
                "deaths": counted,
                "token": {"$cond": [_FLAGGED, {"$add": ["$token", 1]}, "$token"]},
                "dueAt": {
                    "$cond": [
                        _FLAGGED,
                        "$$REMOVE",
                        {"$ifNull": ["$enqueuedAt", CREATED_AT]},
                    ]
                },
                "finishedAt": {"$cond": [_FLAGGED, "$$NOW", "$finishedAt"]},
                "updatedAt": {"$toLong": "$$NOW"},
            }
        },
        _AFTERWARDS,
        {"$unset": ["owner", "claim", "cancelRequested", "runAt"]},
    ]
