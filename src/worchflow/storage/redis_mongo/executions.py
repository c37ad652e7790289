"""Executions as senders and readers see them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from typing_extensions import override

from ...foundations.errors import SerializationError
from ...foundations.milliseconds import to_milliseconds
from ...model.transitions import RETRYABLE
from ..contract.executions import ExecutionStore, Inserted
from .cancelling import cancellation, show_finished, updated_notice
from .committer import DUPLICATE
from .documents import EXECUTIONS, LIVE, STEPS, UnreadableError
from .outbox import FOLLOW_UPS
from .parents import ended_parents
from .scripts import BACK
from .values import weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import NewExecution, StoredExecution
    from .counting import Counting
    from .documents import Document
    from .follow_ups import FollowUps
    from .stores import Stores

NOT_TERMINAL = {"$in": LIVE}


class Executions(ExecutionStore):
    """Accepts, cancels and retries executions."""

    def __init__(
        self, stores: Stores, counting: Counting, follow_ups: FollowUps
    ) -> None:
        self._stores = stores
        self._counting = counting
        self._follow_ups = follow_ups

    @override
    async def insert(self, executions: Sequence[NewExecution]) -> list[Inserted]:
        """Accept executions; see the contract."""
        stores = self._stores
        now = stores.clock.now()
        documents = [stores.documents.new_execution(new, now) for new in executions]
        outcomes = await stores.committer.insert_executions(
            (document, weight(document["eventData"])) for document in documents
        )
        taken = [
            document["id"]
            for document, outcome in zip(documents, outcomes, strict=True)
            if outcome is DUPLICATE
        ]
        existing = await self._existing(taken) if taken else {}
        inserted = [
            self._inserted(document, existing.get(document["id"]), now)
            for document in documents
        ]
        # The write-behind queue first, before the sender's next: a worker waits for it.
        await asyncio.sleep(0)
        return inserted

    @override
    async def get(self, execution_id: str) -> StoredExecution | None:
        """The execution, or None."""
        document = await self._document(execution_id)
        return None if document is None else self._read(document)

    @override
    async def cancel(
        self, execution_id: str, reason: str | None
    ) -> tuple[StoredExecution | None, bool]:
        """Cancel at once what nobody owns, flag what somebody does."""
        stores = self._stores
        changed = await self._cancel(
            {"status": NOT_TERMINAL, "cancelRequested": {"$ne": True}},
            execution_id,
            {"cancelReason": {"$literal": reason}},
        )
        if changed is None:
            return await self.get(execution_id), False
        if not changed.status.is_terminal:
            stores.write_behind.put(stores.scripts.hint_cancel(execution_id))
        return changed, True

    async def cancel_waiting(self, execution_id: str) -> bool:
        """Finish the cancellation of a flagged execution that nobody owns."""
        query = {"status": NOT_TERMINAL, "cancelRequested": True, "owner": None}
        return await self._cancel(query, execution_id, {}) is not None

    @override
    async def retry(self, execution_id: str) -> tuple[StoredExecution | None, bool]:
        """Queue a failed or cancelled execution again."""
        return await self.queue_again(execution_id, {}, {})

    async def queue_again(
        self, execution_id: str, query: Document, values: Document
    ) -> tuple[StoredExecution | None, bool]:
        """The same, if `query` finds it as well, and with `values` set.

        Without values nobody but a person asks for it: then a child whose parent has
        ended leaves that.
        """
        stores = self._stores
        before = await self._document(execution_id)
        ended = None if before is None else self._read(before)
        if before is not None:
            # What is left of its end is about the life that ends here.
            await self._follow_ups.do(before, thoroughly=True)
        parent = None if ended is None else ended.parent
        if not values and parent and await ended_parents(stores, [parent]):
            values = {"parent.alone": True}
        document = await stores.mongo.change(
            EXECUTIONS,
            stores.documents.by_id(execution_id)
            | query
            | {
                "status": {"$in": [status.value for status in RETRYABLE]},
                "pruned": None,
                FOLLOW_UPS: None,
            },
            _retry_change(stores.clock.now(), stores.options.queue_prefix, values),
        )
        if document is None:
            return await self._unless_pruned(execution_id), False
        if ended is not None and ended.finished_at is not None:
            end = to_milliseconds(ended.finished_at)
            await self._counting.uncount(ended.status, [end])
        # Steps that fail from now on have a higher token. If this is never reached,
        # they are void all the same.
        await stores.mongo.delete(
            STEPS,
            stores.documents.own_steps(document)
            | {"status": "failed", "token": {"$not": {"$gte": document["token"]}}},
        )
        execution = self._read(document)
        self.enqueue(execution, BACK)
        self.tell(execution)
        return execution, True

    def enqueue(
        self, execution: StoredExecution, place: str | int, *, is_new: bool = False
    ) -> None:
        """Show an execution in Redis and put its id where it belongs."""
        stores = self._stores
        fields = stores.documents.hash_fields(execution)
        stores.write_behind.put(stores.scripts.enqueue(fields, place, is_new=is_new))

    def tell(self, execution: StoredExecution) -> None:
        """Publish that an execution changed its status."""
        self._stores.write_behind.put(
            self._stores.scripts.tell(execution.id, updated_notice(execution))
        )

    async def _cancel(
        self, query: Document, execution_id: str, values: Document
    ) -> StoredExecution | None:
        stores = self._stores
        document = await stores.mongo.change(
            EXECUTIONS,
            stores.documents.by_id(execution_id) | query,
            cancellation(values),
        )
        if document is None:
            return None
        execution = self._read(document)
        if execution.status.is_terminal:
            show_finished(stores, execution)
            await self._follow_ups.begin([document])
        return execution

    async def _document(self, execution_id: str) -> Document | None:
        query = self._stores.documents.by_id(execution_id)
        found = await self._stores.mongo.find(EXECUTIONS, query, limit=1)
        return found[0] if found else None

    def _read(self, document: Document) -> StoredExecution:
        try:
            return self._stores.documents.execution(document)
        except UnreadableError as error:
            known = str(document.get("id", document["_id"]))
            raise SerializationError(
                f"execution {known} cannot be read: {error.message}",
                execution_id=known,
            ) from error

    async def _unless_pruned(self, execution_id: str) -> StoredExecution | None:
        """The execution as it stands, unless it is being removed."""
        documents = self._stores.documents
        query = documents.by_id(execution_id) | {"pruned": None}
        found = await self._stores.mongo.find(EXECUTIONS, query, limit=1)
        return self._read(found[0]) if found else None

    async def _existing(self, ids: Sequence[str]) -> dict[str, Document]:
        documents = await self._stores.mongo.find(
            EXECUTIONS, self._stores.documents.by_ids(ids)
        )
        id_field = self._stores.documents.id_field
        return {document[id_field]: document for document in documents}

    def _inserted(
        self, document: Document, existing: Document | None, now: int
    ) -> Inserted:
        documents = self._stores.documents
        if existing is not None and not documents.is_ours(existing):
            return Inserted(id=document["id"], is_foreign=True)
        if existing is not None and existing.get("nonce") != document["nonce"]:
            return Inserted(id=document["id"], existing=self._read(existing))
        due = int(document["dueAt"])
        place: str | int = due if due > now else BACK
        self.enqueue(documents.execution(document), place, is_new=True)
        return Inserted(id=document["id"])


def _retry_change(now: int, prefix: str, set_too: Document) -> list[Document]:
    token = {"$add": [{"$ifNull": ["$token", Int64(0)]}, 1]}
    moment = DatetimeMS(now)
    values: Document = {
        # A document of the original has none.
        "queuePrefix": {"$literal": prefix},
        "status": "queued",
        "attemptCount": 0,
        "recoveries": 0,
        "updatedAt": Int64(now),
        "enqueuedAt": moment,
        "dueAt": moment,
        "eligibleAt": moment,
        "token": token,
        # What failed under a lower token does not count any more.
        "retryToken": token,
    }
    gone = "error errorStack errorType errorStep enc result reason cancelRequested "
    gone += "cancelReason finishedAt runAt doneBy sweptAt handOns owner claim deaths "
    gone += "begun startedAt attemptStartedAt deadlineAt"
    return [{"$set": values | set_too}, {"$unset": gone.split()}]
