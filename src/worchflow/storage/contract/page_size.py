"""How much one page of a listing holds: so many executions, and so many bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...model.records import StoredExecution

MAX_PAGE_BYTES = 8 * 1024 * 1024
"""A page ends behind the execution with which its payloads reach this."""


class PageSize:
    """Counts what a page holds."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._bytes_left = MAX_PAGE_BYTES

    @property
    def is_reached(self) -> bool:
        """Whether the page takes no more."""
        return self._left <= 0 or self._bytes_left <= 0

    def add(self, execution: StoredExecution | None) -> None:
        """Count an execution; None stands for one that cannot be read."""
        self._left -= 1
        if execution is not None:
            self._bytes_left -= len(execution.event_data) + len(execution.result or "")
            errors = [execution.error, *(each.error for each in execution.attempts)]
            for error in errors:
                if error is not None:
                    self._bytes_left -= len(error.message) + len(error.traceback)
