"""What executions wait for, and the wake-ups that end a suspension."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bson.int64 import Int64
from typing_extensions import override

from ...foundations.errors import SerializationError
from ...model.tokens import ANSWER_EVENT, StoredToken
from ..contract.waits import WaitStore
from .documents import EXECUTIONS, LIFE, STEP_LIFE, WAITS, UnreadableError
from .fields import count_of, text_or_none
from .indexes import WAITS_BY_EVENT
from .mongo_gateway import DUPLICATE_KEY
from .wait_documents import (
    TRIES,
    read_token,
    read_wait,
    wait_document,
    wait_id,
    waits_by_id,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Claim
    from ...model.waits import NewWait, StoredWait
    from .announcements import Announcements
    from .documents import Document
    from .steps import Steps
    from .stores import Stores
    from .wake_ups import WakeUps

logger = logging.getLogger("worchflow.storage.redis_mongo")

MAX_ADDED_AT_ONCE = 1000
"""Waits in one insert."""


class Waits(WaitStore):
    """Waits in a collection of their own.

    Before the first wait of an execution is inserted, its document says that it may
    have some: whatever ends it then removes them.
    """

    def __init__(
        self, stores: Stores, steps: Steps, wake_ups: WakeUps, announced: Announcements
    ) -> None:
        self._stores = stores
        self._steps = steps
        self._wake_ups = wake_ups
        self._announced = announced

    # -- the contract

    @override
    async def add(self, claim: Claim, waits: Sequence[NewWait]) -> list[StoredWait]:
        stores = self._stores
        now = stores.clock.now()
        prefix = stores.options.queue_prefix
        documents = [wait_document(claim, wait, prefix, now) for wait in waits]
        if await self._steps.flush(claim) and await self._announced.make(claim):
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
        return await self._wake_ups.wake(execution_ids)

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

    async def _insert(self, documents: list[Document]) -> list[Document]:
        """Insert waits; what is stored of each.

        Replaced is one after fewer tries, and one of an earlier execution of the same
        id, which a claim of that added late and which does not count.
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
                if other is not None:
                    is_own = other.get(STEP_LIFE) == own.get(STEP_LIFE)
                    if is_own and count_of(other.get(TRIES)) >= own.get(TRIES, 0):
                        stored[taken_id] = other
                        continue
                    # As it was read: another may have replaced it since.
                    void = {key: other.get(key) for key in ("_id", STEP_LIFE, TRIES)}
                    if is_own:
                        await mongo.update(WAITS, [{"q": void, "u": own}])
                    else:
                        await mongo.delete(WAITS, void)
                again.append(own)
            missing = again
        return list(stored.values())


def _deadline(wait: StoredWait) -> tuple[bool, float, str]:
    deadline = wait.deadline
    return deadline is None, deadline.timestamp() if deadline else 0.0, wait.step_id
