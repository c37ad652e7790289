"""Removing executions when a user asks for it, instead of the elected worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..foundations.durations import to_seconds
from ..foundations.errors import InvalidInput
from ..model.options import KEEP_EVERYTHING
from ..model.records import TERMINAL
from ..storage.contract.retention import prune_in_batches
from .listing import checked_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..foundations.types import Duration
    from ..model.options import Retention
    from ..model.records import ExecutionStatus
    from ..storage.contract.backend import Backend


def checked_ages(
    retention: Retention | None,
    older_than: Duration | None,
    status: ExecutionStatus | str | None,
) -> Mapping[ExecutionStatus, float]:
    """Seconds since they ended after which executions go, by status."""
    statuses = TERMINAL if status is None else {checked_status(status)}
    if not statuses <= TERMINAL:
        raise InvalidInput(
            f"status={status!r} is not a status that executions end with: only "
            f"{', '.join(sorted(TERMINAL))} ones can be removed; cancel others first",
            field="status",
        )
    ages = (retention or KEEP_EVERYTHING).ages
    if older_than is not None:
        ages = dict.fromkeys(TERMINAL, to_seconds(older_than, "older_than"))
    return {each: age for each, age in ages.items() if each in statuses}


def checked_limit(limit: int | None) -> int | None:
    """The limit, if it is a whole number from 1 up or None."""
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InvalidInput(
            f"limit={limit!r} must be a whole number from 1 up, or None", field="limit"
        )
    return limit


async def prune(
    backend: Backend, ages: Mapping[ExecutionStatus, float], limit: int | None
) -> int:
    """Remove what ended so long ago, `limit` at most; how many executions."""
    removed = 0
    for status, age in sorted(ages.items()):
        left = None if limit is None else limit - removed
        async for batch in prune_in_batches(backend.retention, status, age, left):
            removed += batch
    return removed
