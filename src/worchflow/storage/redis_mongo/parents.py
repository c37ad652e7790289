"""Which parents have ended, as their children have to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.records import ExecutionStatus
from .documents import EXECUTIONS, LIFE, LIVE, life_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from ...model.records import Parent
    from .stores import Stores


RETRIABLE = [*LIVE, ExecutionStatus.FAILED.value, ExecutionStatus.CANCELLED.value]
"""What has not ended for good."""


async def ended_parents(
    stores: Stores, parents: Collection[Parent], *, for_good: bool = False
) -> set[Parent]:
    """Those of the parents that have ended, or exist no more.

    `for_good`: what can be retried has not.
    """
    ids = sorted({parent.id for parent in parents})
    statuses = RETRIABLE if for_good else LIVE
    documents = await stores.mongo.find(
        EXECUTIONS,
        stores.documents.by_ids(ids) | {"status": {"$in": statuses}},
        fields=("id", LIFE),
    )
    alive = {(document["id"], life_of(document) or "") for document in documents}
    return {parent for parent in parents if (parent.id, parent.nonce) not in alive}
