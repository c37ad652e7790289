"""Makes visible what is due and not in the queue, whatever Redis lost."""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS

from ...errors import StoreUnavailable
from ...transitions import CLAIMABLE
from .documents import EXECUTIONS
from .expressions import CREATED_AT
from .missing import Missing, Span
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .counting import Counting
    from .documents import Document
    from .election import Election
    from .executions import Executions
    from .stores import Stores

SLACK = 5_000
"""Milliseconds; what became due just now is on its way."""
RECENT = 60_000
"""Milliseconds within which nothing is pushed twice, unless Redis lost it."""
HEADS = (20, 1000)
"""How much of the list is looked at; further where nobody waits any more at its head,
for what was claimed while Redis was away is still in the list."""
NOTHING = Span(0, 0)
ORPHANED = 60_000
"""Milliseconds; older `processing` documents of the original have lost their worker."""


class Sweeper:
    """Sweeps as the one that is elected, page by page until nothing is left."""

    def __init__(
        self,
        stores: Stores,
        executions: Executions,
        counting: Counting,
        election: Election,
    ) -> None:
        self._stores = stores
        self._missing = Missing(stores, executions)
        self._counting = counting
        self._election = election
        self._missed = NOTHING
        """Due times to look at once more although the list's head is older."""

    async def sweep(self, worker_id: str) -> int:
        """Sweep if no other worker does; how many executions."""
        if not await self._election.holds(worker_id):
            self._missed = NOTHING
            return 0
        with suppress(StoreUnavailable):
            # What cannot be counted is not kept from running.
            await self._counting.advance()
        if self._stores.options.ts_compat:
            await self._stamp_documents_of_the_original()
        head = await self._watermark()
        stale = await self._stale_before()
        now = self._stores.clock.now()
        ripe, missed = self._missed.cut(now - SLACK)
        count = await self._put_back(worker_id, ripe, stale, missed)
        if count == 0:
            self._missed = missed
        # Where something was lost, what was on its way may be lost as well.
        near = Span(head - SLACK, min(head + SLACK, now))
        older, missed = Span(0, head - SLACK), self._missed.joined(near)
        return count + await self._put_back(worker_id, older, stale, missed)

    async def _put_back(
        self, worker_id: str, due: Span, stale: int, missed: Span
    ) -> int:
        """Queue what is due in a span; how many were queued.

        If there are any, `missed` is what is to be looked at another time. So is what
        is left of the span when it ends early: the list's head will be older then.
        """
        if due.is_empty:
            return 0
        count, before = 0, self._missed
        async with aclosing(self._missing.put_back(due, stale)) as pages:
            async for since, queued in pages:
                count += queued
                self._missed = Span(since, due.until).joined(missed)
                if not await self._election.holds(worker_id):
                    return count
        # What only Redis refused is still due, and was not lost.
        self._missed = missed if count else before
        return count

    async def _watermark(self) -> int:
        """The due time of the list's head: what is younger is behind it."""
        stores = self._stores
        now = stores.clock.now()
        for count in HEADS:
            head = await stores.redis.items(stores.keys.queue, count)
            if head and (found := await self._waiting(head, now)):
                return min(milliseconds_of(each["dueAt"]) or now for each in found)
            if len(head) < count:
                break
        return now

    async def _waiting(self, head: Sequence[bytes], now: int) -> list[Document]:
        """Those of the ids that somebody may claim now."""
        stores = self._stores
        return await stores.mongo.find(
            EXECUTIONS,
            stores.documents.by_ids([each.decode(errors="replace") for each in head])
            | {"owner": None, "dueAt": {"$lte": DatetimeMS(now)}},
            fields=("dueAt",),
        )

    async def _stale_before(self) -> int:
        """When an id that was pushed may be missing: long ago, or before a wipe."""
        stores = self._stores
        now = stores.clock.now()
        epoch = await stores.redis.first_value(stores.keys.epoch, str(now)) or b""
        began = int(epoch) if epoch.isdigit() and len(epoch) < 15 else 0
        return max(now - RECENT, began)

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
            "dueAt": CREATED_AT,
        }
        values["enqueuedAt"] = values["dueAt"]
        await stores.mongo.update(
            EXECUTIONS,
            [
                {"q": query, "u": [{"$set": values}], "multi": True}
                for query in (waiting, orphaned)
            ],
        )
