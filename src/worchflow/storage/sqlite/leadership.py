"""The election: what one worker does for all is done by the oldest live one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from ..contract.leadership import LeadershipStore
from .rows import fetch

if TYPE_CHECKING:
    import sqlite3

    from .loop_binding import Opened

_FIRST = """
    SELECT id FROM workers WHERE queue_prefix = ? AND NOT dead
    ORDER BY started_at, id LIMIT 1
"""


def is_first(connection: sqlite3.Connection, prefix: str, worker_id: str) -> bool:
    """Whether no worker that is not dead started before this one."""
    return fetch(connection, _FIRST, (prefix,)) == [(worker_id,)]


class Leadership(LeadershipStore):
    """Elected is the worker that started first of those that are not dead."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @override
    async def holds(self, worker_id: str) -> bool:
        return await self._opened().read(is_first, worker_id)
