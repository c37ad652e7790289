"""Makes visible what is due and not in the queue, whatever Redis lost."""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from typing_extensions import override

from ...foundations.errors import StoreUnavailable
from ..contract.leadership import SweepStore
from .documents import EXECUTIONS
from .indexes import DUE
from .missing_from_queue import Missing, Span
from .queue_heads import HeadsLook
from .typescript_original import Original
from .values import milliseconds_of
from .waiting_reasons import Reasons

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .counting import Counting
    from .documents import Document
    from .events import Events
    from .executions import Executions
    from .follow_ups import FollowUps
    from .leadership import Leadership
    from .stores import Stores

GRACE_MILLISECONDS = 5_000
"""Milliseconds; what became due just now is on its way."""
MAX_SKEW_MILLISECONDS = 1_000
"""Milliseconds by which a due time may be ahead of the clock that this sweep reads."""
RECENT_MILLISECONDS = 60_000
"""Milliseconds within which nothing is pushed twice, unless Redis lost it."""
NOTHING = Span(0, 0)


class Sweeper(SweepStore):
    """Sweeps as the one that is elected, page by page until nothing is left.

    Each event by itself, for each may have a list, and one page of each in turn: how
    much is missing of one keeps none of another away.
    """

    def __init__(
        self,
        stores: Stores,
        executions: Executions,
        counting: Counting,
        follow_ups: FollowUps,
        events: Events,
        election: Leadership,
    ) -> None:
        self._stores = stores
        self._missing = Missing(stores, executions)
        self._heads = HeadsLook(stores)
        self._reasons = Reasons(stores)
        self._original = Original(stores)
        self._counting = counting
        self._follow_ups = follow_ups
        self._events = events
        self._election = election
        self._missed: dict[str, Span] = {}
        """Due times of an event to look at once more although its head is older."""

    @override
    async def sweep(self, worker_id: str) -> int:
        """Sweep if no other worker does; how many executions."""
        stores = self._stores
        if not await self._election.holds(worker_id):
            self._missed.clear()
            self._reasons.forget()
            self._counting.is_not_elected()
            return 0
        with suppress(StoreUnavailable):
            # What cannot be counted is not kept from running.
            await self._counting.advance()
        await self._follow_ups.sweep()
        await self._events.sweep()
        if stores.options.ts_compat:
            await self._original.take_over()
        now = stores.clock.now()
        due = await self._oldest_of_each(now)
        if not stores.options.ts_compat:
            await self._reasons.tell(due)
        self._missed = {e: span for e, span in self._missed.items() if e in due}
        await self._heads.clear(due)
        events = sorted(
            event for event, since in due.items() if since < now - GRACE_MILLISECONDS
        )
        if not events:
            return 0
        heads = await self._heads.look(events)
        stale = await self._stale_before()
        async with AsyncExitStack() as stack:
            turns = deque(
                [
                    await stack.enter_async_context(
                        aclosing(self._pages(event, heads.of(event), stale, now))
                    )
                    for event in events
                ]
            )
            return await self._take_turns(worker_id, turns)

    async def _take_turns(
        self, worker_id: str, turns: deque[AsyncGenerator[int, None]]
    ) -> int:
        """Go on with each in turn until all have ended; how many executions."""
        count = 0
        while turns:
            pages = turns.popleft()
            size = await anext(pages, None)
            if size is None:
                continue
            count += size
            if not await self._election.holds(worker_id):
                return count
            turns.append(pages)
        return count

    async def _pages(
        self, event: str, head: int, stale: int, now: int
    ) -> AsyncGenerator[int, None]:
        """Queue what is missing of an event; before each page how many were queued."""
        ripe, missed = self._missed.get(event, NOTHING).cut(now - GRACE_MILLISECONDS)
        queued = 0
        async with aclosing(self._put_back(event, ripe, stale, missed)) as pages:
            async for size in pages:
                queued += size
                yield size
        if not queued:
            self._missed[event] = missed
        # Where something was lost, what was on its way may be lost as well.
        near = Span(
            head - GRACE_MILLISECONDS,
            min(head + GRACE_MILLISECONDS, now + MAX_SKEW_MILLISECONDS),
        )
        older, missed = (
            Span(0, head - GRACE_MILLISECONDS),
            self._missed[event].joined(near),
        )
        async with aclosing(self._put_back(event, older, stale, missed)) as pages:
            async for size in pages:
                yield size

    async def _put_back(
        self, event: str, due: Span, stale: int, missed: Span
    ) -> AsyncGenerator[int, None]:
        """Queue what is due in a span; before each page how many were queued.

        If there are any, `missed` is what is to be looked at another time. So is what
        is left of the span when it ends early: the list's head will be older then.
        """
        if due.is_empty:
            return
        count, before = 0, self._missed.get(event, NOTHING)
        async with aclosing(self._missing.put_back(event, due, stale)) as pages:
            async for since, queued in pages:
                count += queued
                self._missed[event] = Span(since, due.until).joined(missed)
                yield queued
        # What only Redis refused is still due, and was not lost.
        self._missed[event] = missed if count else before

    async def _oldest_of_each(self, now: int) -> dict[str, int]:
        """The events of which something is due, and since when."""
        stages: list[Document] = [
            {
                "$match": {
                    "queuePrefix": self._stores.options.queue_prefix,
                    "dueAt": {"$lte": DatetimeMS(now)},
                }
            },
            # In the index's own order: MongoDB reads one key of each event.
            {"$sort": {"eventName": 1, "dueAt": 1}},
            {"$group": {"_id": "$eventName", "dueAt": {"$first": "$dueAt"}}},
        ]
        found = await self._stores.mongo.aggregate(EXECUTIONS, stages, DUE)
        return {
            each["_id"]: milliseconds_of(each["dueAt"]) or 0
            for each in found
            if isinstance(each["_id"], str)
        }

    async def _stale_before(self) -> int:
        """When an id that was pushed may be missing: long ago, or before a wipe."""
        stores = self._stores
        now = stores.clock.now()
        epoch = await stores.redis.first_value(stores.keys.epoch, str(now)) or b""
        began = int(epoch) if epoch.isdigit() and len(epoch) < 15 else 0
        return max(now - RECENT_MILLISECONDS, began)
