"""The parts of a backend while it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from .claimer import Claimer
    from .counting import Counting
    from .election import Election
    from .executions import Executions
    from .hints import Hints
    from .leases import Leases, LeaseStore
    from .listing import Listing
    from .pruning import Pruning
    from .reaper import Reaper
    from .settling import Settling
    from .steps import Steps
    from .stores import Stores
    from .sweeper import Sweeper
    from .upkeep import Upkeep


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenParts:
    """What one event loop works with; `loop` is that loop."""

    loop: asyncio.AbstractEventLoop
    stores: Stores
    lease_store: LeaseStore
    executions: Executions
    counting: Counting
    listing: Listing
    steps: Steps
    settling: Settling
    leases: Leases
    election: Election
    pruning: Pruning
    reaper: Reaper
    sweeper: Sweeper
    hints: Hints
    claimers: dict[str, Claimer]
    upkeep: Upkeep

    def forget(self, worker_id: str) -> None:
        """Keep nothing of a worker that is fenced or has left."""
        self.claimers.pop(worker_id, None)
        self.steps.forget(worker_id)
