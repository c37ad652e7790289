"""The workers of one backend: their leases, and the file locks that show their end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from ...foundations.errors import StoreUnavailable
from ..contract.workers import WorkerStore
from . import worker_sql
from .files import FileLock, remove_files
from .times import lease_now
from .writer import one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ...model.options import BackendOptions
    from ...model.records import WorkerRecord, WorkerSeen
    from ..contract.workers import OnHint, Renewal
    from .claims import Claims
    from .loop_binding import LoopBinding, Opened

_join = one_by_one(worker_sql.join)
_leave = one_by_one(worker_sql.leave)
_reap = one_by_one(worker_sql.reap)


class Workers(WorkerStore):
    """The workers that joined through one backend, and a look at all others."""

    def __init__(self, opened: Opened, claims: Claims, options: BackendOptions) -> None:
        self._opened = opened
        self._claims = claims
        self._runtime = options.runtime
        self._lease = round(options.lease_ttl * 1000)
        self._locks: dict[str, FileLock] = {}

    @override
    async def join(self, worker: WorkerRecord, on_hint: OnHint) -> None:
        binding = self._opened()
        await self._lock_for(binding, worker.id)
        request = worker_sql.JoinRequest(worker=worker, lease=self._lease)
        try:
            await binding.write(_join, request)
        except BaseException:
            # Not known to have joined: whoever sees its row may take it for dead.
            await asyncio.to_thread(self._end, binding, worker.id, known=False)
            raise
        binding.wakeup.add_worker(worker.id, on_hint)

    @override
    def renew(self, worker_id: str) -> Renewal:
        binding = self._opened()
        until = lease_now(self._runtime) + self._lease
        request = worker_sql.RenewRequest(worker_id=worker_id, lease_until=until)
        renewal = binding.shared.renew(
            worker_id,
            lambda connection: worker_sql.renew(connection, binding.prefix, request),
            timeout=self._lease / 2000,
        )
        if not renewal.alive:
            self._end(binding, worker_id, known=True)
        return renewal

    @override
    async def leave(self, worker_id: str) -> None:
        binding = self._opened()
        unstarted = self._claims.forget(worker_id)
        request = worker_sql.LeaveRequest(worker_id=worker_id, unstarted=unstarted)
        binding.wakeup.remove_worker(worker_id)
        await binding.write(_leave, request)
        await asyncio.to_thread(self._end, binding, worker_id, known=True)

    @override
    async def seen(self) -> Sequence[WorkerSeen]:
        binding = self._opened()
        request = worker_sql.LookRequest(
            asked_at=lease_now(self._runtime),
            lease=self._lease,
            lock_of=_lock_of(binding),
        )
        return await binding.read(worker_sql.look, request)

    @override
    async def reap(self, worker_id: str, *, expired: bool) -> int:
        binding = self._opened()
        lock_of = _lock_of(binding)
        request = worker_sql.ReapRequest(
            worker_id=worker_id,
            asked_at=lease_now(self._runtime),
            expired=expired,
            lock_of=lock_of,
        )
        reaped = await binding.write(_reap, request)
        if lock_of is not None and reaped.workers:
            await asyncio.to_thread(remove_files, list(map(lock_of, reaped.workers)))
        return reaped.executions

    async def end_all(self, binding: LoopBinding) -> None:
        """Release the locks of workers that did not leave."""
        for worker_id in tuple(self._locks):
            await asyncio.to_thread(self._end, binding, worker_id, known=False)

    def forget_all(self) -> None:
        """Keep nothing, in a child: the locks are its parent's."""
        self._locks = {}

    async def _lock_for(self, binding: LoopBinding, worker_id: str) -> None:
        sidecars = binding.shared.sidecars
        if sidecars is None or worker_id in self._locks:
            return
        try:
            lock = await asyncio.to_thread(FileLock, sidecars.worker_lock(worker_id))
        except OSError as error:
            raise StoreUnavailable(
                f"no worker can join at {binding.shared.config.path}: its lock file "
                f"cannot be made: {error}"
            ) from error
        # Nobody else knows this id, so it is free.
        lock.acquire()
        self._locks[worker_id] = lock

    def _end(self, binding: LoopBinding, worker_id: str, *, known: bool) -> None:
        """Release a worker's lock; its file stays unless its end is known anyway."""
        binding.shared.end_lease(worker_id)
        lock = self._locks.pop(worker_id, None)
        if lock is not None:
            lock.close()
            if known:
                remove_files([lock.path])


def _lock_of(binding: LoopBinding) -> Callable[[str], Path] | None:
    sidecars = binding.shared.sidecars
    return None if sidecars is None else sidecars.worker_lock
