"""The slot of a worker in which the code of an attempt runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


@dataclass(slots=True)
class ParkingCounts:
    """How often attempts of one worker have waited, since it was made."""

    parked: int = 0
    """Slots that were given back because all code of an attempt waited."""
    resumed: int = 0
    """Parked attempts that continued where they were."""
    suspended: int = 0
    """Attempts that left the worker while they waited."""
    replayed: int = 0
    """Runs of an attempt that was suspended before."""


class Slot(Protocol):
    """What an attempt may ask of its worker about its slot."""

    @property
    def park_for(self) -> float:
        """Seconds for which an attempt is kept while it waits."""
        ...

    def park(self, suspend: Callable[[], bool], size: int) -> bool:
        """Give the slot back while the attempt waits; False if it has to keep it.

        `suspend` ends the attempt if it still waits: whether it does. `size` is about
        how many bytes it keeps meanwhile.
        """
        ...

    def ask(self) -> asyncio.Future[None]:
        """Ask for a slot, ahead of new executions: done once there is one."""
        ...

    def take(self) -> None:
        """Take a slot even if none is free: code of the attempt runs already."""
        ...
