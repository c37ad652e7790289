"""The workers that did not leave, for whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.records import WorkerSeen
from .documents import WORKERS
from .values import milliseconds_of

if TYPE_CHECKING:
    from .documents import Document
    from .stores import Stores


async def workers_seen(stores: Stores) -> list[WorkerSeen]:
    """Every worker of the prefix with a document, by MongoDB's clock."""
    documents = await stores.mongo.find(
        WORKERS,
        {"queuePrefix": stores.options.queue_prefix},
        fields=("functions", "expiresAt", "dead"),
        sort=(("startedAt", 1),),
    )
    now, lease = stores.clock.now(), stores.options.lease_ttl * 1000
    return [_seen(document, now, lease) for document in documents]


def _seen(document: Document, now: int, lease: float) -> WorkerSeen:
    until = milliseconds_of(document.get("expiresAt"))
    return WorkerSeen(
        id=str(document["_id"]),
        functions={each["event"]: each["id"] for each in document["functions"]},
        silent_for=None if until is None else max(0.0, now - until + lease) / 1000,
        is_alive=document.get("dead") is not True and until is not None and until > now,
    )
