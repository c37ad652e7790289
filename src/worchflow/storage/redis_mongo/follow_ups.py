"""Does what is written down in executions that has still to be done for them.

Whoever wrote it down does it at once; what a crash leaves, the sweep does. Each can be
done twice, and is struck out by its name and token once it is done.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS

from ...foundations.errors import StoreUnavailable
from ...model.events import NewEvent, sent_id
from ...model.step_kind import StepKind
from .documents import EXECUTIONS, LIFE, WAITS
from .indexes import FOLLOW_UPS_INDEX
from .outbox import DELETE_WAITS, FOLLOW_UPS, PUBLISH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .documents import Document
    from .events import Events
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

GRACE_MILLISECONDS = 5_000
"""Milliseconds; what ended just now is being followed up by who ended it."""
PAGE = 200
MAX_PAGES = 25
"""Pages of one sweep; the next continues."""


class FollowUps:
    """Does what executions have left to be done, those that ended and new ones."""

    def __init__(self, stores: Stores, events: Events) -> None:
        self._stores = stores
        self._events = events
        self._acts: dict[str, Callable[[Document, int], Awaitable[None]]] = {
            DELETE_WAITS: self._delete_waits,
            PUBLISH: self._publish,
        }

    async def begin(self, ended: Iterable[Document]) -> None:
        """Do what is left of executions that have just ended; the sweep does the rest.

        A document holds at least the `id`, the nonce and what is left.
        """
        for document in ended:
            try:
                await self.do(document)
            except StoreUnavailable as error:
                logger.debug(
                    "what follows the end of %s waits: %s", document["id"], error
                )
                return

    async def do(self, ended: Document) -> None:
        """Do everything that is left of one execution, and strike it out.

        What a later release has left for itself stays.
        """
        match ended:
            case {"id": str(id_), "followUps": {"token": int(token), "names": names}}:
                pass
            case {"followUps": left}:
                logger.warning(
                    "what follows the end of %.200r cannot be read: %.200r",
                    ended.get("_id"),
                    left,
                )
                return
            case _:
                return
        for name in names:
            if (act := self._acts.get(name)) is not None:
                await act(ended, token)
        rest = [name for name in names if name not in self._acts]
        change: Document = {"$unset": {FOLLOW_UPS: ""}}
        if rest:
            change = {"$set": {f"{FOLLOW_UPS}.names": rest}}
        query = {self._stores.documents.id_field: id_, f"{FOLLOW_UPS}.token": token}
        await self._stores.mongo.update(EXECUTIONS, [{"q": query, "u": change}])

    async def sweep(self) -> None:
        """Do what was left behind, of what ended first; then of what has not ended."""
        before = {"$lt": DatetimeMS(self._stores.clock.now() - GRACE_MILLISECONDS)}
        await self._sweep({"finishedAt": before})
        await self._sweep({"finishedAt": None, "acceptedAt": before})

    async def _sweep(self, when: Document) -> None:
        stores = self._stores
        query: Document = {
            "queuePrefix": stores.options.queue_prefix,
            FOLLOW_UPS: {"$exists": True},
            f"{FOLLOW_UPS}.names": {"$in": list(self._acts)},
        } | when
        for _ in range(MAX_PAGES):
            page = await stores.mongo.find(
                EXECUTIONS,
                query,
                fields=("id", LIFE, FOLLOW_UPS),
                sort=(("finishedAt", 1),),
                limit=PAGE,
                hint=FOLLOW_UPS_INDEX,
            )
            for document in page:
                await self.do(document)
            if len(page) < PAGE:
                return

    async def _publish(self, execution: Document, _: int) -> None:
        """Tell everybody who waits for the event that an execution is."""
        mongo, by_id = self._stores.mongo, self._stores.documents.by_id
        for document in await mongo.find(EXECUTIONS, by_id(execution["id"])):
            match document:
                case {
                    "id": str(id_),
                    "eventName": str(name),
                    "eventData": str(data),
                    "eventKey": str(key),
                }:
                    event = NewEvent(id=sent_id(id_), name=name, data=data, key=key)
                    stored = await self._events.append(event)
                    await self._events.deliver_all(stored)
                case _:
                    logger.warning("execution %s is no event", document["_id"])

    async def _delete_waits(self, ended: Document, token: int) -> None:
        """Remove the waits of an execution, except those of a claim after this end.

        Those of tokens stay as long as the execution.
        """
        over = {"token": {"$lte": token}, "kind": {"$ne": StepKind.TOKEN.value}}
        query = self._stores.documents.own_waits(ended) | over
        await self._stores.mongo.delete(WAITS, query)
