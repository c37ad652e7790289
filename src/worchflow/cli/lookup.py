"""Finds an execution by its id or by the beginning of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..foundations.errors import ExecutionNotFound
from .failures import AmbiguousId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..client.client import WorchflowClient
    from ..model.records import Execution

MIN_PREFIX_LENGTH = 8
"""Fewer characters would name an execution by accident."""
MAX_CANDIDATES = 5


async def find_execution(client: WorchflowClient[Any], given: str) -> Execution:
    """The execution whose id is `given`, else the one whose id begins so.

    `ExecutionNotFound`, or `AmbiguousId` with the candidates.
    """
    try:
        return await client.get(given)
    except ExecutionNotFound as error:
        if len(given) < MIN_PREFIX_LENGTH:
            raise ExecutionNotFound(
                f"{error.message} (of a longer one the first {MIN_PREFIX_LENGTH} "
                "characters are enough, not fewer)",
                execution_id=given,
                place=error.place,
            ) from None
        not_found = error
    found = await _beginning_with(client, given)
    if not found:
        raise not_found
    if len(found) > 1:
        some = "".join(
            f"\n  {each.id}  {each.status}  {each.event_name}"
            for each in found[:MAX_CANDIDATES]
        )
        more = "\n  …" if len(found) > MAX_CANDIDATES else ""
        raise AmbiguousId(
            f'"{given}" is the beginning of more than one id, give more of it:'
            f"{some}{more}\n",
            field="id",
        )
    return found[0]


async def _beginning_with(
    client: WorchflowClient[Any], given: str
) -> Sequence[Execution]:
    """Some executions whose ids begin so; all of them, if they are few."""
    found: list[Execution] = []
    cursor: str | None = None
    while len(found) <= MAX_CANDIDATES:
        page = await client.list(
            id_prefix=given, cursor=cursor, limit=MAX_CANDIDATES + 1
        )
        found += page.items
        cursor = page.cursor
        if cursor is None:
            break
    return found
