"""The worker's place in the fleet: its identity, its lease, what it owns."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from ..engine.ownership import Interruption
from ..foundations.backoff import Backoff
from ..foundations.errors import StoreUnavailable, WorchflowError
from ..foundations.ids import new_worker_id
from ..model.records import WorkerRecord
from ..model.settlement import Released
from ..storage.contract.workers import WorkerHint
from .lease import Lease, LeaseKeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ..model.options import WorkerOptions
    from ..storage.contract.backend import Backend
    from ..storage.contract.workers import Renewal
    from .blocked_loop import BlockedLoopWatch
    from .execution_slots import ExecutionSlots

logger = logging.getLogger("worchflow.worker")


class Membership:
    """Joins the fleet, keeps the lease, and continues under a new name when fenced."""

    def __init__(
        self,
        backend: Backend,
        slots: ExecutionSlots,
        options: WorkerOptions,
        functions: Mapping[str, str],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._backend = backend
        self._slots = slots
        self._options = options
        self._functions = functions
        self._clock = backend.options.runtime
        self._spawn = spawn
        self._watch: BlockedLoopWatch | None = None
        self._keeper: LeaseKeeper | None = None
        self._left = False
        self._owned: frozenset[str] = frozenset()
        self._asking: set[str] = set()
        """Of which running executions the store is asked whether to cancel them."""
        self.lease: Lease | None = None
        """None while there is no identity to act under."""

    async def join(self, watch: BlockedLoopWatch) -> None:
        """Take a new identity and a lease for it, renewed from now on."""
        self._watch = watch
        worker = WorkerRecord(
            id=new_worker_id(self._clock),
            functions=self._functions,
            concurrency=self._options.concurrency,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._clock.now(),
            quarantine_after=self._options.quarantine_after,
        )
        lease = Lease(worker, self._backend.options.lease_ttl, self._clock)
        asked_at = self._clock.monotonic()
        await self._backend.workers.join(worker, self._hinted)
        lease.renewed(asked_at)
        self._owned = frozenset()
        self.lease = lease
        self._keeper = LeaseKeeper(
            self._backend, lease, self._options.heartbeat, self._clock, self._may_renew
        )
        self._keeper.start(asyncio.get_running_loop(), self._renewed)

    def orphaned_claims(self) -> frozenset[str]:
        """What this worker owned at the last beat and does not run; asked for once.

        A claim of unknown outcome leaves such executions, to be adopted. A claim in
        progress may yet hand them out, so this is to be asked between two claims; and
        some may have ended since the beat, which adopting them tells.
        """
        owned, self._owned = self._owned, frozenset()
        return owned - self._slots.ids

    async def leave(self, *, drained: bool) -> None:
        """Stop renewing; with nothing left to own, end the identity at once."""
        self._left = True
        if self._keeper is not None:
            await self._keeper.stop()
        lease = self.lease
        if lease is not None and drained and not lease.lost:
            await self._release_orphaned_claims(lease)
            await self._backend.workers.leave(lease.worker.id)

    async def _release_orphaned_claims(self, lease: Lease) -> None:
        """Hand back what a claim took that was cut off by the stop."""
        renewal = await asyncio.to_thread(self._backend.workers.renew, lease.worker.id)
        for claim in await self._backend.claims.adopt(lease.worker, renewal.owned):
            await self._backend.claims.settle(claim, Released(), None)

    def _may_renew(self) -> bool:
        limit = self._options.give_up_blocked_after
        if limit is None or self._watch is None:
            return True
        return self._watch.blocked_for() < limit

    def _renewed(self, lease: Lease, renewal: Renewal) -> None:
        if lease is not self.lease or self._left:
            return
        if not renewal.alive:
            self._fenced(lease)
            return
        for execution_id in renewal.cancelled:
            self._slots.interrupt(execution_id, Interruption.CANCELLED)
        self._owned = renewal.owned

    def _fenced(self, lease: Lease) -> None:
        logger.error(
            "worker %s was declared dead (frozen or cut off for longer than its lease "
            "of %.3g s): it drops what it ran and continues under a new identity",
            lease.worker.id,
            lease.ttl,
        )
        self.lease = None
        self._slots.interrupt_all(Interruption.LOST)
        self._spawn(self._rejoin())

    async def _rejoin(self) -> None:
        backoff = Backoff(self._clock.random)
        while not self._left and self._watch is not None:
            try:
                await self.join(self._watch)
            except WorchflowError as error:
                pause = backoff.pause()
                logger.warning("%s; joining again in %.1f s", error, pause)
            except Exception:
                # Without an identity this worker would do nothing forever.
                pause = backoff.pause()
                logger.exception("joining failed; joining again in %.1f s", pause)
            else:
                logger.info("the worker continues with a new identity")
                return
            await asyncio.sleep(pause)

    def _hinted(self, hint: WorkerHint, execution_id: str) -> None:
        if hint is WorkerHint.WOKEN:
            self._slots.woken(execution_id)
        elif execution_id in self._slots.ids and execution_id not in self._asking:
            self._asking.add(execution_id)
            self._spawn(self._cancel_if_asked(execution_id))

    async def _cancel_if_asked(self, execution_id: str) -> None:
        """A hint may be old or somebody's mistake: the store says what is wanted."""
        try:
            stored = await self._backend.executions.get(execution_id)
        except StoreUnavailable:
            return  # the next renewal tells
        finally:
            self._asking.discard(execution_id)
        if stored is not None and stored.cancel_requested:
            self._slots.interrupt(execution_id, Interruption.CANCELLED)
