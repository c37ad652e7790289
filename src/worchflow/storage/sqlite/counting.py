"""Numbers of executions by status, which triggers of the tables keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from ...model.records import ExecutionStatus
from ..contract.listing import CountingStore
from .loop_binding import read_all
from .rows import fetch

if TYPE_CHECKING:
    import sqlite3

    from .loop_binding import Opened

_COUNTS = "SELECT status, executions FROM status_counts WHERE queue_prefix = ?"


def counts(connection: sqlite3.Connection, prefix: str) -> dict[ExecutionStatus, int]:
    """How many executions have each status."""
    known = {status.value: status for status in ExecutionStatus}
    found = dict.fromkeys(ExecutionStatus, 0)
    for status, executions in fetch(connection, _COUNTS, (prefix,)):
        if status in known:
            found[known[status]] = executions
    return found


class Counting(CountingStore):
    """The numbers of one backend, counted when they are asked for."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @override
    async def by_status(self) -> dict[ExecutionStatus, int]:
        return await self._opened().read(read_all(counts), None)
