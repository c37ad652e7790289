"""Backends on stores that a URL of ours cannot name: a cluster, a watched master."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pymongo import AsyncMongoClient, MongoClient
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel

from worchflow import open_backend
from worchflow.model.options import BackendOptions
from worchflow.storage.contract.backend import Backend
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.redis_gateway import RedisClient

CLUSTER, SENTINEL = "cluster://", "sentinel://"


def open_stores(stores: tuple[str, ...], options: BackendOptions) -> Backend:
    """A backend, with clients as a user would make them where no URL will do."""
    if not stores[0].startswith((CLUSTER, SENTINEL)):
        return open_backend(*stores, options=options)
    redis_url, mongo_url = stores
    milliseconds = int(options.timeout * 1000)
    mongo: AsyncMongoClient[Any] = AsyncMongoClient(
        mongo_url, serverSelectionTimeoutMS=milliseconds
    )
    lease: MongoClient[Any] = MongoClient(mongo_url)
    redis, others = _redis(redis_url, options.timeout)
    return _ClosingItsClients(
        redis=redis,
        db=mongo.get_default_database(),
        lease_db=lease.get_default_database(),
        options=options,
        closing=[redis.aclose, *(o.aclose for o in others), mongo.close],
        lease=lease,
    )


class _ClosingItsClients(RedisMongoBackend):
    """Closes the user's clients when it is closed, which a user does himself."""

    def __init__(
        self,
        *,
        closing: Sequence[Callable[[], Awaitable[None]]],
        lease: MongoClient[Any],
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._closing = closing
        self._lease = lease

    async def close(self) -> None:
        await super().close()
        if self._parts is None:
            for close in self._closing:
                await close()
            await asyncio.to_thread(self._lease.close)


def _redis(url: str, timeout: float) -> tuple[RedisClient, Sequence[Redis]]:
    """The client, and those that it asks for the master."""
    if url.startswith(CLUSTER):
        nodes = [ClusterNode(*each) for each in _hosts(url.removeprefix(CLUSTER))]
        return RedisCluster(startup_nodes=nodes, socket_timeout=timeout), ()
    hosts, _, name = url.removeprefix(SENTINEL).partition("/")
    sentinel = Sentinel(_hosts(hosts), socket_timeout=timeout)
    return sentinel.master_for(name), sentinel.sentinels


def _hosts(text: str) -> list[tuple[str, int]]:
    pairs = (each.rpartition(":") for each in text.split(","))
    return [(host, int(port)) for host, _, port in pairs]
