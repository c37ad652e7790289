"""What is written down in an execution that has still to be done for it.

An insert writes down that its event is to be published; what ends an execution, what
follows its end. `follow_ups` does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson.int64 import Int64

if TYPE_CHECKING:
    from ...model.records import Claim
    from .mongo_gateway import Document

FOLLOW_UPS = "followUps"
"""The field: `{"token": …, "names": […]}`, or not there when nothing is left.

The token is 0 for what the insert left, else that of the end.
"""
HAS_WAITS = "hasWaits"
"""The field that is set before the first wait of an execution is stored."""
HAS_CHILDREN = "hasChildren"
"""The field that is set before the first child of an execution is inserted."""
AWAITS_CHILDREN = "awaitsChildren"
"""The field of a suspended execution that the end of a child queues."""
EVENT_KEY = "eventKey"
"""The correlation key of an event that is published."""
PUBLISH = "publish"
NOTIFY_PARENT = "notify-parent"
CANCEL_CHILDREN = "cancel-children"
DELETE_WAITS = "delete-waits"


def to_be_published(event_key: str) -> Document:
    """What an insert sets of an execution that is an event of the log as well."""
    left = {"token": Int64(0), "names": [PUBLISH]}
    return {EVENT_KEY: event_key, FOLLOW_UPS: left}


def is_published(document: Document) -> bool:
    """Whether nothing is left to publish of a live execution."""
    match document:
        case {"followUps": {"token": 0}}:
            return False
        case _:
            return True


def follow_ups(claim: Claim, *, has_waits: bool, has_children: bool) -> Document:
    """What an update sets that ends an execution.

    What the insert left stays in it, if the claim has found it there.
    """
    execution = claim.execution
    names = [
        name
        for name, is_left in (
            (NOTIFY_PARENT, execution.parent is not None),
            (CANCEL_CHILDREN, has_children),
            (DELETE_WAITS, has_waits),
        )
        if is_left
    ]
    if not names:
        return {}
    if not execution.is_published:
        names.append(PUBLISH)
    return {FOLLOW_UPS: {"token": Int64(claim.token), "names": names}}


def follow_ups_expression(token: Any) -> Document:
    """The same for the pipeline of an update, where the document says what there is."""
    conditions: Document = {
        NOTIFY_PARENT: {"$eq": [{"$type": "$parent.id"}, "string"]},
        CANCEL_CHILDREN: {"$eq": [f"${HAS_CHILDREN}", True]},
        DELETE_WAITS: {"$eq": [f"${HAS_WAITS}", True]},
    }
    is_any = {"$or": list(conditions.values())}
    conditions[PUBLISH] = {"$eq": [f"${FOLLOW_UPS}.token", 0]}
    names = {
        "$concatArrays": [
            {"$cond": [is_left, [name], []]} for name, is_left in conditions.items()
        ]
    }
    left = {"token": token, "names": names}
    return {"$cond": [is_any, left, f"${FOLLOW_UPS}"]}
