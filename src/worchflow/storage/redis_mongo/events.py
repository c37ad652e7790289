"""The log of events in a collection, and which execution has taken which."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from bson.datetime_ms import DatetimeMS
from typing_extensions import override

from ...foundations.errors import SerializationError
from ...foundations.milliseconds import to_milliseconds
from ...model.events import LogLook, StoredEvent, event_of
from ..contract.events import DELIVERY_PAGE, EventStore
from .documents import EVENTS, EXECUTIONS, TAKEN_EVENTS, WAITS, UnreadableError
from .event_documents import (
    ORDER,
    PENDING,
    SEPARATOR,
    after,
    after_in_order,
    event_change,
    read_event,
    taken_id,
    text_of,
)
from .indexes import EVENTS_BY_AGE, EVENTS_IN_ORDER, EVENTS_PENDING, WAITS_BY_EVENT
from .mongo_gateway import DUPLICATE_KEY
from .outbox import FOLLOW_UPS
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ...model.events import NewEvent
    from ...model.records import Claim, NewExecution
    from ...model.waits import StoredWait
    from .documents import Document
    from .stores import Stores
    from .waits import Waits

logger = logging.getLogger("worchflow.storage.redis_mongo")

GRACE_MILLISECONDS = 5_000
"""Milliseconds; what was accepted just now is being delivered by who accepted it."""
NEAR_MILLISECONDS = 1_000
"""Milliseconds before a deadline from which the server's own clock is asked."""
LOOK_PAGE, SWEEP_PAGE, PRUNE_PAGE = 100, 100, 1000
MAX_SWEPT_PAGES, MAX_PRUNE_PAGES = 25, 20
MAX_PUBLISHED_BYTES = 8 * 1024 * 1024
"""Of data in one command: a server takes 48 MB, and JSON may double as BSON."""


