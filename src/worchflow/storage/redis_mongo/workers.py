"""The workers of one backend: they join, renew, leave, and take over from the dead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from ..contract.workers import WorkerStore
from .unserved import Unserved
from .workers_seen import workers_seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import WorkerRecord, WorkerSeen
    from ..contract.workers import OnHint, Renewal
    from .claims import Claims
    from .leases import Leases
    from .listing import Listing
    from .notices import Notices
    from .reaper import Reaper
    from .stores import Stores

LEAVE_TIMEOUT = 1.0
"""Seconds to wait for Redis when a worker leaves; what it misses is repaired."""


class Workers(WorkerStore):
    """What it takes for a worker to come and go."""

    def __init__(
        self,
        stores: Stores,
        *,
        leases: Leases,
        claims: Claims,
        listing: Listing,
        notices: Notices,
        reaper: Reaper,
    ) -> None:
        self._stores = stores
        self._leases = leases
        self._claims = claims
        self._listing = listing
        self._notices = notices
        self._reaper = reaper
        self._loop = asyncio.get_running_loop()

    @override
    async def join(self, worker: WorkerRecord, on_hint: OnHint) -> None:
        await self._leases.join(worker)
        await self._listing.remember(worker)
        await Unserved(self._stores, worker).requeue_deferred()
        self._notices.call_on_hint(worker.id, on_hint)
        self._claims.claimer(worker)

    @override
    def renew(self, worker_id: str) -> Renewal:
        renewal = self._leases.renew(worker_id)
        if not renewal.alive:
            # Fenced: it continues under another name, and what it took is reaped.
            self._loop.call_soon_threadsafe(self._claims.forget, worker_id)
        return renewal

    @override
    async def leave(self, worker_id: str) -> None:
        if await self._claims.hand_back(worker_id):
            await self._stores.write_behind.flush(LEAVE_TIMEOUT)
        self._notices.forget(worker_id)
        self._claims.forget(worker_id)
        await self._reaper.end(worker_id)

    @override
    async def seen(self) -> Sequence[WorkerSeen]:
        return await workers_seen(self._stores)

    @override
    async def reap(self, worker_id: str, *, expired: bool) -> int:
        return await self._reaper.reap(expired=expired)
