"""How old what waits in Redis' lists is: whatever is older is missing there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS

from .documents import EXECUTIONS
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from .documents import Document
    from .stores import Stores

FEW, MANY = 20, 1000
"""How much of a list is looked at; further where nobody waits any more at its head,
for what was claimed while Redis was away is still in the list."""
LENIENCE = 60_000
"""Milliseconds; what is due so soon is not taken out of a list."""
MAX_CUTS = 10
"""How many times one look takes what nobody waits for from the head of a list."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Due times in milliseconds: what is due later is behind the head of its list."""

    queue: int
    ready: Mapping[str, int]
    """Of the events that have a ready list."""

    def of(self, event: str) -> int:
        """Since when executions of an event wait in a list."""
        return self.ready.get(event, self.queue)


class HeadsLook:
    """Looks at the heads of the queue and of ready lists."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def look(self, events: Sequence[str]) -> Heads:
        """The heads of the queue, and of the ready lists of some events."""
        stores = self._stores
        now = stores.clock.now()
        keys = [stores.keys.queue, *map(stores.keys.ready_list, events)]
        heads = await stores.redis.heads(keys, FEW)
        found = await self._waiting([each for head in heads for each in head], now)
        queued = _those_of(found, heads[0])
        if not queued and len(heads[0]) == FEW:
            queued = await self._further(keys[0], now)
        ready: dict[str, int] = {}
        for event, key, head in zip(events, keys[1:], heads[1:], strict=True):
            first = _those_of(found, head, event)
            if not first and len(head) == FEW:
                first = await self._further(key, now, event)
                if not first and (due := await self._cut(event, now)) is not None:
                    ready[event] = due
                    continue
            if first:
                same = [each for each in queued if each.get("eventName") == event]
                ready[event] = _oldest([*first, *same], now)
        return Heads(_oldest(queued, now), ready)

    async def clear(self, due: Container[str]) -> None:
        """Empty the ready lists of events of which nothing is due any more."""
        keys, redis = self._stores.keys, self._stores.redis
        (events,) = await redis.hashes([keys.ready])
        for event in sorted(events or ()):
            if event not in due:
                await self._cut(event, self._stores.clock.now())

    async def _further(
        self, key: str, now: int, event: str | None = None
    ) -> list[Document]:
        (head,) = await self._stores.redis.heads([key], MANY)
        return _those_of(await self._waiting(head, now), head, event)

    async def _cut(self, event: str, now: int) -> int | None:
        """Take from a ready list's head what waits there no more: nobody else may.

        The head's due time afterwards, None for an empty list. As long as it is not
        known, everything may be in the list.
        """
        redis, key = self._stores.redis, self._stores.keys.ready_list(event)
        # What has become due meanwhile is waited for.
        until = now + LENIENCE
        for _ in range(MAX_CUTS):
            (head,) = await redis.heads([key], MANY)
            if not head:
                return None
            found = await self._waiting(head, until)
            if waiting := _those_of(found, head, event):
                return min(now, _oldest(waiting, now))
            await redis.remove_first(key, head)
        return 0

    async def _waiting(self, ids: Sequence[bytes], now: int) -> dict[str, Document]:
        """Those of the ids that somebody may claim now."""
        if not ids:
            return {}
        documents = self._stores.documents
        found = await self._stores.mongo.find(
            EXECUTIONS,
            documents.by_ids([each.decode(errors="replace") for each in ids])
            | {"owner": None, "dueAt": {"$lte": DatetimeMS(now)}},
            fields=("id", "dueAt", "eventName"),
        )
        return {str(each[documents.id_field]): each for each in found}


def _those_of(
    found: Mapping[str, Document], head: Iterable[bytes], event: str | None = None
) -> list[Document]:
    """What was found of a list's head; of one event, if it is a ready list."""
    ids = [each.decode(errors="replace") for each in head]
    documents = [found[each] for each in ids if each in found]
    if event is None:
        return documents
    return [each for each in documents if each.get("eventName") == event]


def _oldest(documents: Iterable[Document], now: int) -> int:
    """Their earliest due time; now if there are none."""
    dues = [milliseconds_of(each["dueAt"]) or now for each in documents]
    return min(dues, default=now)
