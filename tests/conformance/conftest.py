"""One suite for every store: each test gets a way to open backends on one of them."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.drivers import Directly, backend_on
from tests.simulation.mongo_server import MongoServer
from tests.simulation.redis_server import RedisServer
from tests.stores import MakeBackend
from worchflow.model.options import BackendOptions
from worchflow.storage.contract.backend import Backend
from worchflow.storage.sqlite.backend import SQLiteBackend

Make = Callable[[BackendOptions], Backend]


@dataclass(frozen=True)
class Store:
    """A store and how to reach it."""

    kind: str
    make: Make


def _sqlite_file(folder: Path) -> Make:
    path = folder / "worchflow.db"

    def make(options: BackendOptions) -> Backend:
        return SQLiteBackend(path, options)

    return make


def _sqlite_memory() -> Make:
    made: list[SQLiteBackend] = []

    def make(options: BackendOptions) -> Backend:
        backend = SQLiteBackend(":memory:", options)
        if made:
            # As `clone` does, but with options of its own.
            backend._config = made[0]._config
        made.append(backend)
        return backend

    return make


def _redis_mongo(request: pytest.FixtureRequest) -> Make:
    try:
        module = importlib.import_module("worchflow.storage.redis_mongo.backend")
    except ImportError as error:
        pytest.skip(f"the Redis and MongoDB store cannot be imported: {error}")
    redis_url = request.getfixturevalue("redis_url")
    mongo_url = request.getfixturevalue("mongo_url")

    def make(options: BackendOptions) -> Backend:
        backend: Backend = module.RedisMongoBackend.connect(
            redis_url, mongo_url, options
        )
        return backend

    return make


def _simulated() -> Make:
    """What tests/simulation runs on: held to the same contract as the real ones."""
    mongo = MongoServer(lambda: datetime.now(UTC).replace(tzinfo=None))
    transport = Directly(mongo, RedisServer(lambda: time.time() * 1000))

    def make(options: BackendOptions) -> Backend:
        return backend_on(transport, options)

    return make


@pytest.fixture(
    params=[
        "sqlite_file",
        "sqlite_memory",
        "simulated",
        pytest.param("redis_mongo", marks=pytest.mark.redis_mongo),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each store in turn."""
    kind: str = request.param
    if kind == "sqlite_file":
        return Store(kind, _sqlite_file(tmp_path))
    if kind == "sqlite_memory":
        return Store(kind, _sqlite_memory())
    if kind == "simulated":
        return Store(kind, _simulated())
    return Store(kind, _redis_mongo(request))


@pytest.fixture
async def make_backend(store: Store, prefix: str) -> AsyncIterator[MakeBackend]:
    """How to open backends on the store."""
    opened: list[Backend] = []

    async def make(**options: Any) -> Backend:
        values: dict[str, Any] = {"queue_prefix": prefix, "timeout": 20.0}
        if store.kind == "sqlite_file":
            # Backends that write differently share no thread: as in two processes.
            values["durability"] = ("strict", "fast")[len(opened) % 2]
        backend = store.make(BackendOptions(**values | options))
        await backend.open()
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        await backend.close()


@pytest.fixture
async def backend(make_backend: MakeBackend) -> Backend:
    """One backend, when one is enough."""
    return await make_backend()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whoever opened a backend has closed it, threads and all."""
    before = set(threading.enumerate())
    yield
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith("worchflow-")
    ]
    assert left == []


@pytest.fixture(params=["same backend", "two backends"])
async def pair(
    request: pytest.FixtureRequest, make_backend: MakeBackend
) -> tuple[Backend, Backend]:
    """Who acts and who waits."""
    first = await make_backend()
    if request.param == "same backend":
        return first, first
    return first, await make_backend()
