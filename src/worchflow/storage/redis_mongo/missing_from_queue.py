"""What is due and may be missing from the queue: found in MongoDB, put back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from bson.datetime_ms import DatetimeMS

from ...foundations.errors import StoreUnavailable
from .documents import EXECUTIONS, UnreadableError
from .indexes import DUE
from .scripts import BACK, ENQUEUE
from .tasks import end
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from .documents import Document
    from .executions import Executions
    from .scripts import Operation
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

PAGE = 1000
STAMPS = 2
"""Pages that may be stamped at once, beside the one that is pushed."""


class Span(NamedTuple):
    """From one moment until before another, in milliseconds."""

    since: int
    until: int

    @property
    def is_empty(self) -> bool:
        """Whether no moment is in it."""
        return self.since >= self.until

    def cut(self, moment: int) -> tuple[Span, Span]:
        """What is before a moment, and the rest."""
        before = Span(self.since, min(moment, self.until))
        return before, Span(max(moment, self.since), self.until)

    def joined(self, other: Span) -> Span:
        """The shortest span that has all of both."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        return Span(min(self.since, other.since), max(self.until, other.until))


class Place(NamedTuple):
    """Where an execution is in the order: the same moment may have many."""

    due_at: Any
    id: str


class Missing:
    """Finds what nobody owns and nobody queued lately, and queues it."""

    def __init__(self, stores: Stores, executions: Executions) -> None:
        self._stores = stores
        self._executions = executions

    async def put_back(
        self, event: str, due: Span, stale: int
    ) -> AsyncGenerator[tuple[int, int], None]:
        """Queue what is due of an event in a span of time, the oldest first.

        What was queued here after `stale` is left out. Yields since when nothing has
        been queued yet and how many were queued since it last did, before each page
        and at the end. One page is read and others are stamped while one is pushed.
        What Redis refuses is neither counted nor stamped: it stays due.
        """
        unstamped: deque[list[Place]] = deque(maxlen=STAMPS)
        refused: list[Place] = []
        queued = 0
        stamping: deque[asyncio.Task[None]] = deque()
        reading: asyncio.Task[list[Document]] | None = None
        try:
            page = await self._page(event, due, stale, ())
            while page:
                yield milliseconds_of(page[0]["dueAt"]) or due.since, queued
                places = [Place(each["dueAt"], each["_id"]) for each in page]
                unstamped.append(places)
                if len(page) == PAGE:
                    behind = [*refused, *chain.from_iterable(unstamped)]
                    reading = asyncio.create_task(self._page(event, due, stale, behind))
                kept_out = await self._push(page)
                queued = len(page) - len(kept_out)
                # Only those of the last moment could be met again by this sweep.
                refused += [places[index] for index in kept_out]
                refused = [each for each in refused if each.due_at == places[-1].due_at]
                if len(stamping) == STAMPS - 1:
                    await stamping.popleft()
                done = [p for index, p in enumerate(places) if index not in kept_out]
                stamping.append(asyncio.create_task(self._stamp(done)))
                page = [] if reading is None else await reading
                reading = None
            for task in stamping:
                await task
            if queued:
                yield due.until, queued
        finally:
            for each in (reading, *stamping):
                await end(each)

    async def _page(
        self, event: str, due: Span, stale: int, behind: Iterable[Place]
    ) -> list[Document]:
        """The oldest of them, behind those that are not stamped yet."""
        span: Document = {"$gte": DatetimeMS(due.since), "$lt": DatetimeMS(due.until)}
        query: Document = {
            "queuePrefix": self._stores.options.queue_prefix,
            "eventName": event,
            "dueAt": span,
            "owner": None,
            "$or": [{"sweptAt": None}, {"sweptAt": {"$lt": DatetimeMS(stale)}}],
        } | self._stores.documents.waiting
        if behind:
            since = max(place.due_at for place in behind)
            same = [place.id for place in behind if place.due_at == since]
            query |= {"dueAt": span | {"$gte": since}, "_id": {"$not": {"$in": same}}}
        return await self._stores.mongo.find(
            EXECUTIONS, query, sort=(("dueAt", 1),), limit=PAGE, hint=DUE
        )

    async def _push(self, page: list[Document]) -> set[int]:
        """Queue a page; which of it a key of a foreign type kept out."""
        stores = self._stores
        pushes: dict[int, Operation] = {}
        for index, document in enumerate(page):
            try:
                execution = stores.documents.execution(document)
            except UnreadableError as error:
                logger.debug("%.200r is not swept: %s", document["_id"], error.message)
                continue
            if execution.cancel_requested:
                await self._executions.cancel_waiting(execution.id)
                continue
            fields = stores.documents.hash_fields(execution)
            pushes[index] = stores.scripts.enqueue(fields, BACK)
        if not pushes:
            return set()
        (answer,) = await stores.redis.run(
            [stores.scripts.call(ENQUEUE, list(pushes.values()))]
        )
        if isinstance(answer, StoreUnavailable):
            raise answer
        if isinstance(answer, Exception):
            raise StoreUnavailable(f"Redis refused to queue what is due: {answer}")
        kept_out: set[int] = set()
        for index, one in zip(pushes, answer, strict=True):
            if isinstance(one, bytes):
                stores.foreign_keys.report(one)
                kept_out.add(index)
        return kept_out

    async def _stamp(self, places: list[Place]) -> None:
        stores = self._stores
        query = {"_id": {"$in": [place.id for place in places]}, "owner": None}
        stamp = {"$set": {"sweptAt": DatetimeMS(stores.clock.now())}}
        await stores.mongo.update(EXECUTIONS, [{"q": query, "u": stamp, "multi": True}])
