"""Does what is written down in executions that has still to be done for them.

Whoever wrote it down does it at once; what a crash leaves, the sweep does. Each can be
done twice, and is struck out by its name and token once it is done.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...foundations.errors import StoreUnavailable
from ...model.children import parent_ended_reason
from ...model.events import NewEvent, sent_id
from ...model.step_kind import StepKind
from ..contract.children import CHILDREN_PAGE
from .cancelling import cancellation, show_finished
from .documents import EXECUTIONS, LIFE, LIVE, WAITS, UnreadableError, life_of
from .fields import parent_of
from .indexes import BY_PARENT, FOLLOW_UPS_INDEX
from .outbox import (
    CANCEL_CHILDREN,
    DELETE_WAITS,
    FOLLOW_UPS,
    NOTIFY_PARENT,
    PUBLISH,
)
from .statements import Update
from .values import SMALL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from .documents import Document
    from .events import Events
    from .stores import Stores
    from .wake_ups import WakeUps

logger = logging.getLogger("worchflow.storage.redis_mongo")

GRACE_MILLISECONDS = 5_000
"""Milliseconds; what ended just now is being followed up by who ended it."""
PAGE = 200
MAX_PAGES = 25
"""Pages of one sweep; the next continues."""


class FollowUps:
    """Does what executions have left to be done, those that ended and new ones."""

    def __init__(self, stores: Stores, events: Events, wake_ups: WakeUps) -> None:
        self._stores = stores
        self._events = events
        self._wake_ups = wake_ups
        self._acts: dict[str, Callable[[Document, int], Awaitable[None]]] = {
            NOTIFY_PARENT: self._notify_parent,
            DELETE_WAITS: self._delete_waits,
            PUBLISH: self._publish,
        }

    async def begin(self, ended: Sequence[Document]) -> None:
        """Do what is left of executions that have just ended; the sweep does the rest.

        A document holds at least the `id`, the nonce, the parent and what is left.
        """
        together = [each for each in ended if _is_light(each)]
        if len(together) == 1:
            together = []
        try:
            if together:
                await self._do_together(together)
            for document in ended:
                if not (together and _is_light(document)):
                    await self.do(document)
        except StoreUnavailable as error:
            logger.debug("what follows the end of executions waits: %s", error)

    async def do(self, ended: Document, *, thoroughly: bool = False) -> None:
        """Do what is left of one execution, and strike out what is done.

        What a later release has left for itself stays. Of many children one page is
        cancelled, or `thoroughly` all of them.
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
        rest: list[str] = []
        for name in names:
            if name == CANCEL_CHILDREN:
                is_done = await self._cancel_children(ended, token)
                while thoroughly and not is_done:
                    is_done = await self._cancel_children(ended, token)
            elif (act := self._acts.get(name)) is not None:
                await act(ended, token)
                is_done = True
            else:
                is_done = False
            if not is_done:
                rest.append(name)
        change: Document = {"$unset": {FOLLOW_UPS: ""}}
        if rest:
            change = {"$set": {f"{FOLLOW_UPS}.names": rest}}
        query = {self._stores.documents.id_field: id_, f"{FOLLOW_UPS}.token": token}
        # Together with whatever else is written now.
        await self._stores.committer.update_execution(Update(id_, change, query), SMALL)

    async def _do_together(self, ended: Sequence[Document]) -> None:
        """The same of many whose parents are woken and whose waits are deleted."""
        stores = self._stores
        named = {parent_of(each) for each in ended if NOTIFY_PARENT in _names(each)}
        for parent in named - {None}:
            if parent is not None:
                await self._wake_ups.wake_parent(parent)
        waits = [
            self._over(each, each[FOLLOW_UPS]["token"])
            for each in ended
            if DELETE_WAITS in _names(each)
        ]
        if waits:
            await stores.mongo.delete(WAITS, *waits)
        strikes = [
            {
                "q": {
                    stores.documents.id_field: each["id"],
                    f"{FOLLOW_UPS}.token": each[FOLLOW_UPS]["token"],
                },
                "u": {"$unset": {FOLLOW_UPS: ""}},
            }
            for each in ended
        ]
        await stores.mongo.update(EXECUTIONS, strikes)

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
            f"{FOLLOW_UPS}.names": {"$in": [*self._acts, CANCEL_CHILDREN]},
        } | when
        for _ in range(MAX_PAGES):
            page = await stores.mongo.find(
                EXECUTIONS,
                query,
                fields=("id", LIFE, "parent", FOLLOW_UPS),
                sort=(("finishedAt", 1),),
                limit=PAGE,
                hint=FOLLOW_UPS_INDEX,
            )
            for document in page:
                await self.do(document, thoroughly=True)
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

    async def _notify_parent(self, ended: Document, _: int) -> None:
        """Wake the parent of an execution."""
        if (parent := parent_of(ended)) is not None:
            await self._wake_ups.wake_parent(parent)

    async def _cancel_children(self, ended: Document, token: int) -> bool:
        """Cancel a page of the children of an execution; whether none is left.

        Except those started after this end. What they have left to be done is done
        next, or by the sweep.
        """
        stores = self._stores
        query: Document = {
            "parent.id": ended["id"],
            "parent.nonce": life_of(ended) or "",
            "parent.token": {"$lte": Int64(token)},
            "parent.leaves": None,
            "parent.alone": None,
            "queuePrefix": stores.documents.prefix,
            "status": {"$in": LIVE},
            "cancelRequested": {"$ne": True},
        }
        page = await stores.mongo.find(
            EXECUTIONS, query, fields=("id",), limit=CHILDREN_PAGE, hint=BY_PARENT
        )
        if not page:
            return True
        these = {"_id": {"$in": [document["_id"] for document in page]}}
        reason = {"$literal": parent_ended_reason(ended["id"])}
        change = cancellation({"cancelReason": reason})
        statement = {"q": these | query, "u": change, "multi": True}
        written = await stores.mongo.update(EXECUTIONS, [statement])
        for refusal in written.refused.values():
            logger.warning(
                "children of %s cannot be cancelled (code %d): see their documents",
                ended["id"],
                refusal.code,
            )
        await self._show_cancelled(await stores.mongo.find(EXECUTIONS, these))
        return len(page) < CHILDREN_PAGE or bool(written.refused)

    async def _show_cancelled(self, children: Iterable[Document]) -> None:
        """Tell of children that were cancelled, and do what is left of these."""
        stores = self._stores
        ended: list[Document] = []
        for document in children:
            try:
                execution = stores.documents.execution(document)
            except UnreadableError:
                continue
            if execution.status.is_terminal:
                show_finished(stores, execution)
                ended.append(document)
            else:
                stores.write_behind.put(stores.scripts.hint_cancel(execution.id))
        await self.begin(ended)

    async def _delete_waits(self, ended: Document, token: int) -> None:
        """Remove the waits of an execution, except those of a claim after this end.

        Those of tokens stay as long as the execution.
        """
        # Together with those of whatever else ends now.
        await self._stores.committer.delete_waits(self._over(ended, token))

    def _over(self, ended: Document, token: int) -> Document:
        over = {"token": {"$lte": token}, "kind": {"$ne": StepKind.TOKEN.value}}
        return self._stores.documents.own_waits(ended) | over


def _names(ended: Document) -> Sequence[str]:
    """What is left of an execution; nothing that can be read if it is damaged."""
    match ended:
        case {"id": str(), "followUps": {"token": int(), "names": [*names]}}:
            return names
        case _:
            return ()


def _is_light(ended: Document) -> bool:
    """Whether no more is left than what can be done for many at once."""
    names = _names(ended)
    return bool(names) and set(names) <= {NOTIFY_PARENT, DELETE_WAITS}
