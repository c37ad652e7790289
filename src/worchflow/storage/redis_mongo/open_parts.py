"""The parts of a backend while it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from .children import Children
    from .claims import Claims
    from .counting import Counting
    from .events import Events
    from .executions import Executions
    from .leadership import Leadership
    from .leases import LeaseStore
    from .listing import Listing
    from .notices import Notices
    from .retention import Retention
    from .steps import Steps
    from .stores import Stores
    from .sweeper import Sweeper
    from .upkeep import Upkeep
    from .waits import Waits
    from .workers import Workers


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenParts:
    """What one event loop works with; `loop` is that loop."""

    loop: asyncio.AbstractEventLoop
    stores: Stores
    lease_store: LeaseStore
    executions: Executions
    listing: Listing
    counting: Counting
    retention: Retention
    steps: Steps
    waits: Waits
    events: Events
    children: Children
    claims: Claims
    workers: Workers
    leadership: Leadership
    sweeping: Sweeper
    notices: Notices
    upkeep: Upkeep
