"""The end of an execution that no worker holds: what it writes, and what is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.int64 import Int64

from ...model.notices import ExecutionUpdated, encode_notice
from .outbox import FOLLOW_UPS, follow_ups_expression
from .scripts import NOWHERE

if TYPE_CHECKING:
    from ...model.records import StoredExecution
    from .documents import Document
    from .stores import Stores


def cancellation(values: Document) -> list[Document]:
    """Terminal and with a new token if nobody owns it, else flagged."""
    owned = {"$eq": [{"$type": "$owner"}, "string"]}
    at_once: Document = {
        "status": "cancelled",
        "token": {"$add": [{"$ifNull": ["$token", Int64(0)]}, 1]},
        "finishedAt": "$$NOW",
        "dueAt": "$$REMOVE",
        "runAt": "$$REMOVE",
        "notBefore": "$$REMOVE",
        "reason": "$$REMOVE",
    }
    at_once[FOLLOW_UPS] = follow_ups_expression(at_once["token"])
    change: Document = {
        field: {"$cond": [owned, f"${field}", value]}
        for field, value in at_once.items()
    }
    change["cancelRequested"] = {"$cond": [owned, True, "$$REMOVE"]}
    change["updatedAt"] = {"$toLong": "$$NOW"}
    return [{"$set": change | values}]


def show_finished(stores: Stores, execution: StoredExecution) -> None:
    """Show in Redis how an execution ended that no worker held."""
    stores.write_behind.put(
        stores.scripts.release(
            "",
            execution.id,
            NOWHERE,
            fields=stores.documents.status_fields(execution),
            ttl=int(stores.options.finished_ttl * 1000),
            notice=updated_notice(execution),
        )
    )


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
