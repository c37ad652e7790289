"""Backends on real servers, and the plain clients that look at what they wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import pymongo
import pytest
import redis
from pymongo import AsyncMongoClient
from pymongo.database import Database
from redis.asyncio import Redis

from tests.redis_mongo.commands import Commands
from worchflow.model.options import BackendOptions
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

Mongo = Database[dict[str, Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "redis_mongo" in item.path.parts:
            item.add_marker(pytest.mark.redis_mongo)


class OpenBackend(Protocol):
    """Opens a backend that is closed when the test ends.

    Without URLs it is on the shared servers; options are those of `BackendOptions`.
    """

    async def __call__(
        self, redis_url: str = "", mongo_url: str = "", **options: Any
    ) -> RedisMongoBackend: ...


@pytest.fixture
async def open_backend(
    request: pytest.FixtureRequest, prefix: str
) -> AsyncIterator[OpenBackend]:
    opened: list[RedisMongoBackend] = []

    async def open_backend(
        redis_url: str = "", mongo_url: str = "", **options: Any
    ) -> RedisMongoBackend:
        values: dict[str, Any] = {"queue_prefix": prefix, "timeout": 20.0} | options
        backend = RedisMongoBackend.connect(
            redis_url or request.getfixturevalue("redis_url"),
            mongo_url or request.getfixturevalue("mongo_url"),
            BackendOptions(**values),
        )
        await backend.open()
        opened.append(backend)
        return backend

    yield open_backend
    for backend in opened:
        await backend.close()


@pytest.fixture
async def backend(open_backend: OpenBackend) -> RedisMongoBackend:
    return await open_backend()


@pytest.fixture
async def counted(
    redis_url: str, mongo_url: str, prefix: str
) -> AsyncIterator[tuple[RedisMongoBackend, Commands]]:
    """A backend whose commands for MongoDB are counted."""
    commands = Commands()
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        mongo_url, event_listeners=[commands]
    )
    cache = Redis.from_url(redis_url)
    backend = RedisMongoBackend(
        redis=cache,
        db=client.get_default_database(),
        options=BackendOptions(queue_prefix=prefix, timeout=20.0),
    )
    await backend.open()
    yield backend, commands
    await backend.close()
    await cache.aclose()
    await client.close()


@pytest.fixture
def raw_redis(redis_url: str) -> Iterator[redis.Redis]:
    """What a process that knows only the wire formats has."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def raw_mongo(mongo_url: str) -> Iterator[Mongo]:
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongo_url, tz_aware=True) as client:
        yield client.get_default_database()
