"""Tells in executions that nobody serves why they wait, as long as it is so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS

from ...model.transitions import unserved_reason
from .documents import EXECUTIONS, WORKERS
from .indexes import DUE
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from .documents import Document
    from .stores import Stores

PAGE = 1000
MAX_PAGES = 10
"""Of one event at a time, for what is missing from Redis waits meanwhile."""
OVERLAP = 5_000
"""Milliseconds; what was due before may have been written later."""


@dataclass(slots=True)
class _Told:
    """What the executions of an event say, up to a due time in milliseconds."""

    is_served: bool
    until: int = 0
    is_complete: bool = False


class Reasons:
    """The reasons of executions that wait in the list of an event nobody serves.

    What was told is kept here, so that each execution is written once, and read again
    only by a worker that is newly elected.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._told: dict[str, _Told] = {}

    def forget(self) -> None:
        """Somebody else writes them now."""
        self._told.clear()

    async def tell(self, events: Collection[str]) -> None:
        """Write or remove the reasons of what waits now of all these events."""
        now = self._stores.clock.now()
        served = await served_events(self._stores, events) if events else set[str]()
        self._told = {e: told for e, told in self._told.items() if e in events}
        for event in events:
            is_served = event in served
            told = self._told.get(event)
            if told is None or told.is_served != is_served:
                told = self._told[event] = _Told(is_served)
            elif is_served and told.is_complete:
                continue  # Nobody has written any since.
            await self._tell(event, told, now)

    async def _tell(self, event: str, told: _Told, now: int) -> None:
        stores, reason = self._stores, unserved_reason(event)
        change: Document = {"$set": {"reason": reason}}
        if told.is_served:
            change = {"$unset": {"reason": ""}}
        since = max(0, told.until - OVERLAP)
        for _ in range(MAX_PAGES):
            query: Document = {
                "queuePrefix": stores.options.queue_prefix,
                "eventName": event,
                "dueAt": {"$gte": DatetimeMS(since), "$lte": DatetimeMS(now)},
                "owner": None,
                "reason": reason if told.is_served else None,
            }
            found = await stores.mongo.find(
                EXECUTIONS,
                query,
                fields=("dueAt",),
                sort=(("dueAt", 1),),
                limit=PAGE,
                hint=DUE,
            )
            if found:
                these = {"_id": {"$in": [each["_id"] for each in found]}, "owner": None}
                statement = {"q": these, "u": change, "multi": True}
                await stores.mongo.update(EXECUTIONS, [statement])
                since = milliseconds_of(found[-1]["dueAt"]) or since
            told.is_complete = len(found) < PAGE
            told.until = now if told.is_complete else since
            if told.is_complete:
                return


async def served_events(
    stores: Stores, events: Collection[str], *, except_by: str | None = None
) -> set[str]:
    """Those of the events that some live worker serves, other than one."""
    workers = await stores.mongo.find(
        WORKERS,
        {
            "queuePrefix": stores.options.queue_prefix,
            "_id": {"$ne": except_by},
            "dead": {"$ne": True},
            "functions.event": {"$in": sorted(events)},
            "$expr": {"$gt": ["$expiresAt", "$$NOW"]},
        },
        fields=("functions",),
    )
    return {function["event"] for worker in workers for function in worker["functions"]}
