"""The indexes of the collections, and how a query names the one it walks along.

Every query that walks along one names it: what MongoDB would choose by itself depends
on what it saw when it last chose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .documents import Document

OWNER = {"owner": 1}
DUE = {"queuePrefix": 1, "eventName": 1, "dueAt": 1}
"""What waits: each event by itself, so that none lies in the way of another."""
QUARANTINED = {"queuePrefix": 1, "deaths": 1, "dueAt": 1}
LISTING = {"queuePrefix": 1, "status": 1, "createdAt": -1, "_id": -1}
BY_EVENT = {"queuePrefix": 1, "eventName": 1, "createdAt": -1, "_id": -1}
BY_TAG = {"queuePrefix": 1, "tags": 1, "createdAt": -1, "_id": -1}
BY_PARENT = {"queuePrefix": 1, "parent.id": 1, "createdAt": -1, "_id": -1}
ENDED_KEY = {"queuePrefix": 1, "status": 1, "finishedAt": 1}
ENDED = "worchflow_ended"
"""What has ended, by when."""
ENDED_OURS = "worchflow_ended_ours"
"""The same with the original's documents around."""
FOLLOW_UPS_INDEX = "worchflow_follow_ups"
OURS: Document = {"_id": {"$type": "string"}}
"""Documents that this library inserted; those of the original have ObjectIds."""

INDEXES: list[Document] = [
    {
        "name": "worchflow_owner",
        "key": OWNER,
        "partialFilterExpression": {"owner": {"$type": "string"}},
    },
    {
        "name": "worchflow_due_by_event",
        "key": DUE,
        "partialFilterExpression": {"dueAt": {"$exists": True}},
    },
    {
        # Almost always empty: who waits after deaths of its workers.
        "name": "worchflow_quarantined",
        "key": QUARANTINED,
        "partialFilterExpression": {"deaths": {"$gt": 0}, "dueAt": {"$exists": True}},
    },
    {"name": "worchflow_listing", "key": LISTING},
    {"name": "worchflow_by_event", "key": BY_EVENT},
    {
        "name": "worchflow_by_tag",
        "key": BY_TAG,
        "partialFilterExpression": {"tags": {"$exists": True}},
    },
    {
        # Almost always empty: what ended, and whose end has not been followed up.
        "name": FOLLOW_UPS_INDEX,
        "key": {"queuePrefix": 1, "finishedAt": 1},
        "partialFilterExpression": {"followUps": {"$exists": True}},
    },
    {
        "name": "worchflow_by_parent",
        "key": BY_PARENT,
        "partialFilterExpression": {"parent.id": {"$exists": True}},
    },
]
WAITS_BY_EVENT = "worchflow_waits_by_event"
EVENTS_IN_ORDER = "worchflow_events_in_order"
EVENTS_BY_AGE = "worchflow_events_by_age"
EVENTS_PENDING = "worchflow_events_pending"
OF_WAITS: list[Document] = [
    {
        "name": WAITS_BY_EVENT,
        "key": {"queuePrefix": 1, "eventName": 1, "eventKey": 1, "_id": 1},
        "partialFilterExpression": {"eventName": {"$exists": True}},
    },
]
OF_EVENTS: list[Document] = [
    {
        "name": EVENTS_IN_ORDER,
        "key": {"queuePrefix": 1, "name": 1, "key": 1, "at": 1, "order": 1, "_id": 1},
    },
    {"name": EVENTS_BY_AGE, "key": {"queuePrefix": 1, "at": 1, "_id": 1}},
    {
        # Almost always empty: whom some of those who wait may not have heard of.
        "name": EVENTS_PENDING,
        "key": {"queuePrefix": 1, "at": 1},
        "partialFilterExpression": {"pending": {"$exists": True}},
    },
]
ENDED_INDEX: Document = {
    "name": ENDED,
    "key": ENDED_KEY,
    "partialFilterExpression": {"finishedAt": {"$exists": True}},
}
THEIRS, THEIRS_ENDED = "worchflow_theirs", "worchflow_theirs_ended"
COMPAT: list[Document] = [
    {
        # What the original has sent stays forever, and is not met again and again.
        "name": ENDED_OURS,
        "key": ENDED_KEY,
        "partialFilterExpression": {"finishedAt": {"$exists": True}} | OURS,
    },
    {
        # Waits or runs, and was written last by the original: its moments are doubles.
        "name": THEIRS,
        "key": {"queuePrefix": 1, "updatedAt": 1},
        "partialFilterExpression": {
            "updatedAt": {"$type": "double"},
            # A partial index has no `$in`; in the alphabet these words come later.
            "status": {"$gt": "failed"},
        },
    },
    {
        # Almost always empty: was ended by the original and has a due time of ours.
        "name": THEIRS_ENDED,
        "key": {"queuePrefix": 1, "dueAt": 1},
        "partialFilterExpression": {
            "dueAt": {"$exists": True},
            "status": {"$lte": "failed"},
        },
    },
]
COMPAT_EXECUTIONS: Document = {"name": "id_1", "key": {"id": 1}, "unique": True}
COMPAT_STEPS: Document = {
    "name": "executionId_1_stepId_1",
    "key": {"executionId": 1, "stepId": 1},
    "unique": True,
}


def owned_by(worker_ids: Iterable[str]) -> Document:
    """A query for what these workers own, along `OWNER`.

    Only with the type in it does MongoDB see that the partial index has them all.
    """
    return {"owner": {"$in": list(worker_ids), "$type": "string"}}
