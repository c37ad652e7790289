"""The backend on Redis and MongoDB: its parts put together, opened and closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ...foundations import forking
from ...foundations.errors import ConfigurationError
from ...foundations.loop_lock import LoopLock
from ...model.options import BackendOptions
from ...model.settlement import Released
from ..contract.backend import Backend
from .claimer import Claimer
from .committer import Committer
from .connections import GivenConnections, UrlConnections, longest_block
from .counting import Counting
from .documents import Documents
from .election import Election
from .executions import Executions
from .foreign_keys import ForeignKeys
from .hints import Hints
from .keys import Keys
from .leases import Leases
from .listing import Listing
from .mongo_gateway import MongoGateway
from .open_parts import OpenParts
from .ownership import begin
from .pruning import Pruning
from .reaper import Reaper
from .redis_gateway import RedisGateway
from .roster import workers_seen
from .schema import prepare
from .scripts import Scripts
from .settling import Settling
from .steps import Steps
from .store_clock import StoreClock
from .stores import Stores
from .sweeper import Sweeper
from .unserved import Unserved
from .upkeep import Upkeep
from .write_behind import WriteBehindQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.database import Database

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
    from .connections import Connections
    from .redis_gateway import RedisClient

LEAVE_TIMEOUT = 1.0
"""Seconds to wait for Redis when a worker leaves; what it misses is repaired."""


class RedisMongoBackend(Backend):
    """MongoDB decides, Redis distributes and wakes.

    Made from the user's own clients, which it never closes, or by `connect` from two
    URLs, whose clients it always closes. Making it does no I/O.

    Clients of the user's belong to their event loop. The lease is then renewed from
    `lease_db`, a sync pymongo `Database`, or without one on that loop: blocked for
    longer than the lease's TTL, such a loop loses what its worker runs.
    """

    def __init__(
        self,
        *,
        redis: RedisClient,
        db: AsyncDatabase[Any],
        options: BackendOptions | None = None,
        lease_db: Database[Any] | None = None,
    ) -> None:
        options = options or BackendOptions()
        connections = GivenConnections(redis, db, lease_db, options)
        self._set_up(connections, options)

    @classmethod
    def connect(
        cls, redis_url: str, mongo_url: str, options: BackendOptions | None = None
    ) -> RedisMongoBackend:
        """A backend with clients of its own; `ConfigurationError` for a bad URL.

        Without a database in the MongoDB URL it is `worchflow`.
        """
        options = options or BackendOptions()
        return cls._with(UrlConnections(redis_url, mongo_url, options), options)

    @classmethod
    def _with(
        cls, connections: Connections, options: BackendOptions
    ) -> RedisMongoBackend:
        backend = cls.__new__(cls)
        backend._set_up(connections, options)  # noqa: SLF001
        return backend

    def _set_up(self, connections: Connections, options: BackendOptions) -> None:
        self.options = options
        self._connections = connections
        self._opened = 0
        self._changing = LoopLock()
        self._parts: OpenParts | None = None
        self._parts_of_parent: OpenParts | None = None
        forking.watch(self)

    def after_fork(self) -> None:
        """Be closed in the child: what connects the parent is kept and never used."""
        self._connections.after_fork()
        self._parts_of_parent, self._parts, self._opened = self._parts, None, 0

    # -- lifecycle

    @override
    async def open(self) -> None:
        async with self._changing.here():
            if self._parts is not None and self._parts.loop.is_closed():
                # Its tasks and connections have ended with it.
                self._parts.lease_store.close()
                self._parts, self._opened = None, 0
            if self._opened == 0:
                self._parts = await self._open()
            self._opened += 1

    @override
    async def close(self) -> None:
        async with self._changing.here():
            if self._opened == 0:
                return
            self._opened -= 1
            if self._opened == 0 and self._parts is not None:
                parts, self._parts = self._parts, None
                await self._close(parts)

    @override
    async def check(self) -> None:
        stores = self._open_parts.stores
        await stores.mongo.now()
        await stores.redis.ping()

    @override
    def clone(self) -> RedisMongoBackend:
        return self._with(self._connections.clone(), self.options)

    @property
    @override
    def location(self) -> str:
        return f"{self._connections.location} (prefix {self.options.queue_prefix})"

    async def _open(self) -> OpenParts:
        options, clients = self.options, self._connections.open()
        keys, documents = Keys(options.queue_prefix), Documents(options)
        scripts = Scripts(keys, shared=options.ts_compat)
        mongo = MongoGateway(clients.db, options.timeout)
        redis = RedisGateway(
            clients.redis,
            clients.blocking,
            options.timeout,
            longest_block(clients.blocking),
        )
        foreign_keys = ForeignKeys()
        write_behind = WriteBehindQueue(redis, scripts, foreign_keys)
        stores = Stores(
            options=options,
            keys=keys,
            documents=documents,
            scripts=scripts,
            clock=StoreClock(mongo),
            mongo=mongo,
            redis=redis,
            committer=Committer(mongo, options.timeout, documents.id_field),
            write_behind=write_behind,
            foreign_keys=foreign_keys,
        )
        try:
            await stores.clock.refresh()
            await prepare(stores)
            return self._put_together(stores)
        except BaseException:
            await write_behind.close()
            await self._connections.close()
            raise

    def _put_together(self, stores: Stores) -> OpenParts:
        counting, election = Counting(stores), Election(stores)
        steps, executions = Steps(stores), Executions(stores, counting)
        lease_store = self._connections.lease_store(stores.mongo)
        claimers: dict[str, Claimer] = {}

        def released(worker_id: str, execution_id: str, answer: int) -> None:
            if (claimer := claimers.get(worker_id)) is not None:
                claimer.released(execution_id, answer)

        def on_ready(event: str | None) -> None:
            for claimer in list(claimers.values()):
                claimer.wake(event)

        return OpenParts(
            loop=asyncio.get_running_loop(),
            stores=stores,
            lease_store=lease_store,
            executions=executions,
            counting=counting,
            listing=Listing(stores),
            steps=steps,
            settling=Settling(stores, steps, released),
            leases=Leases(stores, lease_store),
            election=election,
            pruning=Pruning(stores, counting),
            reaper=Reaper(stores, executions, counting),
            sweeper=Sweeper(stores, executions, counting, election),
            hints=Hints(stores.redis, stores.keys, on_ready),
            claimers=claimers,
            upkeep=Upkeep(stores, claimers),
        )

    async def _close(self, parts: OpenParts) -> None:
        try:
            for claimer in parts.claimers.values():
                await claimer.close()
            await parts.upkeep.close()
            await parts.hints.close()
            await parts.stores.committer.close()
            await parts.stores.write_behind.close()
            await asyncio.to_thread(parts.lease_store.close)
        finally:
            await self._connections.close()

    @property
    def _open_parts(self) -> OpenParts:
        if self._parts is None:
            raise ConfigurationError("the backend is not open: await open() first")
        return self._parts

    # -- executions

    @override
    async def insert(self, executions: Sequence[NewExecution]) -> list[Inserted]:
        return await self._open_parts.executions.insert(executions)

    @override
    async def get(self, execution_id: str) -> StoredExecution | None:
        return await self._open_parts.executions.get(execution_id)

    @override
    async def steps(self, execution_id: str) -> list[StoredStep]:
        return await self._open_parts.steps.all(execution_id)

    @override
    async def workers(self) -> Sequence[WorkerSeen]:
        return await workers_seen(self._open_parts.stores)

    @override
    async def counts(self) -> dict[ExecutionStatus, int]:
        return await self._open_parts.counting.counts()

    @override
    async def cancel(
        self, execution_id: str, reason: str | None
    ) -> tuple[StoredExecution | None, bool]:
        return await self._open_parts.executions.cancel(execution_id, reason)

    @override
    async def retry(self, execution_id: str) -> tuple[StoredExecution | None, bool]:
        return await self._open_parts.executions.retry(execution_id)

    @override
    async def prune(self, status: ExecutionStatus, age: float, limit: int) -> int:
        return await self._open_parts.pruning.prune(status, age, limit)

    # -- claims

    @override
    async def join(
        self, worker: WorkerRecord, on_cancel: Callable[[str], None]
    ) -> None:
        parts = self._open_parts
        await parts.leases.join(worker)
        await parts.listing.remember(worker)
        await Unserved(parts.stores, worker).requeue_deferred()
        parts.hints.call_on_cancel(worker.id, on_cancel)
        self._claimer(worker)

    @override
    def renew(self, worker_id: str) -> Renewal:
        parts = self._open_parts
        renewal = parts.leases.renew(worker_id)
        if not renewal.alive:
            # Fenced: it goes on under another name, and what it took is reaped.
            parts.loop.call_soon_threadsafe(parts.forget, worker_id)
        return renewal

    @override
    async def leave(self, worker_id: str) -> None:
        parts = self._open_parts
        claimer = parts.claimers.pop(worker_id, None)
        if claimer is not None:
            for claim in await claimer.close():
                await parts.settling.settle(claim, Released(), None)
            await parts.stores.write_behind.flush(LEAVE_TIMEOUT)
        parts.hints.forget(worker_id)
        parts.forget(worker_id)
        await parts.reaper.end(worker_id)

    @override
    async def claim(
        self, worker: WorkerRecord, limit: int, wait: float
    ) -> Sequence[Claim]:
        return await self._claimer(worker).claim(limit, wait)

    @override
    async def claim_quarantined(self, worker: WorkerRecord) -> Claim | None:
        return await self._claimer(worker).claim_quarantined()

    @override
    async def begin(self, claim: Claim) -> bool:
        return await begin(self._open_parts.stores, claim)

    @override
    async def adopt(
        self, worker: WorkerRecord, execution_ids: frozenset[str]
    ) -> Sequence[Claim]:
        return await self._claimer(worker).adopt(execution_ids)

    @override
    async def checkpoint(self, claim: Claim, step: StoredStep) -> StoredStep:
        return await self._open_parts.steps.checkpoint(claim, step)

    @override
    async def settle(
        self, claim: Claim, settlement: Settlement, notice: Notice | None
    ) -> Settled:
        return await self._open_parts.settling.settle(claim, settlement, notice)

    @override
    async def reap(self, worker_id: str, *, expired: bool) -> int:
        return await self._open_parts.reaper.reap(expired=expired)

    @override
    async def sweep(self, worker_id: str) -> int:
        return await self._open_parts.sweeper.sweep(worker_id)

    @override
    async def elect(self, worker_id: str) -> bool:
        return await self._open_parts.election.holds(worker_id)

    @override
    def watch(
        self, execution_id: str, *, progress: bool = True
    ) -> AbstractAsyncContextManager[NoticeSubscription]:
        return self._open_parts.hints.watch(execution_id, progress=progress)

    # Last, for inside the class its name hides the built-in type.
    @override
    async def list(self, query: ExecutionQuery) -> StoredPage:
        return await self._open_parts.listing.page(query)

    def _claimer(self, worker: WorkerRecord) -> Claimer:
        parts = self._open_parts
        claimer = parts.claimers.get(worker.id)
        if claimer is None:
            claimer = Claimer(parts.stores, parts.executions, parts.steps, worker)
            parts.claimers[worker.id] = claimer
        return claimer