class Events(EventStore):
    """The events of one backend."""

    clocks_apart = timedelta(milliseconds=50)
    """After a failover another server stamps what comes; all follow a time server."""

    def __init__(self, stores: Stores, waits: Waits) -> None:
        self._stores = stores
        self._waits = waits
        self._prefix = stores.options.queue_prefix
        self._pruned_to: tuple[Any, Any] | None = None
        """Up to where the log was looked through for what can be removed."""

    @override
    async def append(self, event: NewEvent) -> StoredEvent:
        this = {"_id": self._id(event.id)}
        stored, is_new = await self._stores.mongo.change_or_make(
            EVENTS, this, event_change(event, self._prefix)
        )
        try:
            return replace(read_event(stored), is_new=is_new)
        except UnreadableError as error:
            raise SerializationError(
                f'the event that is stored under id="{event.id}" cannot be read: '
                f"{error.message}",
                field="id",
            ) from error

    @override
    async def deliver(self, event: StoredEvent, after: str | None = None) -> str | None:
        mongo = self._stores.mongo
        query: Document = {
            "queuePrefix": self._prefix,
            "eventName": event.name,
            "eventKey": event.key,
        }
        if after is not None:
            query["_id"] = {"$gt": after}
        page = await mongo.find(
            WAITS,
            query,
            fields=("executionId",),
            sort=(("_id", 1),),
            limit=DELIVERY_PAGE,
            hint=WAITS_BY_EVENT,
        )
        if page:
            ids = dict.fromkeys(each.get("executionId") for each in page)
            await self._waits.wake([each for each in ids if isinstance(each, str)])
        if len(page) == DELIVERY_PAGE:
            last: str = page[-1]["_id"]
            return last
        delivered = {"$unset": {PENDING: ""}}
        statement = {"q": {"_id": self._id(event.id)}, "u": delivered}
        await mongo.update(EVENTS, [statement])
        return None

    @override
    async def publish(self, executions: Sequence[NewExecution]) -> None:
        stores, mongo = self._stores, self._stores.mongo
        # Many have the same moment.
        order = count(1)
        for some in _pages(executions):
            events = [event_of(each) for each in some]
            added = [
                {
                    "q": {"_id": self._id(event.id)},
                    "u": event_change(event, self._prefix, next(order)),
                    "upsert": True,
                }
                for event in events
            ]
            refused = (await mongo.update(EVENTS, added)).refused.values()
            if any(each.code != DUPLICATE_KEY for each in refused):
                return  # It stays written down: a sweep tries again.
            if await self._wake_all(events):
                delivered: Document = {
                    "q": {"_id": {"$in": [self._id(event.id) for event in events]}},
                    "u": {"$unset": {PENDING: ""}},
                    "multi": True,
                }
                await mongo.update(EVENTS, [delivered])
            published: Document = {
                "q": stores.documents.by_ids([each.id for each in some])
                | {f"{FOLLOW_UPS}.token": 0},
                "u": {"$unset": {FOLLOW_UPS: ""}},
                "multi": True,
                "hint": {stores.documents.id_field: 1},
            }
            await mongo.update(EXECUTIONS, [published])

    @override
    async def find(
        self,
        claim: Claim,
        wait: StoredWait,
        passed: Collection[str],
        left_out: Collection[str] = (),
    ) -> LogLook:
        mongo, awaited = self._stores.mongo, wait.event
        left = await self._left(wait)
        if awaited is None or awaited.since is None:
            return LogLook(event=None, left=left)
        accepted: Document = {"$gte": DatetimeMS(to_milliseconds(awaited.since))}
        if wait.deadline is not None:
            accepted["$lt"] = DatetimeMS(to_milliseconds(wait.deadline))
        query: Document = {
            "queuePrefix": self._prefix,
            "name": awaited.name,
            "key": awaited.key,
            "at": accepted,
        }
        position: Document = {}
        while True:
            page = await mongo.find(
                EVENTS,
                query | position,
                fields=("id", "at", ORDER),
                sort=(("at", 1), (ORDER, 1), ("_id", 1)),
                limit=LOOK_PAGE,
                hint=EVENTS_IN_ORDER,
            )
            ids = [
                id_
                for each in page
                if isinstance(id_ := each.get("id"), str) and id_ not in passed
            ]
            taken = await self._taken(claim, ids)
            for event_id in ids:
                if taken.get(event_id, wait.step_id) not in (wait.step_id, *left_out):
                    continue
                if (event := await self._get(event_id)) is not None:
                    return LogLook(event=event, left=left)
            if len(page) < LOOK_PAGE:
                return LogLook(event=None, left=left)
            position = after_in_order(page[-1])

    @override
    async def take(
        self,
        claim: Claim,
        step_id: str,
        event_id: str,
        left_out: Collection[str] = (),
    ) -> bool:
        mongo, this = self._stores.mongo, taken_id(claim, event_id)
        document: Document = {
            "_id": this,
            "executionId": claim.execution.id,
            "eventId": event_id,
            "stepId": step_id,
        }
        if not (await mongo.insert(TAKEN_EVENTS, [document])).refused:
            return True
        if left_out:
            by_them = {"_id": this, "stepId": {"$in": list(left_out)}}
            taken_over = {"q": by_them, "u": {"$set": {"stepId": step_id}}}
            await mongo.update(TAKEN_EVENTS, [taken_over])
        taken = await self._taken(claim, [event_id])
        return taken.get(event_id) == step_id

    @override
    async def prune(self, age: float, limit: int) -> int:
        mongo, removed = self._stores.mongo, 0
        before = DatetimeMS(self._stores.clock.now() - int(age * 1000))
        for _ in range(MAX_PRUNE_PAGES):
            query: Document = {
                "queuePrefix": self._prefix,
                "at": {"$lt": before},
                PENDING: None,
            }
            if self._pruned_to is not None:
                at, last = self._pruned_to
                query |= after(at, last)
            page = await mongo.find(
                EVENTS,
                query,
                fields=("name", "key", "at"),
                sort=(("at", 1), ("_id", 1)),
                limit=min(limit - removed, PRUNE_PAGE),
                hint=EVENTS_BY_AGE,
            )
            if not page:
                self._pruned_to = None
                break
            self._pruned_to = page[-1]["at"], page[-1]["_id"]
            kept = await self._wanted(page)
            gone = [each["_id"] for each in page if each["_id"] not in kept]
            if gone:
                removed += await mongo.delete(EVENTS, {"_id": {"$in": gone}})
            if removed >= limit:
                break
        return removed

    async def sweep(self) -> None:
        """Deliver what was left pending."""
        stores = self._stores
        query: Document = {
            "queuePrefix": self._prefix,
            PENDING: {"$exists": True},
            "at": {"$lt": DatetimeMS(stores.clock.now() - GRACE_MILLISECONDS)},
        }
        for _ in range(MAX_SWEPT_PAGES):
            page = await stores.mongo.find(
                EVENTS,
                query,
                fields=("id", "name", "key", "at"),
                sort=(("at", 1),),
                limit=SWEEP_PAGE,
                hint=EVENTS_PENDING,
            )
            for document in page:
                await self._deliver_all(document)
            if len(page) < SWEEP_PAGE:
                return

    # -- how it works

    async def _wake_all(self, events: Sequence[NewEvent]) -> bool:
        """Wake a page of those who wait for some events; whether that was everybody."""
        keys: dict[str, list[str | None]] = {}
        for event in events:
            keys.setdefault(event.name, []).append(event.key)
        which = [
            {"queuePrefix": self._prefix, "eventName": name, "eventKey": {"$in": those}}
            for name, those in keys.items()
        ]
        page = await self._stores.mongo.find(
            WAITS,
            {"$or": which},
            fields=("executionId",),
            limit=DELIVERY_PAGE,
            hint=WAITS_BY_EVENT,
        )
        ids = dict.fromkeys(each.get("executionId") for each in page)
        if ids:
            await self._waits.wake([each for each in ids if isinstance(each, str)])
        return len(page) < DELIVERY_PAGE

    async def _deliver_all(self, document: Document) -> None:
        try:
            event = read_event(document | {"data": ""})
        except UnreadableError as error:
            logger.warning("event %s is left out: %s", document["_id"], error.message)
            is_there = {"_id": document["_id"]}
            pending_no_more = {"$unset": {PENDING: ""}}
            statement = {"q": is_there, "u": pending_no_more}
            await self._stores.mongo.update(EVENTS, [statement])
            return
        await self.deliver_all(event)

    async def _left(self, wait: StoredWait) -> float | None:
        """Seconds until a deadline; near it by the server's own clock."""
        if wait.deadline is None:
            return None
        deadline = to_milliseconds(wait.deadline)
        now = self._stores.clock.now()
        if deadline - now < NEAR_MILLISECONDS:
            now = to_milliseconds(await self._stores.mongo.now())
        return max(0, deadline - now) / 1000

    async def _taken(self, claim: Claim, event_ids: Sequence[str]) -> dict[str, str]:
        """Which step of the execution has taken each of some events."""
        if not event_ids:
            return {}
        ids = [taken_id(claim, each) for each in event_ids]
        found = await self._stores.mongo.find(TAKEN_EVENTS, {"_id": {"$in": ids}})
        return {each.get("eventId", ""): each.get("stepId", "") for each in found}

    async def _get(self, event_id: str) -> StoredEvent | None:
        found = await self._stores.mongo.find(EVENTS, {"_id": self._id(event_id)})
        try:
            return read_event(found[0]) if found else None
        except UnreadableError as error:
            logger.warning("event %s is left out: %s", event_id, error.message)
            return None

    async def _wanted(self, events: Sequence[Document]) -> set[str]:
        """Those of some events that a stored wait may still take, and maybe more."""
        keys = {(text_of(each, "name"), text_of(each, "key")) for each in events}
        own: Document = {"queuePrefix": self._prefix}
        which = [own | {"eventName": name, "eventKey": key} for name, key in keys]
        stages: list[Document] = [
            {"$match": {"$or": which}},
            {
                "$group": {
                    "_id": {"name": "$eventName", "key": "$eventKey"},
                    "since": {"$min": "$since"},
                }
            },
        ]
        waits = await self._stores.mongo.aggregate(WAITS, stages, WAITS_BY_EVENT)
        since = {
            (text_of(each["_id"], "name"), text_of(each["_id"], "key")): each["since"]
            for each in waits
        }
        return {
            each["_id"]
            for each in events
            if (first := since.get((text_of(each, "name"), text_of(each, "key"))))
            is not None
            and (milliseconds_of(first) or 0) <= (milliseconds_of(each["at"]) or 0)
        }

    def _id(self, event_id: str) -> str:
        return f"{self._prefix}{SEPARATOR}{event_id}"


def _pages(executions: Sequence[NewExecution]) -> Iterator[list[NewExecution]]:
    """Those whose data fits into one command."""
    page: list[NewExecution] = []
    size = 0
    for each in executions:
        own = len(each.event_data.encode())
        if page and size + own > MAX_PUBLISHED_BYTES:
            yield page
            page, size = [], 0
        page.append(each)
        size += own
    if page:
        yield page
