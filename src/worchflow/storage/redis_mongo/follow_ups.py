"""What has still to be done after an execution has ended.

The change that ends an execution also writes down what follows, with the token of that
end. Whoever made it does it at once; what a crash leaves, the sweep does. Each can be
done twice, and is struck out by its name and token once it is done.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...foundations.errors import StoreUnavailable
from ...model.step_kind import StepKind
from .documents import EXECUTIONS, HAS_WAITS, LIFE, WAITS
from .indexes import FOLLOW_UPS_INDEX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .documents import Document
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

FOLLOW_UPS = "followUps"
"""The field: `{"token": …, "names": […]}`, or not there when nothing is left."""
DELETE_WAITS = "delete-waits"
GRACE_MILLISECONDS = 5_000
"""Milliseconds; what ended just now is being followed up by who ended it."""
PAGE = 200
MAX_PAGES = 25
"""Pages of one sweep; the next continues."""


def follow_ups(token: int, *, has_waits: bool) -> Document:
    """What an update sets that ends an execution."""
    if not has_waits:
        return {}
    return {FOLLOW_UPS: {"token": Int64(token), "names": [DELETE_WAITS]}}


def follow_ups_expression(token: Any) -> Document:
    """The same for the pipeline of an update, where the document says what there is."""
    left = {"token": token, "names": [DELETE_WAITS]}
    return {"$cond": [{"$eq": [f"${HAS_WAITS}", True]}, left, "$$REMOVE"]}


class FollowUps:
    """Does what ended executions have left to be done."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._acts: dict[str, Callable[[Document, int], Awaitable[None]]] = {
            DELETE_WAITS: self._delete_waits
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
        """Do what was left behind, of what ended first."""
        stores = self._stores
        query: Document = {
            "queuePrefix": stores.options.queue_prefix,
            FOLLOW_UPS: {"$exists": True},
            f"{FOLLOW_UPS}.names": {"$in": list(self._acts)},
            "finishedAt": {"$lt": DatetimeMS(stores.clock.now() - GRACE_MILLISECONDS)},
        }
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

    async def _delete_waits(self, ended: Document, token: int) -> None:
        """Remove the waits of an execution, except those of a claim after this end.

        Those of tokens stay as long as the execution.
        """
        over = {"token": {"$lte": token}, "kind": {"$ne": StepKind.TOKEN.value}}
        query = self._stores.documents.own_waits(ended) | over
        await self._stores.mongo.delete(WAITS, query)
