"""What executions wait for, and the wake-ups that end a suspension."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bson.int64 import Int64
from typing_extensions import override

from ...foundations.errors import SerializationError
from ...foundations.ids import new_nonce
from ...model.notices import ExecutionUpdated, encode_notice
from ...model.records import SUSPENDED, ExecutionStatus
from ...model.tokens import ANSWER_EVENT, StoredToken
from ..contract.waits import WaitStore
from .documents import EXECUTIONS, LIFE, LIVE, STEP_LIFE, WAITS, UnreadableError
from .expressions import as_long
from .fields import count_of, text_or_none
from .indexes import WAITS_BY_EVENT
from .mongo_gateway import DUPLICATE_KEY
from .outbox import HAS_WAITS
from .scripts import BACK
from .steps import ClaimKey
from .values import milliseconds_of
from .wait_documents import read_token, read_wait, wait_document, wait_id, waits_by_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Claim
    from ...model.waits import NewWait, StoredWait
    from .documents import Document
    from .scripts import Argument
    from .steps import Steps
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

WOKEN_BY = "wokenBy"
"""The field that tells what one call has woken, until it is claimed."""
MAX_ADDED_AT_ONCE = 1000
"""Waits in one insert."""
SHOWN = ("id", "eventName", "attemptCount", "token", "updatedAt", "dueAt", LIFE)
"""What Redis and those who watch are told of an execution that was woken."""


class Waits(WaitStore):
    """Waits in a collection of their own.

    Before the first wait of an execution is inserted, its document says that it may
    have some: whatever ends it then removes them.
    """

    def __init__(self, stores: Stores, steps: Steps) -> None:
        self._stores = stores
        self._steps = steps
        self._added: set[ClaimKey] = set()
        """The claims under which the first waits of their executions were added."""

    # -- what the other parts ask

    def may_have(self, claim: Claim) -> bool:
        """Whether waits of a claim's execution may be stored."""
        return claim.execution.has_waits or ClaimKey.of(claim) in self._added

    def forget(self, claim: Claim) -> None:
        """A claim was settled, or is lost."""
        self._added.discard(ClaimKey.of(claim))

    def forget_worker(self, worker_id: str) -> None:
        """A worker is gone."""
        if self._added:
            self._added = {key for key in self._added if key.worker_id != worker_id}

    # -- the contract

    @override
    async def add(self, claim: Claim, waits: Sequence[NewWait]) -> list[StoredWait]:
        stores = self._stores
        now = stores.clock.now()
        prefix = stores.options.queue_prefix
        documents = [wait_document(claim, wait, prefix, now) for wait in waits]
        is_fact = await self._steps.flush(claim)
        if is_fact and (self.may_have(claim) or await self._announce(claim)):
            for start in range(0, len(documents), MAX_ADDED_AT_ONCE):
                page = slice(start, start + MAX_ADDED_AT_ONCE)
                documents[page] = await self._insert(documents[page])
        now = stores.clock.now()
        try:
            return [read_wait(document, now) for document in documents]
        except UnreadableError as error:
            raise SerializationError(
                f"a wait of execution {claim.execution.id} cannot be read: "
                f"{error.message}",
                execution_id=claim.execution.id,
            ) from error

    @override
    async def all(self, execution_id: str) -> list[StoredWait]:
        stores = self._stores
        executions = await stores.mongo.find(
            EXECUTIONS, stores.documents.by_id(execution_id), fields=("id", LIFE)
        )
        found = [
            wait
            for waits in (await waits_by_id(stores, executions)).values()
            for wait in waits.values()
        ]
        return sorted(found, key=_deadline)

    @override
    async def remove(self, claim: Claim, step_ids: Sequence[str]) -> None:
        ids = [wait_id(claim, step_id) for step_id in step_ids]
        await self._stores.mongo.delete(
            WAITS,
            {
                "_id": {"$in": ids},
                STEP_LIFE: claim.execution.nonce or None,
                "token": {"$lte": Int64(claim.token)},
            },
        )

    @override
    async def token(self, token_id: str) -> StoredToken | None:
        stores = self._stores
        found = await stores.mongo.find(
            WAITS,
            {
                "queuePrefix": stores.options.queue_prefix,
                "eventName": ANSWER_EVENT,
                "eventKey": token_id,
            },
            hint=WAITS_BY_EVENT,
        )
        for document in found:
            execution_id = text_or_none(document.get("executionId")) or ""
            executions = await stores.mongo.find(
                EXECUTIONS,
                stores.documents.by_id(execution_id),
                fields=("status", LIFE),
            )
            for each in executions:
                if each.get(LIFE) == document.get(STEP_LIFE):
                    return self._read_token(document, each)
        return None

    @override
    async def wake(self, execution_ids: Sequence[str]) -> int:
        stores = self._stores
        these = stores.documents.by_ids(execution_ids)
        nonce = new_nonce(stores.options.runtime)
        statement = {
            "q": these
            | {"queuePrefix": stores.documents.prefix, "status": {"$in": LIVE}},
            "u": _wake(nonce),
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

    @override
    async def wakeups(self, execution_id: str) -> int:
        stores = self._stores
        found = await stores.mongo.find(
            EXECUTIONS, stores.documents.by_id(execution_id), fields=("wakeups",)
        )
        return count_of(found[0].get("wakeups")) if found else 0

    # -- how it works

    def _read_token(self, document: Document, execution: Document) -> StoredToken:
        try:
            return read_token(document, execution, self._stores.clock.now())
        except UnreadableError as error:
            execution_id = document["executionId"]
            raise SerializationError(
                f"a token of execution {execution_id} cannot be read: {error.message}",
                execution_id=execution_id,
            ) from error

    async def _announce(self, claim: Claim) -> bool:
        """Say in its document that an execution may have waits; False: claim lost."""
        stores = self._stores
        query = stores.documents.by_id(claim.execution.id)
        held = {"owner": claim.worker_id, "token": Int64(claim.token)}
        change = {"$set": {HAS_WAITS: True}}
        statement = {"q": query | held, "u": change}
        # Before it is known to be written: it may be.
        self._added.add(ClaimKey.of(claim))
        is_held = (await stores.mongo.update(EXECUTIONS, [statement])).count == 1
        if not is_held:
            self.forget(claim)
        return is_held

    async def _insert(self, documents: list[Document]) -> list[Document]:
        """Insert waits; what is stored of each.

        One of an earlier execution of the same id, which a claim of that added late,
        does not count and is replaced.
        """
        mongo = self._stores.mongo
        stored = {each["_id"]: each for each in documents}
        missing = documents
        while missing:
            written = await mongo.insert(WAITS, missing)
            taken = [
                missing[index]["_id"]
                for index, refusal in written.refused.items()
                if refusal.code == DUPLICATE_KEY
            ]
            there = {
                each["_id"]: each
                for each in await mongo.find(WAITS, {"_id": {"$in": taken}})
            }
            again: list[Document] = []
            for taken_id in taken:
                own, other = stored[taken_id], there.get(taken_id)
                if other is not None and other.get(STEP_LIFE) == own.get(STEP_LIFE):
                    stored[taken_id] = other
                    continue
                if other is not None:
                    void = {"_id": taken_id, STEP_LIFE: other.get(STEP_LIFE)}
                    await mongo.delete(WAITS, void)
                again.append(own)
            missing = again
        return list(stored.values())

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


def _deadline(wait: StoredWait) -> tuple[bool, float, str]:
    deadline = wait.deadline
    return deadline is None, deadline.timestamp() if deadline else 0.0, wait.step_id


def _wake(nonce: str) -> list[Document]:
    """Count the wake-up; queue what is suspended, no sooner than its pause ends."""
    is_suspended = {"$in": ["$status", {"$literal": sorted(SUSPENDED)}]}
    pauses = {"$gt": ["$notBefore", "$$NOW"]}
    due = {"$cond": [pauses, "$notBefore", "$$NOW"]}
    asleep: dict[str, Any] = {
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
        name: {"$cond": [is_suspended, then, f"${name}"]}
        for name, then in asleep.items()
    }
    change["wakeups"] = {"$add": [as_long("$wakeups"), 1]}
    return [{"$set": change}]
