"""Which parents have ended, as their children have to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .documents import EXECUTIONS, LIFE, LIVE, life_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from ...model.records import Parent
    from .stores import Stores


async def ended_parents(stores: Stores, parents: Collection[Parent]) -> set[Parent]:
    """Those of the parents that have ended, or exist no more."""
    ids = sorted({parent.id for parent in parents})
    documents = await stores.mongo.find(
        EXECUTIONS,
        stores.documents.by_ids(ids) | {"status": {"$in": LIVE}},
        fields=("id", LIFE),
    )
    alive = {(document["id"], life_of(document) or "") for document in documents}
    return {parent for parent in parents if (parent.id, parent.nonce) not in alive}
