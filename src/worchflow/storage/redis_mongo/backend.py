"""The backend on Redis and MongoDB: its parts put together, opened and closed."""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ...foundations import forking
from ...foundations.errors import ConfigurationError
from ...foundations.loop_lock import LoopLock
from ...model.options import BackendOptions
from ..contract.backend import Backend
from .announcements import Announcements
from .children import Children
from .claims import Claims
from .committer import Committer
from .connections import GivenConnections, UrlConnections, longest_block
from .counting import Counting
from .documents import Documents
from .events import Events
from .executions import Executions
from .follow_ups import FollowUps
from .foreign_keys import ForeignKeys
from .keys import Keys
from .leadership import Leadership
from .leases import Leases
from .listing import Listing
from .mongo_gateway import MongoGateway
from .notices import Notices
from .open_parts import OpenParts
from .outbox import HAS_CHILDREN, HAS_WAITS
from .reaper import Reaper
from .redis_gateway import RedisGateway
from .retention import Retention
from .schema import prepare
from .scripts import Scripts
from .steps import Steps
from .store_clock import StoreClock
from .stores import Stores
from .sweeper import Sweeper
from .upkeep import Upkeep
from .waits import Waits
from .wake_ups import WakeUps
from .workers import Workers
from .write_behind import WriteBehindQueue

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.database import Database

    from .connections import Connections
    from .redis_gateway import RedisClient


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
        """A backend with its own clients; `ConfigurationError` for a bad URL.

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
    async def open(self, *, migrate: bool = False) -> None:
        async with self._changing.here():
            if self._parts is not None and self._parts.loop.is_closed():
                # Its tasks and connections have ended with it.
                self._parts.lease_store.close()
                self._parts, self._opened = None, 0
            if self._opened == 0:
                self._parts = await self._open(migrate=migrate)
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

    async def _open(self, *, migrate: bool) -> OpenParts:
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
        write_behind = WriteBehindQueue(redis, scripts, foreign_keys, options.runtime)
        stores = Stores(
            options=options,
            keys=keys,
            documents=documents,
            scripts=scripts,
            clock=StoreClock(mongo, options.runtime.monotonic),
            mongo=mongo,
            redis=redis,
            committer=Committer(mongo, options, documents.id_field),
            write_behind=write_behind,
            foreign_keys=foreign_keys,
        )
        try:
            await stores.clock.refresh()
            await prepare(stores, migrate=migrate)
            return self._put_together(stores)
        except BaseException:
            await write_behind.close()
            await self._connections.close()
            raise

    def _put_together(self, stores: Stores) -> OpenParts:
        counting, leadership = Counting(stores), Leadership(stores)
        listing, steps = Listing(stores), Steps(stores)
        wake_ups = WakeUps(stores)
        having_waits = Announcements(stores, HAS_WAITS, attrgetter("has_waits"))
        having_children = Announcements(
            stores, HAS_CHILDREN, attrgetter("has_children")
        )
        waits = Waits(stores, steps, wake_ups, having_waits)
        events = Events(stores, waits)
        follow_ups = FollowUps(stores, events, wake_ups)
        executions = Executions(stores, counting, follow_ups)
        announced = (having_waits, having_children)
        claims = Claims(stores, executions, steps, announced, follow_ups)
        notices = Notices(stores, claims.wake)
        lease_store = self._connections.lease_store(stores.mongo)
        return OpenParts(
            loop=asyncio.get_running_loop(),
            stores=stores,
            lease_store=lease_store,
            executions=executions,
            listing=listing,
            counting=counting,
            retention=Retention(stores, counting),
            steps=steps,
            waits=waits,
            events=events,
            children=Children(stores, executions, having_children),
            claims=claims,
            workers=Workers(
                stores,
                leases=Leases(stores, lease_store),
                claims=claims,
                listing=listing,
                notices=notices,
                reaper=Reaper(stores, executions, counting, follow_ups),
            ),
            leadership=leadership,
            sweeping=Sweeper(
                stores, executions, counting, follow_ups, events, leadership
            ),
            notices=notices,
            upkeep=Upkeep(stores, claims.claimers),
        )

    async def _close(self, parts: OpenParts) -> None:
        try:
            await parts.claims.close()
            await parts.upkeep.close()
            await parts.notices.close()
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

    # -- subjects

    @property
    @override
    def executions(self) -> Executions:
        return self._open_parts.executions

    @property
    @override
    def listing(self) -> Listing:
        return self._open_parts.listing

    @property
    @override
    def counting(self) -> Counting:
        return self._open_parts.counting

    @property
    @override
    def retention(self) -> Retention:
        return self._open_parts.retention

    @property
    @override
    def steps(self) -> Steps:
        return self._open_parts.steps

    @property
    @override
    def waits(self) -> Waits:
        return self._open_parts.waits

    @property
    @override
    def events(self) -> Events:
        return self._open_parts.events

    @property
    @override
    def children(self) -> Children:
        return self._open_parts.children

    @property
    @override
    def claims(self) -> Claims:
        return self._open_parts.claims

    @property
    @override
    def workers(self) -> Workers:
        return self._open_parts.workers

    @property
    @override
    def leadership(self) -> Leadership:
        return self._open_parts.leadership

    @property
    @override
    def sweeping(self) -> Sweeper:
        return self._open_parts.sweeping

    @property
    @override
    def notices(self) -> Notices:
        return self._open_parts.notices
