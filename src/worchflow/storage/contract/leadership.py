"""What one worker does for all, and which one it is."""

from __future__ import annotations

from abc import ABC, abstractmethod


class LeadershipStore(ABC):
    """The election of the worker that does what one does for all."""

    @abstractmethod
    async def holds(self, worker_id: str) -> bool:
        """Whether this worker is the one that now does what one does for all.

        Of the live workers at most one is; asking again keeps it elected.
        """


class SweepStore(ABC):
    """The work of the elected one that every claim relies on."""

    @abstractmethod
    async def sweep(self, worker_id: str) -> int:
        """Make visible what is due and not in the queue; returns how many executions.

        What is flagged and un-owned becomes `cancelled`; what no live worker serves
        has a reason that says so. At most one worker does it at a time.
        """
