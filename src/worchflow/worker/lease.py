"""The worker's lease: renewed from its own thread, trusted only until a deadline.

The thread keeps the lease while the event loop is busy or blocked. Trust ends a
margin before the lease can, counted from when the renewal was asked for, so a
worker that was frozen stops before anybody may take over (River's rule).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from ..engine.ownership import Interrupted
from ..foundations.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..foundations.runtime import Runtime
    from ..model.records import WorkerRecord
    from ..storage.contract.backend import Backend
    from ..storage.contract.workers import Renewal

logger = logging.getLogger("worchflow.worker")

MARGIN = 0.2
"""The share of the TTL by which trust ends before the lease."""
GAP = 0.5
"""The share of a TTL without a renewal that may have been an outage of the store.

A live worker renews a quarter of a TTL after its last renewal, and after an outage
as soon as the store answers: one that nobody noticed cost no live worker its lease.
"""


class Lease:
    """One identity of a worker and how long it may act under it."""

    def __init__(self, worker: WorkerRecord, ttl: float, clock: Runtime) -> None:
        self.worker = worker
        self.ttl = ttl
        self.lost = False
        self._clock = clock
        self._trusted_until = 0.0
        self._asked_at: float | None = None
        self._unbroken_since = 0.0

    def holds(self) -> bool:
        """Whether a step may start now."""
        return not self.lost and self._clock.monotonic() < self._trusted_until

    async def regain(self) -> None:
        """Wait until it holds; `Interrupted` when it is lost for good."""
        while not self.holds():
            if self.lost:
                raise Interrupted
            await asyncio.sleep(0.05)

    def renewed(self, asked_at: float) -> None:
        """Trust it for a TTL less the margin from when the renewal was asked for."""
        before, self._asked_at = self._asked_at, asked_at
        if before is None or asked_at - before > self.ttl * GAP:
            self._unbroken_since = asked_at
        self._trusted_until = asked_at + self.ttl * (1 - MARGIN)

    def unbroken_for_a_ttl(self) -> bool:
        """Whether it was renewed without a gap for a whole TTL, until now.

        Then this worker would have noticed an outage, and may take expired leases
        for dead workers.
        """
        if self._asked_at is None or not self.holds():
            return False
        now = self._clock.monotonic()
        is_overdue = now - self._asked_at > self.ttl * GAP
        return not is_overdue and now - self._unbroken_since >= self.ttl


class LeaseKeeper:
    """The thread that renews one lease."""

    def __init__(
        self,
        backend: Backend,
        lease: Lease,
        heartbeat: float,
        clock: Runtime,
        may_renew: Callable[[], bool],
    ) -> None:
        self._backend = backend
        self._lease = lease
        self._heartbeat = min(heartbeat, lease.ttl / 4)
        # A store gives a renewal up after half a TTL: time enough for another one.
        self._soon = min(1.0, lease.ttl / 16)
        self._clock = clock
        self._may_renew = may_renew
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        on_renewal: Callable[[Lease, Renewal], None],
    ) -> None:
        """Renew from now on; `on_renewal` is called on the loop after each."""
        self._thread = threading.Thread(
            target=self._beat,
            args=(loop, on_renewal),
            name=f"worchflow-lease-{self._lease.worker.id[:8]}",
            daemon=True,
        )
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; the lease then runs out by itself."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread.is_alive():
            await asyncio.to_thread(thread.join, 1.0)

    def _beat(
        self,
        loop: asyncio.AbstractEventLoop,
        on_renewal: Callable[[Lease, Renewal], None],
    ) -> None:
        failing = False
        pause = self._heartbeat
        while not self._clock.wait(self._ended, pause) and not self._lease.lost:
            try:
                if not self._may_renew():
                    continue
                asked_at = self._clock.monotonic()
                renewal = self._backend.workers.renew(self._lease.worker.id)
            except StoreUnavailable as error:
                if not failing:
                    logger.warning(
                        "%s; the lease of worker %s could not be renewed: no step "
                        "starts once it is uncertain, renewing continues",
                        error,
                        self._lease.worker.id,
                    )
                failing, pause = True, self._soon
                continue
            except Exception:
                logger.exception("renewing the lease failed unexpectedly; trying again")
                continue
            if failing:
                logger.info("worker %s renews its lease again", self._lease.worker.id)
            failing, pause = False, self._heartbeat
            if renewal.alive:
                self._lease.renewed(asked_at)
            else:
                self._lease.lost = True
            try:
                loop.call_soon_threadsafe(on_renewal, self._lease, renewal)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                return
