"""Executions that others have started, as these see them."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from bson.int64 import Int64
from typing_extensions import override

from ...model.children import Child
from ...model.records import ExecutionStatus
from ..contract.children import CHILDREN_PAGE, ChildStore
from .documents import ENDED_STATUSES, EXECUTIONS, LIVE, UnreadableError
from .fields import error_of, parent_of, result_of, text_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Claim
    from .announcements import Announcements
    from .documents import Document
    from .executions import Executions
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

SEEN = ("id", "status", "parent", "updatedAt")
"""What is read of a child that has not ended."""
STATUSES = frozenset(each.value for each in ExecutionStatus)
OUTCOME = ("result", "enc", "error", "errorStack", "errorType", "errorStep")


class Children(ChildStore):
    """Children in the collection of all executions.

    Before the first child of an execution is inserted, the document of that says that
    it may have some: whatever ends it then cancels them.
    """

    def __init__(
        self, stores: Stores, executions: Executions, announced: Announcements
    ) -> None:
        self._stores = stores
        self._executions = executions
        self._announced = announced

    @override
    async def announce(self, claim: Claim) -> bool:
        return await self._announced.make(claim)

    @override
    async def find(
        self, ids: Sequence[str], *, only_ended: bool = False
    ) -> dict[str, Child]:
        prefix = self._stores.documents.prefix
        these: Document = {"queuePrefix": prefix, "parent.id": {"$type": "string"}}
        if only_ended:
            these["status"] = {"$in": ENDED_STATUSES}
        found: dict[str, Child] = {}
        for start in range(0, len(ids), CHILDREN_PAGE):
            page = ids[start : start + CHILDREN_PAGE]
            documents = await self._stores.mongo.find(
                EXECUTIONS,
                self._stores.documents.by_ids(page) | these,
                fields=(*SEEN, *OUTCOME, "cancelReason"),
            )
            for document in documents:
                try:
                    child = _read(document)
                except UnreadableError as error:
                    logger.warning("%s; it is left out", error.message)
                else:
                    found[child.id] = child
        return found

    @override
    async def retry(self, claim: Claim, child_id: str) -> bool:
        stores, own = self._stores, claim.execution
        held = {"owner": claim.worker_id, "token": Int64(claim.token)}
        by_id = stores.documents.by_id
        if not await stores.mongo.find(
            EXECUTIONS, by_id(own.id) | held, fields=("_id",), limit=1
        ):
            return False
        query = {
            "parent.id": own.id,
            "parent.nonce": own.nonce,
            "parent.token": {"$lt": Int64(own.retry_token)},
        }
        values = {"parent.token": Int64(claim.token), "parent.alone": "$$REMOVE"}
        live = {"status": {"$in": LIVE}, "cancelRequested": {"$ne": True}}
        these = by_id(child_id) | query | live
        statement = {"q": these, "u": [{"$set": values}]}
        if (await stores.mongo.update(EXECUTIONS, [statement])).count:
            return False
        _, is_queued = await self._executions.queue_again(child_id, query, values)
        return is_queued


def _read(document: Document) -> Child:
    """The child in a document; `UnreadableError` for half of one."""
    id_, status = document.get("id"), document.get("status")
    parent = parent_of(document)
    if not isinstance(id_, str) or status not in STATUSES:
        raise UnreadableError(
            f"the document of child {document['_id']!r:.200} has no id or status"
        )
    child = Child(
        id_, ExecutionStatus(status), token=0 if parent is None else parent.token
    )
    if not child.status.is_terminal:
        return child
    completed = child.status is ExecutionStatus.COMPLETED
    return replace(
        child,
        result=result_of(document, "updatedAt") if completed else None,
        error=error_of(document),
        cancel_reason=text_or_none(document.get("cancelReason")),
    )
