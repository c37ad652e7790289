"""Documents for executions that were only sent to Redis, as if they were sent to us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from .documents import UnreadableError
from .values import is_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .documents import Document, Documents


def adopted_execution(
    documents: Documents, execution_id: str, fields: Mapping[str, str] | None, now: int
) -> Document:
    """The document of an execution that was only sent to Redis.

    Without a nonce: what ran it before may have left steps. `UnreadableError`
    for a hash that is not this id's whole, queued execution.
    """
    if not fields:
        raise UnreadableError("it has no document, and no readable hash")
    event_name = fields.get("eventName")
    event_data = documents.event_data(fields) if "eventData" in fields else None
    if fields.get("id") != execution_id or not event_name or event_data is None:
        raise UnreadableError("its hash lacks its id, eventName or eventData")
    if fields.get("status") != "queued":
        raise UnreadableError(f"its hash says {str(fields.get('status'))[:20]!r}")
    if not is_json(event_data):
        raise UnreadableError("the eventData of its hash is not JSON")
    created = fields.get("createdAt", "")
    is_number = created.isascii() and created.isdecimal() and len(created) < 15
    return {
        "_id": execution_id,
        "id": execution_id,
        "queuePrefix": documents.queue_prefix,
        "eventName": event_name,
        "eventData": event_data,
        "status": "queued",
        "attemptCount": 0,
        "createdAt": Int64(int(created) if is_number else now),
        "updatedAt": Int64(now),
        "token": Int64(0),
        "recoveries": 0,
        "enqueuedAt": DatetimeMS(now),
        "dueAt": DatetimeMS(now),
    }
