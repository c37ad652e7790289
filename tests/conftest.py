"""Fixtures of every tier: real servers, a database and a prefix of one's own."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pymongo
import pytest
import redis
from blockbuster import BlockBusterFunction, blockbuster_ctx
from coverage import Coverage

import worchflow.storage.redis_mongo.backend  # noqa: F401  # reads files, so before a loop
from tests.servers import MongoServer, RedisServer, Server, ServerNotFoundError
from tests.topologies import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ServerT = TypeVar("ServerT", bound=Server | Topology)

REDIS_URL_VARIABLE = "WORCHFLOW_TEST_REDIS_URL"
MONGO_URL_VARIABLE = "WORCHFLOW_TEST_MONGO_URL"

# Where a blocking call of the library inside an event loop fails the test.
GUARDED_TIERS = frozenset({"unit", "conformance", "scenarios"})

DRIVERS_BLOCK_IN = (
    ("pymongo/pool_options.py", "get_container_env_info"),
    ("redis/utils.py", "get_lib_version"),
)


# A shell ignores it for what it starts in the background, and so would every program
# that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

FIRST = "faults"
"""The tier with the longest tests: at the end one process would be left with them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST not in item.path.parts)


def make_or_skip(make: Callable[[], ServerT]) -> ServerT:
    """Skip the test without a binary; fail where CI promises one."""
    try:
        return make()
    except ServerNotFoundError as error:
        if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
            pytest.fail(f"CI must run this test, but {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis per test process, shared: never stop, kill or flush it."""
    with make_or_skip(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[MongoServer]:
    """One MongoDB per test process, shared: never stop, kill or pause it."""
    with make_or_skip(MongoServer) as server:
        yield server


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start servers of the test's own, to be killed at will; see `RedisServer`."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            make_or_skip(lambda: RedisServer(**options))
        )


@pytest.fixture
def start_mongo() -> Iterator[Callable[..., MongoServer]]:
    """Start servers of the test's own, to be killed at will; see `MongoServer`."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            make_or_skip(lambda: MongoServer(**options))
        )


@pytest.fixture
def prefix() -> str:
    """A queue prefix that no other test uses."""
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def redis_url(request: pytest.FixtureRequest, prefix: str) -> Iterator[str]:
    """The URL of a real Redis; this prefix's keys are removed afterwards."""
    url = os.environ.get(REDIS_URL_VARIABLE)
    if not url:
        url = request.getfixturevalue("redis_server").url
    yield url
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(match=f"*{prefix}*", count=1000):
            client.delete(key)


@pytest.fixture
def mongo_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database on a real MongoDB, dropped afterwards."""
    database = f"worchflow_test_{uuid4().hex[:12]}"
    url = os.environ.get(MONGO_URL_VARIABLE)
    if url:
        url = urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
    else:
        url = request.getfixturevalue("mongo_server").database_url(database)
    yield url
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(url) as client:
        client.drop_database(database)


class _Forgotten(logging.Handler):
    """Keeps what asyncio says about errors that nobody looked at."""

    lines: ClassVar[list[str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "was never retrieved" in record.getMessage():
            self.lines.append(self.format(record))


logging.getLogger("asyncio").addHandler(_Forgotten())


@pytest.fixture(autouse=True)
def _no_forgotten_errors() -> Iterator[None]:
    """Fail a test during which asyncio says that an error was never retrieved.

    It may have come from an earlier test: asyncio says it when the task is freed.
    """
    yield
    lines, _Forgotten.lines[:] = _Forgotten.lines[:], []
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def _allow_lock_of_coverage(acquire: BlockBusterFunction) -> None:
    """Let the measuring of coverage wait for its own lock, in whatever it measures.

    Its tracer takes that lock when a thread first enters a file, on any line of ours.
    """
    collector = getattr(Coverage.current(), "_collector", None)
    lock = getattr(collector, "data_lock", None)
    if lock is None:
        return
    others = acquire.can_block_predicate

    def allowed(taken: object, *args: Any, **kwargs: Any) -> bool:
        return taken is lock or others(taken, *args, **kwargs)

    acquire.deactivate()
    acquire.can_block_predicate = allowed
    acquire.activate()


@pytest.fixture(autouse=True)
def _no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which the library blocks the event loop.

    The marker `allow_blocking(reason)` turns it off for one test.
    """
    tier = request.path.relative_to(request.config.rootpath / "tests").parts[0]
    if tier not in GUARDED_TIERS or request.node.get_closest_marker("allow_blocking"):
        yield
        return
    with blockbuster_ctx("worchflow") as guard:
        _allow_lock_of_coverage(guard.functions["threading.Lock.acquire"])
        # The drivers look at files when they connect, which is theirs to change.
        for blocking in guard.functions.values():
            for file, function in DRIVERS_BLOCK_IN:
                blocking.can_block_in(file, function)
        yield
