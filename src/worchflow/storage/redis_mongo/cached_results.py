"""Results of steps that Redis has and MongoDB may lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...foundations.errors import StoreUnavailable
from .documents import FAST, LIFE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .documents import Document
    from .stores import Stores


async def cached_results(
    stores: Stores, executions: Sequence[Document]
) -> dict[str, dict[str, str]]:
    """What Redis has of these very executions, by their ids and by step id.

    It is asked where it may have more than MongoDB: after a claim in fast mode, and
    where others write as well.
    """
    asked = [
        document
        for document in executions
        if stores.options.ts_compat or FAST in document or LIFE not in document
    ]
    if not asked:
        return {}
    try:
        hashes = await stores.redis.hashes(
            [stores.keys.steps(document["id"]) for document in asked]
        )
    except StoreUnavailable:
        return {}
    return {
        document["id"]: fields
        for document, fields in zip(asked, hashes, strict=True)
        if fields and _is_of(stores, document, fields.pop(LIFE, None))
    }


def _is_of(stores: Stores, document: Document, life: str | None) -> bool:
    """Whether a steps hash is this execution's, and of no earlier one of its id.

    The original's hashes do not say whose they are.
    """
    if life is None and stores.options.ts_compat:
        return True
    return life == document.get(LIFE)
