"""Events of the log as documents, and how they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...model.events import StoredEvent
from .documents import UnreadableError, life_of
from .fields import text_or_none
from .values import moment_of

if TYPE_CHECKING:
    from ...model.events import NewEvent
    from ...model.records import Claim
    from .documents import Document

PENDING = "pending"
"""The field of an event, there until everybody who waits for it was woken."""
ORDER = "order"
"""The field that orders events of the same moment: their places in what was sent."""
SEPARATOR = " "
"""In `_id` between a prefix, or a nonce, and the id of an event; in none of them."""


def event_change(event: NewEvent, prefix: str, order: int = 0) -> list[Document]:
    """Makes the document of an event, and leaves one that is there as it is."""
    is_missing = {"$eq": [{"$type": "$at"}, "missing"]}
    new: Document = {
        "id": {"$literal": event.id},
        "queuePrefix": {"$literal": prefix},
        "name": {"$literal": event.name},
        "key": {"$literal": event.key},
        "data": {"$literal": event.data},
        "at": "$$NOW",
        ORDER: {"$literal": order},
        PENDING: True,
    }
    return [
        {
            "$set": {
                name: {"$cond": [is_missing, then, f"${name}"]}
                for name, then in new.items()
            }
        }
    ]


def taken_by(execution: Document) -> Document:
    """A query for what an execution has taken."""
    own = f"{life_of(execution) or execution['id']}{SEPARATOR}"
    return {"_id": {"$gte": own, "$lt": f"{own[:-1]}!"}}


def taken_id(claim: Claim, event_id: str) -> str:
    """The `_id` of what says that the claim's execution has taken an event."""
    execution = claim.execution
    return f"{execution.nonce or execution.id}{SEPARATOR}{event_id}"


def text_of(document: Document, field: str) -> str | None:
    """The text in a field, None for anything else."""
    return text_or_none(document.get(field))


def after(at: Any, last: Any) -> Document:
    """A condition for what is younger than a document, or of its moment and behind."""
    return {"$or": [{"at": {"$gt": at}}, {"at": at, "_id": {"$gt": last}}]}


def after_in_order(document: Document) -> Document:
    """A condition for what comes after a document in the order of the log."""
    at, order, last = document["at"], document.get(ORDER), document["_id"]
    # Those of earlier releases have none, and come first.
    further = {"$gte": 0} if order is None else {"$gt": order}
    return {
        "$or": [
            {"at": {"$gt": at}},
            {"at": at, ORDER: further},
            {"at": at, ORDER: order, "_id": {"$gt": last}},
        ]
    }


def read_event(document: Document) -> StoredEvent:
    """The event in a document; `UnreadableError` for half of one."""
    key, at = document.get("key"), moment_of(document.get("at"))
    match document:
        case {"id": str(id_), "name": str(name), "data": str(data)}:
            if isinstance(key, str | None) and at is not None:
                return StoredEvent(id=id_, name=name, data=data, key=key, at=at)
        case _:
            pass
    raise UnreadableError("its id, name, data, key or at is not one")
