"""Executions as senders and readers see them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...clock import to_milliseconds
from ...errors import ExecutionConflict, InvalidInput
from ...notices import ExecutionUpdated, encode_notice
from ...records import ExecutionStatus, StoredPage
from ...transitions import RETRYABLE
from ..base import Inserted
from .committer import DUPLICATE
from .documents import (
    EXECUTIONS,
    META,
    STEPS,
    UnreadableError,
    milliseconds_of,
    weight,
)
from .scripts import BACK, NOWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...records import ExecutionQuery, NewExecution, StoredExecution
    from .documents import Document
    from .stores import Stores

LIVE = [status.value for status in ExecutionStatus if not status.is_terminal]
COUNTS_AGE = 2000
"""Milliseconds."""
NOT_TERMINAL = {"$in": LIVE}


class Executions:
    """Accepts, finds, counts, cancels and retries executions."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

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
        for execution_id, document in existing.items():
            if not stores.documents.is_ours(document):
                raise ExecutionConflict(
                    f'id="{execution_id}" belongs to an execution of another queue '
                    "prefix in this database: ids are unique per database, use another",
                    execution_id=execution_id,
                )
        return inserted

    async def get(self, execution_id: str) -> StoredExecution | None:
        """The execution, or None."""
        documents = self._stores.documents
        found = await self._stores.mongo.find(
            EXECUTIONS, documents.by_id(execution_id), limit=1
        )
        return documents.execution(found[0]) if found else None

    async def list(self, query: ExecutionQuery) -> StoredPage:
        """A page of executions, newest first."""
        documents = self._stores.documents
        filter_, hint = self._listing(query)
        found = await self._stores.mongo.find(
            EXECUTIONS,
            filter_,
            sort=(("createdAt", -1), (documents.id_field, -1)),
            limit=query.limit + 1,
            hint=hint,
        )
        more = len(found) > query.limit
        page = found[: query.limit]
        cursor = None
        if more:
            last = page[-1]
            cursor = _make_cursor(last["createdAt"], last[documents.id_field])
        items: list[StoredExecution] = []
        for document in page:
            try:
                items.append(documents.execution(document))
            except UnreadableError:
                continue
        return StoredPage(items=items, cursor=cursor)

    async def counts(self) -> dict[ExecutionStatus, int]:
        """Executions by status, from a document that is at most two seconds old."""
        stores = self._stores
        counts_id = f"counts:{stores.options.queue_prefix}"
        now = stores.clock.now()
        kept = await stores.mongo.find(META, {"_id": counts_id}, limit=1)
        if not kept or (milliseconds_of(kept[0].get("at")) or 0) < now - COUNTS_AGE:
            groups = await stores.mongo.aggregate(
                EXECUTIONS,
                [
                    {"$match": {"queuePrefix": stores.documents.prefix}},
                    {"$group": {"_id": "$status", "count": {"$sum": 1}}},
                ],
                LISTING,
            )
            counts = {str(group["_id"]): group["count"] for group in groups}
            kept = [{"counts": counts}]
            change = {"$set": {"counts": counts, "at": DatetimeMS(now)}}
            statement = {"q": {"_id": counts_id}, "u": change, "upsert": True}
            await stores.mongo.update(META, [statement])
        return {
            status: int(kept[0]["counts"].get(status.value, 0))
            for status in ExecutionStatus
        }

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
            stores.lane.put(stores.scripts.hint_cancel(execution_id))
        return changed, True

    async def cancel_waiting(self, execution_id: str) -> bool:
        """Finish the cancellation of a flagged execution that nobody owns."""
        query = {"status": NOT_TERMINAL, "cancelRequested": True, "owner": None}
        return await self._cancel(query, execution_id, {}) is not None

    async def retry(self, execution_id: str) -> tuple[StoredExecution | None, bool]:
        """Queue a failed or cancelled execution again."""
        stores = self._stores
        document = await stores.mongo.change(
            EXECUTIONS,
            stores.documents.by_id(execution_id)
            | {"status": {"$in": [status.value for status in RETRYABLE]}},
            _retry_change(stores.clock.now()),
        )
        if document is None:
            return await self.get(execution_id), False
        # Steps that fail from now on have a higher token. If this is never reached,
        # the next claim does it.
        await stores.mongo.delete(
            STEPS,
            stores.documents.steps_of([document["id"]])
            | {"status": "failed", "token": {"$not": {"$gte": document["token"]}}},
        )
        execution = stores.documents.execution(document)
        self.enqueue(execution, BACK)
        self.tell(execution)
        return execution, True

    def enqueue(self, execution: StoredExecution, place: str | int) -> None:
        """Show an execution in Redis and put its id where it belongs."""
        fields = self._stores.documents.hash_fields(execution)
        self._stores.lane.put(self._stores.scripts.enqueue(fields, place))

    def tell(self, execution: StoredExecution) -> None:
        """Publish that an execution changed its status."""
        self._stores.lane.put(
            self._stores.scripts.tell(execution.id, updated_notice(execution))
        )

    def show_finished(self, execution: StoredExecution) -> None:
        """Show in Redis how an execution ended that no worker held."""
        stores = self._stores
        stores.lane.put(
            stores.scripts.let_go(
                "",
                execution.id,
                NOWHERE,
                fields=stores.documents.status_fields(execution),
                ttl=int(stores.options.finished_ttl * 1000),
                notice=updated_notice(execution),
            )
        )

    async def _cancel(
        self, query: Document, execution_id: str, values: Document
    ) -> StoredExecution | None:
        stores = self._stores
        document = await stores.mongo.change(
            EXECUTIONS,
            stores.documents.by_id(execution_id) | query,
            _cancel_change(values),
        )
        if document is None:
            return None
        execution = stores.documents.execution(document)
        if execution.status.is_terminal:
            self.show_finished(execution)
        return execution

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
        if existing is not None and existing.get("nonce") != document["nonce"]:
            return Inserted(id=document["id"], existing=documents.execution(existing))
        due = int(document["dueAt"])
        self.enqueue(documents.execution(document), due if due > now else BACK)
        return Inserted(id=document["id"])

    def _listing(self, query: ExecutionQuery) -> tuple[Document, Any]:
        documents = self._stores.documents
        key = documents.id_field
        statuses = [query.status] if query.status is not None else ExecutionStatus
        filter_: Document = {
            "queuePrefix": documents.prefix,
            "status": {"$in": [status.value for status in statuses]},
        }
        conditions: list[Document] = []
        created: Document = {}
        if query.since is not None:
            created["$gte"] = to_milliseconds(query.since)
        if query.until is not None:
            created["$lt"] = to_milliseconds(query.until)
        if created:
            filter_["createdAt"] = created
        if query.function is not None:
            either = [{"functionId": query.function}, {"eventName": query.function}]
            conditions.append({"$or": either})
        if query.cursor is not None:
            at, last = _read_cursor(query.cursor)
            after = [{"createdAt": {"$lt": at}}, {"createdAt": at, key: {"$lt": last}}]
            conditions.append({"createdAt": {"$lte": at}, "$or": after})
        if query.id_prefix:
            filter_[key] = {"$gte": query.id_prefix, "$lt": query.id_prefix + "\uffff"}
        if conditions:
            filter_["$and"] = conditions
        return filter_, {key: 1} if query.id_prefix else None


