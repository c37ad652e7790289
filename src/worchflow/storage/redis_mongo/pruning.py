"""Removing executions that ended long ago, with everything recorded for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...transitions import RETRYABLE
from .documents import EXECUTIONS, STEPS
from .indexes import ENDED, ENDED_OURS, OURS
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...records import ExecutionStatus
    from .counting import Counting
    from .documents import Document
    from .stores import Stores

MARKED: Document = {"pruned": True}


class Pruning:
    """Prunes what goes with an execution first, the execution last.

    It is found again by its end until it is gone, so what a crash leaves half done,
    the next call completes. One that could be retried is marked before: a mark is a
    compare-and-set against a retry, and a marked execution cannot be retried any
    more, so it never runs without its steps.
    """

    def __init__(self, stores: Stores, counting: Counting) -> None:
        self._stores = stores
        self._counting = counting

    async def prune(self, status: ExecutionStatus, age: float, limit: int) -> int:
        """Remove up to `limit` executions; see the contract."""
        stores = self._stores
        before = stores.clock.now() - int(age * 1000)
        # The server's own clock has the last word on what is gone for good.
        since = {"$subtract": ["$$NOW", Int64(age * 1000)]}
        guard: Document = {
            "queuePrefix": stores.options.queue_prefix,
            "status": status.value,
            "finishedAt": {"$lt": DatetimeMS(before)},
            "$expr": {"$lt": ["$finishedAt", since]},
        }
        found = await stores.mongo.find(
            EXECUTIONS,
            OURS | guard,
            fields=("finishedAt",),
            sort=(("finishedAt", 1),),
            limit=limit,
            hint=ENDED_OURS if stores.options.ts_compat else ENDED,
        )
        ids = [each["_id"] for each in found]
        if not ids:
            await self._counting.forget(status, before)
        if ids and status in RETRYABLE:
            ids = await self._mark(ids, guard)
            guard = MARKED
        if not ids:
            return 0
        await self._forget_copies(ids)
        # Whoever sent one of the ids anew meanwhile keeps what that has recorded.
        old = {"timestamp": {"$not": {"$gte": before}}}
        await stores.mongo.delete(
            STEPS, *(stores.documents.steps_of([each]) | old for each in ids)
        )
        removed = await stores.mongo.delete(EXECUTIONS, {"_id": {"$in": ids}} | guard)
        if removed == len(found):
            ends = [milliseconds_of(each["finishedAt"]) for each in found]
            await self._counting.uncount(status, ends)
        elif removed:
            await self._counting.ask_for_recount()
        return removed

    async def _mark(self, ids: list[str], guard: Document) -> list[str]:
        """Those of the ids that cannot be retried from now on."""
        stores = self._stores
        these: Document = {"_id": {"$in": ids}}
        statement = {"q": these | guard, "u": {"$set": MARKED}, "multi": True}
        if (await stores.mongo.update(EXECUTIONS, [statement])).count == len(ids):
            return ids
        marked = await stores.mongo.find(EXECUTIONS, these | MARKED, fields=("_id",))
        return [each["_id"] for each in marked]

    async def _forget_copies(self, ids: Sequence[str]) -> None:
        """Remove what Redis has: a later execution of an id must not find it."""
        keys = self._stores.keys
        await self._stores.redis.remove_keys(
            [key for each in ids for key in (keys.execution(each), keys.steps(each))]
        )
