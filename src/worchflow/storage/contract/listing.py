"""Executions as people look for them: pages by age, and numbers by status."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...model.records import ExecutionQuery, ExecutionStatus, StoredPage


class ListingStore(ABC):
    """Pages of executions."""

    @abstractmethod
    async def page(self, query: ExecutionQuery) -> StoredPage:
        """Executions of this prefix by (`created_at`, id), newest first.

        What a page costs does not depend on how much is stored. Where no index answers
        a filter, a page may hold fewer than the limit, even none, and have a cursor.
        `InvalidInput` for a cursor this store did not make.
        """


class CountingStore(ABC):
    """How many executions there are."""

    @abstractmethod
    async def by_status(self) -> dict[ExecutionStatus, int]:
        """Executions of this prefix by status.

        May lag two seconds, or twenty times as long as a store takes to count them.
        """
