"""The backend on one SQLite file: lifecycle, and one line for each promise."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...foundations import forking
from ...foundations.errors import ConfigurationError, StoreUnavailable
from ...foundations.loop_lock import LoopLock
from ...model.options import BackendOptions
from ..contract.backend import Backend
from . import accepting, listing, pruning, settling, steps, sweeping, workers
from .claiming import Claiming
from .connection import has_file
from .files import MEMORY, FileLock, remove_files
from .loop_binding import LoopBinding, read_all
from .peers import Interest
from .shared_database import DatabaseConfig, Memory
from .times import WallClockWatch, lease_now
from .writer import one_by_one

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from ...model.notices import Notice
    from ...model.records import (
        Claim,
        ExecutionQuery,
        ExecutionStatus,
        NewExecution,
        StoredExecution,
        StoredPage,
        StoredStep,
        WorkerRecord,
        WorkerSeen,
    )
    from ...model.settlement import Settled, Settlement
    from ..contract.backend import Inserted, NoticeSubscription, Renewal

logger = logging.getLogger("worchflow.storage.sqlite")

_cancel = one_by_one(accepting.cancel)
_retry = one_by_one(accepting.retry)
_prune = one_by_one(pruning.prune)
_join = one_by_one(workers.join)
_leave = one_by_one(workers.leave)
_reap = one_by_one(workers.reap)
_sweep = one_by_one(sweeping.sweep)
_ping = one_by_one(workers.ping)


class SQLiteBackend(Backend):
    """Everything in one database file, for several processes of one machine.

    `":memory:"` is a database of this backend and its clones, gone when the last of
    them is closed. Making a backend does no I/O.
    """

    def __init__(self, path: str | Path, options: BackendOptions | None = None) -> None:
        self.options = options or BackendOptions()
        in_memory = str(path) == MEMORY
        self._location = (
            MEMORY if in_memory else str(Path(path).expanduser().absolute())
        )
        self._config = DatabaseConfig(
            path=self._location,
            durability=self.options.durability,
            timeout=self.options.timeout,
            memory=Memory() if in_memory else None,
        )
        self._binding: LoopBinding | None = None
        self._opened = 0
        self._changing = LoopLock()
        self._claiming = Claiming()
        self._locks: dict[str, FileLock] = {}
        self._wall_clock = WallClockWatch()
        forking.watch(self)

    def after_fork(self) -> None:
        """Be closed in the child, where the threads of the database are not."""
        self._binding, self._opened = None, 0
        self._locks, self._claiming = {}, Claiming()

    @property
    def location(self) -> str:
        """The path of the file."""
        return self._location

    def clone(self) -> SQLiteBackend:
        """A second backend on the same database, for another event loop."""
        clone = SQLiteBackend(self._location, self.options)
        clone._config = self._config
        return clone

    def make_nothing(self) -> bool:
        """Be an empty database in memory if the file is not there."""
        if self._config.in_memory or has_file(Path(self._location)):
            return False
        self._config = replace(self._config, path=MEMORY, memory=Memory())
        return True

    async def open(self) -> None:
        """Open the file, making folders, file and tables if need be."""
        async with self._changing.here():
            if self._binding is not None and self._binding.dispatcher.loop.is_closed():
                await self._release()
            if self._binding is None:
                self._binding = await LoopBinding.open(
                    self._config, self.options.queue_prefix
                )
                logger.info("data is kept in %s", self.location)
            elif self._binding.dispatcher.loop is not asyncio.get_running_loop():
                raise self._wrong_loop()
            self._opened += 1

    async def close(self) -> None:
        """Undo one `open`; the last closes the file once everything is written."""
        async with self._changing.here():
            if self._binding is None:
                return
            self._opened -= 1
            if self._opened:
                return
            await self._release()

    async def _release(self) -> None:
        binding, self._binding, self._opened = self._binding, None, 0
        if binding is None:
            return
        await binding.close()
        self._claiming = Claiming()
        for worker_id in tuple(self._locks):
            await asyncio.to_thread(self._end_worker, binding, worker_id, known=False)

    async def check(self) -> None:
        """Take the write lock once."""
        await self._ready.write(_ping, None)

    async def insert(self, executions: Sequence[NewExecution]) -> list[Inserted]:
        """Accept executions in one transaction."""
        if not executions:
            return []
        size = sum(len(execution.event_data) for execution in executions)
        return await self._ready.write(accepting.insert, executions, size=size)

    async def get(self, execution_id: str) -> StoredExecution | None:
        """The execution, or None."""
        return await self._ready.read(accepting.get, execution_id)

    async def steps(self, execution_id: str) -> list[StoredStep]:
        """Everything recorded for it."""
        return await self._ready.read(steps.steps_of, execution_id)

    async def list(self, query: ExecutionQuery) -> StoredPage:
        """One page, newest first."""
        return await self._ready.read(listing.page, query)

    async def counts(self) -> dict[ExecutionStatus, int]:
        """Executions by status, exactly."""
        return await self._ready.read(read_all(listing.counts), None)

    async def cancel(
        self, execution_id: str, reason: str | None
    ) -> tuple[StoredExecution | None, bool]:
        """End it, or flag it for its worker."""
        request = accepting.CancelRequest(id=execution_id, reason=reason)
        return await self._ready.write(_cancel, request)

    async def retry(self, execution_id: str) -> tuple[StoredExecution | None, bool]:
        """Queue it again."""
        return await self._ready.write(_retry, execution_id)

    async def prune(self, status: ExecutionStatus, age: float, limit: int) -> int:
        """Remove what ended long ago, in one transaction."""
        request = pruning.PruneRequest(
            status=status, age=round(age * 1000), limit=limit
        )
        return await self._ready.write(_prune, request)

    async def join(
        self, worker: WorkerRecord, on_cancel: Callable[[str], None]
    ) -> None:
        """Lock the worker's file, then register it with a lease."""
        binding = self._ready
        await self._lock_for(binding, worker.id)
        request = workers.JoinRequest(worker=worker, lease=self._lease_milliseconds)
        try:
            await binding.write(_join, request)
        except BaseException:
            # Not known to have joined: whoever sees its row may take it for dead.
            await asyncio.to_thread(self._end_worker, binding, worker.id, known=False)
            raise
        binding.wakeup.add_worker(worker.id, on_cancel)

    def renew(self, worker_id: str) -> Renewal:
        """Renew the lease on the lease thread's own connection."""
        binding = self._ready
        request = workers.RenewRequest(
            worker_id=worker_id, lease=self._lease_milliseconds
        )
        renewal = binding.shared.renew(workers.renew, binding.prefix, request)
        if not renewal.alive:
            self._end_worker(binding, worker_id, known=True)
        return renewal

    async def leave(self, worker_id: str) -> None:
        """End a worker; its file lock tells the others at once."""
        binding = self._ready
        unstarted = self._claiming.forget(worker_id)
        request = workers.LeaveRequest(worker_id=worker_id, unstarted=unstarted)
        binding.wakeup.remove_worker(worker_id)
        await binding.write(_leave, request)
        await asyncio.to_thread(self._end_worker, binding, worker_id, known=True)

    async def claim(
        self, worker: WorkerRecord, limit: int, wait: float
    ) -> Sequence[Claim]:
        """Own up to `limit` executions, waiting for the first."""
        if limit < 1:
            return ()
        return await self._claiming.claim(self._ready, worker, limit, wait)

    async def claim_quarantined(self, worker: WorkerRecord) -> Claim | None:
        """Own one that has had too many deaths for `claim`."""
        return await self._claiming.claim_quarantined(self._ready, worker)

    async def begin(self, claim: Claim) -> bool:
        """Mark that its code begins."""
        return await self._claiming.begin(self._ready, claim)

    async def adopt(
        self, worker: WorkerRecord, execution_ids: frozenset[str]
    ) -> Sequence[Claim]:
        """The claims it already holds among the ids."""
        if not execution_ids:
            return ()
        return await self._claiming.adopt(self._ready, worker, execution_ids)

    async def checkpoint(self, claim: Claim, step: StoredStep) -> StoredStep:
        """Record a step; first write wins."""
        write = steps.StepWrite(claim=claim, step=step)
        return await self._ready.write(
            steps.checkpoint, write, size=len(step.result or "")
        )

    async def settle(
        self, claim: Claim, settlement: Settlement, notice: Notice | None
    ) -> Settled:
        """Release an execution while it is still owned."""
        request = settling.SettleRequest(
            claim=claim, settlement=settlement, notice=notice
        )
        return await self._ready.write(settling.settle, request)

    async def workers(self) -> Sequence[WorkerSeen]:
        """The workers that did not leave, by lease and file lock."""
        binding = self._ready
        sidecars = binding.shared.sidecars
        request = workers.LookRequest(
            lease=self._lease_milliseconds,
            lock_of=None if sidecars is None else sidecars.worker_lock,
        )
        return await binding.read(workers.look, request)

    async def reap(self, worker_id: str, *, expired: bool) -> int:
        """Take back what dead workers own."""
        binding = self._ready
        sidecars = binding.shared.sidecars
        request = workers.ReapRequest(
            worker_id=worker_id,
            asked_at=lease_now(),
            expired=expired,
            lock_of=None if sidecars is None else sidecars.worker_lock,
        )
        reaped = await binding.write(_reap, request)
        if sidecars is not None and reaped.workers:
            locks = [sidecars.worker_lock(id_) for id_ in reaped.workers]
            await asyncio.to_thread(remove_files, locks)
        return reaped.executions

    async def sweep(self, worker_id: str) -> int:  # noqa: ARG002 - the contract's
        """Put off what nobody serves; bring forward what a wrong clock put off."""
        return await self._ready.write(_sweep, self._wall_clock.may_be_back())

    async def elect(self, worker_id: str) -> bool:
        """Whether it is the one that started first of those that are not dead."""
        return await self._ready.read(workers.is_first, worker_id)

    @asynccontextmanager
    async def watch(
        self, execution_id: str, *, progress: bool = True
    ) -> AsyncGenerator[NoticeSubscription, None]:
        """Subscribe to notices about one execution."""
        binding = self._ready
        with binding.wakeup.watching_one(
            execution_id, progress=progress
        ) as subscription:
            peers = binding.shared.peers
            interest = Interest.PROGRESS if progress else Interest.ENDS
            if peers is not None and not peers.asked_for(interest):
                await asyncio.to_thread(peers.ask_for, interest)
            yield subscription

    @property
    def _ready(self) -> LoopBinding:
        binding = self._binding
        if binding is None:
            raise ConfigurationError(
                f"the backend on {self.location} is not open: call open() first"
            )
        return binding

    @property
    def _lease_milliseconds(self) -> int:
        return round(self.options.lease_ttl * 1000)

    def _wrong_loop(self) -> ConfigurationError:
        return ConfigurationError(
            f"the backend on {self.location} belongs to another event loop: use "
            "clone() to get one for this loop"
        )

    async def _lock_for(self, binding: LoopBinding, worker_id: str) -> None:
        sidecars = binding.shared.sidecars
        if sidecars is None or worker_id in self._locks:
            return
        try:
            lock = await asyncio.to_thread(FileLock, sidecars.worker_lock(worker_id))
        except OSError as error:
            raise StoreUnavailable(
                f"no worker can join at {self.location}: its lock file cannot be made: "
                f"{error}"
            ) from error
        # Nobody else knows this id, so it is free.
        lock.acquire()
        self._locks[worker_id] = lock

    def _end_worker(self, binding: LoopBinding, worker_id: str, *, known: bool) -> None:
        """Release a worker's lock; its file stays unless its end is known anyway."""
        binding.shared.end_lease(worker_id)
        lock = self._locks.pop(worker_id, None)
        if lock is not None:
            lock.close()
            if known:
                remove_files([lock.path])
