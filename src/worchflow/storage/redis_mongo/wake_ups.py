"""Wakes executions: one change of each document, then what Redis is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ...foundations.ids import new_nonce
from ...model.notices import ExecutionUpdated, encode_notice
from ...model.records import SUSPENDED, ExecutionStatus
from .documents import EXECUTIONS, LIFE, LIVE
from .expressions import as_long
from .fields import count_of, text_or_none
from .outbox import AWAITS_CHILDREN
from .scripts import BACK
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Parent
    from .documents import Document
    from .scripts import Argument
    from .stores import Stores

WOKEN_BY = "wokenBy"
"""The field that tells what one call has woken, until it is claimed."""
SHOWN = ("id", "eventName", "attemptCount", "token", "updatedAt", "dueAt", LIFE)
"""What Redis and those who watch are told of an execution that was woken."""


class WakeUps:
    """Wakes what waits, and the parents of what has ended."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._parents: set[tuple[str, str]] = set()
        """The ids and nonces of those to be woken next."""
        self._next: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    async def wake(self, execution_ids: Sequence[str]) -> int:
        """Wake executions; how many of them were suspended."""
        return await self._wake(execution_ids, {}, _wake)

    async def wake_parent(self, parent: Parent) -> None:
        """Wake the parent of an execution that has ended.

        Calls that come while another one is on its way are made as one.
        """
        self._parents.add((parent.id, parent.nonce))
        if self._next is None:
            self._next = asyncio.create_task(self._wake_parents(self._running))
            self._next.add_done_callback(_seen)
        await asyncio.shield(self._next)

    async def _wake_parents(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        self._running, self._next = self._next, None
        parents, self._parents = self._parents, set()
        # Another execution that has the id now is not the parent.
        ids = sorted({id_ for id_, _ in parents})
        these = {LIFE: {"$in": [nonce or None for _, nonce in parents]}}
        await self._wake(ids, these, _wake_parents)

    async def _wake(
        self, execution_ids: Sequence[str], these: Document, change: Any
    ) -> int:
        stores = self._stores
        these = stores.documents.by_ids(execution_ids) | these
        nonce = new_nonce(stores.options.runtime)
        statement = {
            "q": these
            | {"queuePrefix": stores.documents.prefix, "status": {"$in": LIVE}},
            "u": change(nonce),
            "multi": True,
            "hint": {stores.documents.id_field: 1},
        }
        await stores.mongo.update(EXECUTIONS, [statement])
        woken = await stores.mongo.find(
            EXECUTIONS, these | {WOKEN_BY: nonce}, fields=SHOWN
        )
        for document in woken:
            self._queue(document)
        # Whoever runs or keeps one of the others looks again there.
        others = set(execution_ids) - {document["id"] for document in woken}
        if others:
            stores.write_behind.put(stores.scripts.hint_woken(sorted(others)))
        return len(woken)

    def _queue(self, document: Document) -> None:
        """Show in Redis that an execution was woken, and put it where it belongs."""
        stores = self._stores
        now = stores.clock.now()
        due = milliseconds_of(document.get("dueAt")) or now
        fields: dict[str, Argument] = {
            "status": ExecutionStatus.QUEUED.value,
            "updatedAt": count_of(document.get("updatedAt")),
            "token": count_of(document.get("token")),
        }
        if life := text_or_none(document.get(LIFE)):
            fields[LIFE] = life
        notice = ExecutionUpdated(
            execution_id=document["id"],
            event_name=str(document.get("eventName")),
            attempt=count_of(document.get("attemptCount")) + 1,
            status=ExecutionStatus.QUEUED,
        )
        stores.write_behind.put(
            stores.scripts.release(
                "",
                document["id"],
                due if due > now else BACK,
                fields=fields,
                notice=encode_notice(notice),
            )
        )


def _seen(task: asyncio.Task[None]) -> None:
    """Whoever waited for it may have been cancelled."""
    if not task.cancelled():
        task.exception()


_IS_SUSPENDED = {"$in": ["$status", {"$literal": sorted(SUSPENDED)}]}


def _wake(nonce: str) -> list[Document]:
    """Count the wake-up; queue what is suspended, no sooner than its pause ends."""
    return _counted(nonce, _IS_SUSPENDED)


def _wake_parents(nonce: str) -> list[Document]:
    """The same, but queue only what is suspended and awaits children."""
    awaits = {"$eq": [f"${AWAITS_CHILDREN}", True]}
    return _counted(nonce, {"$and": [_IS_SUSPENDED, awaits]})


def _counted(nonce: str, is_queued: Document) -> list[Document]:
    pauses = {"$gt": ["$notBefore", "$$NOW"]}
    due = {"$cond": [pauses, "$notBefore", "$$NOW"]}
    queued: dict[str, Any] = {
        "status": ExecutionStatus.QUEUED.value,
        "dueAt": due,
        "enqueuedAt": due,
        "runAt": {"$cond": [pauses, "$notBefore", "$$REMOVE"]},
        "reason": "$$REMOVE",
        "sweptAt": "$$REMOVE",
        "handOns": "$$REMOVE",
        "updatedAt": {"$toLong": "$$NOW"},
        WOKEN_BY: nonce,
    }
    change: Document = {
        name: {"$cond": [is_queued, then, f"${name}"]} for name, then in queued.items()
    }
    change["wakeups"] = {"$add": [as_long("$wakeups"), 1]}
    return [{"$set": change}]