LISTING = {"queuePrefix": 1, "status": 1, "createdAt": -1, "_id": -1}
"""The index that listings and counts walk along."""


def updated_notice(execution: StoredExecution) -> str:
    """What the store itself tells about an execution."""
    return encode_notice(
        ExecutionUpdated(
            execution_id=execution.id,
            event_name=execution.event_name,
            attempt=execution.attempt_count + 1,
            status=execution.status,
        )
    )


def _cancel_change(values: Document) -> list[Document]:
    """Terminal and with a new token if nobody owns it, else flagged."""
    owned = {"$eq": [{"$type": "$owner"}, "string"]}
    at_once: Document = {
        "status": "cancelled",
        "token": {"$add": [{"$ifNull": ["$token", Int64(0)]}, 1]},
        "finishedAt": "$$NOW",
        "dueAt": "$$REMOVE",
        "runAt": "$$REMOVE",
        "reason": "$$REMOVE",
    }
    change: Document = {
        field: {"$cond": [owned, f"${field}", value]}
        for field, value in at_once.items()
    }
    change["cancelRequested"] = {"$cond": [owned, True, "$$REMOVE"]}
    change["updatedAt"] = {"$toLong": "$$NOW"}
    return [{"$set": change | values}]


def _retry_change(now: int) -> list[Document]:
    token = {"$add": [{"$ifNull": ["$token", Int64(0)]}, 1]}
    moment = DatetimeMS(now)
    values: Document = {
        "status": "queued",
        "attemptCount": 0,
        "recoveries": 0,
        "updatedAt": Int64(now),
        "enqueuedAt": moment,
        "dueAt": moment,
        "token": token,
        # What failed under a lower token does not count any more.
        "retryToken": token,
    }
    gone = "error errorStack errorType enc result reason cancelRequested cancelReason"
    gone += " finishedAt runAt doneBy sweptAt handOns owner claim"
    return [{"$set": values}, {"$unset": gone.split()}]


def _make_cursor(created_at: object, id: object) -> str:
    return base64.urlsafe_b64encode(json.dumps([created_at, id]).encode()).decode()


def _read_cursor(cursor: str) -> tuple[int, str]:
    try:
        created_at, last = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError):
        created_at = last = None
    if type(created_at) is not int or type(last) is not str:
        raise InvalidInput(
            "cursor= was not made by this store: pass on what an earlier page gave",
            field="cursor",
        )
    return created_at, last
