"""Removing executions that ended long ago, with everything recorded for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from typing_extensions import override

from ...model.transitions import RETRYABLE
from ..contract.retention import RetentionStore
from .documents import EXECUTIONS, LIFE, STEP_LIFE, STEPS, TAKEN_EVENTS, WAITS, life_of
from .event_documents import taken_by
from .fields import parent_of
from .indexes import ENDED, ENDED_OURS, OURS
from .outbox import FOLLOW_UPS, HAS_WAITS
from .parents import ended_parents
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import ExecutionStatus
    from .counting import Counting
    from .documents import Document
    from .stores import Stores

MARKED: Document = {"pruned": True}
MAX_KEPT_PAGES = 20
"""So many pages of which all is kept one call looks behind."""
MAX_LEFT_STEPS = 1000
"""So many steps that others have left are removed at a time."""


class Retention(RetentionStore):
    """Prunes what goes with an execution first, the execution last.

    It is found again by its end until it is gone, so what a crash leaves half done,
    the next call completes. One that could be retried is marked before: a mark is a
    compare-and-set against a retry, and a marked execution cannot be retried any
    more, so it never runs without its steps.

    Its id may be sent anew as soon as it is gone, by whoever removes it: everything is
    removed by its nonce, not by its id alone.
    """

    def __init__(self, stores: Stores, counting: Counting) -> None:
        self._stores = stores
        self._counting = counting
        self._behind: dict[ExecutionStatus, Document] = {}
        """By status: a condition for what is behind a page of which all is kept."""

    @override
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
            FOLLOW_UPS: None,
            "$expr": {"$lt": ["$finishedAt", since]},
        }
        found, is_all = await self._found(status, guard, limit)
        if not found:
            if is_all:
                await self._counting.forget(status, before)
            return 0
        gone: Sequence[Document] = found
        if status in RETRYABLE:
            gone = await self._mark(found, guard)
            guard = MARKED
        if not gone:
            return 0
        await self._forget_copies([each["_id"] for each in gone])
        await self._remove_steps(gone)
        await self._remove_waits(gone)
        removed = await stores.mongo.delete(EXECUTIONS, _these(gone) | guard)
        if removed == len(found):
            ends = [milliseconds_of(each["finishedAt"]) for each in found]
            await self._counting.uncount(status, ends)
        elif removed:
            await self._counting.ask_for_recount()
        return removed

    async def _found(
        self, status: ExecutionStatus, guard: Document, limit: int
    ) -> tuple[Sequence[Document], bool]:
        """The next to be removed; whether without any there is nothing to keep either.

        Children whose parents may ask for them are kept: it is looked behind them, and
        the next call continues there.
        """
        stores = self._stores
        has_kept = False
        for _ in range(MAX_KEPT_PAGES):
            behind = self._behind.get(status)
            found = await stores.mongo.find(
                EXECUTIONS,
                OURS | guard | ({} if behind is None else behind),
                fields=("id", "finishedAt", "parent", LIFE, HAS_WAITS),
                sort=(("finishedAt", 1),),
                limit=limit,
                hint=ENDED_OURS if stores.options.ts_compat else ENDED,
            )
            kept = await self._kept(found)
            gone = [each for each in found if each["_id"] not in kept]
            has_kept = has_kept or bool(kept) or behind is not None
            if len(found) < limit:
                self._behind.pop(status, None)
            elif not gone:
                last = found[-1]["finishedAt"]
                here = [each["_id"] for each in found if each["finishedAt"] == last]
                if behind is not None and behind["finishedAt"]["$gte"] == last:
                    # Thousands may have ended in one moment, with their parent.
                    here += behind["_id"]["$nin"]
                self._behind[status] = {
                    "finishedAt": {"$gte": last, **guard["finishedAt"]},
                    "_id": {"$type": "string", "$nin": here},
                }
            if gone or len(found) < limit:
                return gone, not has_kept
        return (), False

    async def _kept(self, found: Sequence[Document]) -> set[str]:
        """The ids of those whose parents may ask for them, once retried maybe."""
        parents = {each["_id"]: parent_of(each) for each in found if "parent" in each}
        named = {parent for parent in parents.values() if parent is not None}
        if not named:
            return set()
        ended = await ended_parents(self._stores, named, for_good=True)
        return {id_ for id_, each in parents.items() if each and each not in ended}

    async def _mark(
        self, found: Sequence[Document], guard: Document
    ) -> Sequence[Document]:
        """Those that cannot be retried from now on."""
        stores = self._stores
        these = _these(found)
        statement = {"q": these | guard, "u": {"$set": MARKED}, "multi": True}
        if (await stores.mongo.update(EXECUTIONS, [statement])).count == len(found):
            return found
        marked = await stores.mongo.find(EXECUTIONS, these | MARKED, fields=("_id",))
        ids = {each["_id"] for each in marked}
        return [each for each in found if each["_id"] in ids]

    async def _forget_copies(self, ids: Sequence[str]) -> None:
        """Remove what Redis has: a later execution of an id must not find it."""
        keys = self._stores.keys
        await self._stores.redis.remove_keys(
            [key for each in ids for key in (keys.execution(each), keys.steps(each))]
        )

    async def _remove_steps(self, gone: Sequence[Document]) -> None:
        """Remove the steps of executions, and what others of their ids have left."""
        mongo, steps_of = self._stores.mongo, self._stores.documents.steps_of
        await mongo.delete(
            STEPS,
            *(steps_of([each["_id"]]) | {STEP_LIFE: life_of(each)} for each in gone),
        )
        fields = ("executionId", STEP_LIFE)
        these = steps_of([each["_id"] for each in gone])
        while left := await mongo.find(
            STEPS, these, fields=fields, limit=MAX_LEFT_STEPS
        ):
            # Without a mark, or of an earlier execution: as long as this one is there,
            # nothing that was read before is of a later one.
            there = await mongo.find(EXECUTIONS, _these(gone), fields=("_id",))
            ids = {each["_id"] for each in there}
            exact = [
                {"_id": each["_id"], STEP_LIFE: each.get(STEP_LIFE)}
                for each in left
                if each["executionId"] in ids
            ]
            if not exact:
                return
            await mongo.delete(STEPS, *exact)
            if len(left) < MAX_LEFT_STEPS:
                return

    async def _remove_waits(self, gone: Sequence[Document]) -> None:
        """Remove what executions have waited for, and taken."""
        own_waits = self._stores.documents.own_waits
        waited = [each for each in gone if HAS_WAITS in each]
        if waited:
            mongo = self._stores.mongo
            await mongo.delete(WAITS, *(own_waits(each) for each in waited))
            await mongo.delete(TAKEN_EVENTS, *(taken_by(each) for each in waited))


def _these(executions: Sequence[Document]) -> Document:
    """A query for these very executions; a nonce is used for one only."""
    return {
        "_id": {"$in": [each["_id"] for each in executions]},
        LIFE: {"$in": [each.get(LIFE) for each in executions]},
    }
