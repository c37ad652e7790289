"""Where the clients come from: made from URLs, or handed in by the user."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import ConfigurationError as PyMongoConfigurationError
from pymongo.errors import InvalidURI, PyMongoError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ...foundations.errors import ConfigurationError
from ...foundations.masking import without_user
from .errors import describe
from .leases import OnTheLoop, OwnConnection
from .taking import MAX_BLOCK_SECONDS

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.database import Database

    from ...model.options import BackendOptions
    from .leases import LeaseStore
    from .mongo_gateway import MongoGateway
    from .redis_gateway import RedisClient

DEFAULT_DATABASE = "worchflow"
REDIS_CONNECTIONS = 16
BAD_URL = (
    InvalidURI,
    PyMongoConfigurationError,
    UserWarning,
    ValueError,
    TypeError,
)
"""What pymongo says of a URL, or of options in it, that it cannot use."""
MIN_CONNECTIONS = 4
"""Waiting for work, moving ids, listening, and one to spare."""


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of one open backend."""

    redis: RedisClient
    blocking: RedisClient
    """For BLMOVE, which answers later than every other command."""
    db: AsyncDatabase[Any]


class Connections(Protocol):
    """Makes and closes the clients of a backend."""

    location: str

    def open(self) -> Clients:
        """The clients; makes no connection yet."""
        ...

    def lease_store(self, mongo: MongoGateway) -> LeaseStore:
        """The connection of the leases."""
        ...

    async def close(self) -> None:
        """Close what was made here and nothing else."""
        ...

    def clone(self) -> Connections:
        """The same for another event loop, or `ConfigurationError`."""
        ...

    def after_fork(self) -> None:
        """Leave what is open to the parent, in a forked child."""
        ...


class UrlConnections:
    """Clients made from two URLs, always closed again."""

    def __init__(self, redis_url: str, mongo_url: str, options: BackendOptions) -> None:
        self._redis_url = redis_url
        self._mongo_url = mongo_url
        self._options = options
        self._clients: Clients | None = None
        self._clients_of_parent: Clients | None = None
        clients = self._make()
        self.location = " + ".join(
            (_location(redis_url), _mongo_location(mongo_url, clients.db.name))
        )

    def open(self) -> Clients:
        """The clients; makes no connection yet."""
        self._clients = self._make()
        return self._clients

    def lease_store(self, mongo: MongoGateway) -> LeaseStore:
        """Its own sync client."""
        del mongo
        timeout = self._options.lease_ttl / 2

        def make() -> Database[Any]:
            client: MongoClient[Any] = MongoClient(
                self._mongo_url,
                retryWrites=False,
                maxPoolSize=2,
                serverSelectionTimeoutMS=int(timeout * 1000),
                connectTimeoutMS=int(timeout * 1000),
            )
            return client.get_default_database(DEFAULT_DATABASE)

        return OwnConnection(make, timeout, close_client=True)

    async def close(self) -> None:
        """Close both clients, even if one of them fails to."""
        clients, self._clients = self._clients, None
        if clients is None:
            return
        for close in (clients.redis.aclose, clients.blocking.aclose):
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(self._options.timeout):
                    await close()
        # The first try says goodbye to the server, the second does not wait for it.
        for seconds in (min(2.0, self._options.timeout), 10.0):
            with suppress(PyMongoError, OSError, TimeoutError):
                async with asyncio.timeout(seconds):
                    await clients.db.client.close()
                    return

    def clone(self) -> Connections:
        """The same for another event loop."""
        return UrlConnections(self._redis_url, self._mongo_url, self._options)

    def after_fork(self) -> None:
        """Keep the parent's clients, so that the child does not end them."""
        self._clients_of_parent, self._clients = self._clients, None

    def _make(self) -> Clients:
        return Clients(
            self._redis(self._options.timeout),
            self._redis(self._options.timeout + MAX_BLOCK_SECONDS),
            self._database(),
        )

    def _redis(self, timeout: float) -> Redis:
        try:
            # Its options are untyped in redis-py.
            client_class: Any = Redis
            # A connection over a Unix socket does not know this option.
            is_local = self._redis_url.startswith("unix://")
            tcp: dict[str, Any] = {} if is_local else {"socket_keepalive": True}
            client: Redis = client_class.from_url(
                self._redis_url,
                **tcp,
                socket_timeout=timeout,
                socket_connect_timeout=min(5.0, self._options.timeout),
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
                max_connections=REDIS_CONNECTIONS,
            )
            # An option of the URL that nobody knows shows here, not at the first call.
            pool: Any = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError, RedisError) as error:
            example = "Redis URL", "redis://host:6379/0"
            raise _no_url("redis_url", self._redis_url, error, *example) from None
        _check_number(self._redis_url)
        _check_pool(client, "redis_url=")
        return client

    def _database(self) -> AsyncDatabase[Any]:
        try:
            with warnings.catch_warnings():
                # pymongo only warns of an option that it does not know or understand.
                warnings.simplefilter("error", UserWarning)
                client: AsyncMongoClient[Any] = AsyncMongoClient(
                    self._mongo_url,
                    retryWrites=False,
                    serverSelectionTimeoutMS=int(self._options.timeout * 1000),
                    connectTimeoutMS=int(min(5.0, self._options.timeout) * 1000),
                    maxPoolSize=32,
                    appname="worchflow",
                )
            return client.get_default_database(DEFAULT_DATABASE)
        except BAD_URL as error:
            example = "MongoDB URL", "mongodb://host:27017/database"
            raise _no_url("mongo_url", self._mongo_url, error, *example) from None


class GivenConnections:
    """The user's own clients: used on their event loop and never closed."""

    def __init__(
        self,
        redis: RedisClient,
        db: AsyncDatabase[Any],
        lease_db: Database[Any] | None,
        options: BackendOptions,
    ) -> None:
        self._clients = Clients(redis, redis, db)
        self._lease_db = lease_db
        self._options = options
        self._is_in_use = self._is_of_parent = False
        _check_pool(redis, "redis=")
        self.location = f"the given Redis client + MongoDB database {db.name}"

    def open(self) -> Clients:
        """The clients, as they were given."""
        if self._is_of_parent:
            raise ConfigurationError(
                "the clients given as redis= and db= were in use when this process was "
                "forked, and do not work here: make them in each process, or give URLs"
            )
        self._is_in_use = True
        return self._clients

    def lease_store(self, mongo: MongoGateway) -> LeaseStore:
        """The given sync database, else the event loop."""
        timeout = self._options.lease_ttl / 2
        lease_db = self._lease_db
        if lease_db is None:
            return OnTheLoop(asyncio.get_running_loop(), mongo, timeout)
        return OwnConnection(lambda: lease_db, timeout, close_client=False)

    async def close(self) -> None:
        """Nothing was made."""

    def after_fork(self) -> None:
        """Refuse what the parent has used."""
        self._is_of_parent = self._is_of_parent or self._is_in_use

    def clone(self) -> Connections:
        """`ConfigurationError`: these clients belong to their event loop."""
        raise ConfigurationError(
            "a client made from redis= and db= belongs to one event loop: make it from "
            "URLs to use it from another loop or thread"
        )


def longest_block(redis: RedisClient) -> float:
    """How long BLMOVE may wait before the client itself gives up on the answer."""
    pool: Any = getattr(redis, "connection_pool", None)
    given: Any = getattr(pool, "connection_kwargs", None)
    if given is None:
        given = getattr(redis, "connection_kwargs", {})
    timeout: Any = given.get("socket_timeout")
    if not isinstance(timeout, int | float) or timeout <= 0:
        return MAX_BLOCK_SECONDS
    return min(MAX_BLOCK_SECONDS, timeout / 2)


def _check_pool(redis: RedisClient, option: str) -> None:
    if getattr(redis, "single_connection_client", False):
        raise ConfigurationError(
            f"{option} was made with single_connection_client=True, but a worker waits "
            "for work on one connection while it uses others: leave that option out"
        )
    pool: Any = getattr(redis, "connection_pool", None)
    most: Any = getattr(pool, "max_connections", None)
    if isinstance(most, int) and most < MIN_CONNECTIONS:
        raise ConfigurationError(
            f"{option} has max_connections={most}, but at least {MIN_CONNECTIONS} "
            "are needed: one waits for work, one listens, others move work"
        )


def _check_number(redis_url: str) -> None:
    parts = urlsplit(redis_url)
    number = parts.path.strip("/")
    # redis-py takes what is not a number for 0.
    if parts.scheme != "unix" and number and not number.isdecimal():
        raise ConfigurationError(
            f"redis_url={without_user(redis_url)!r} names a database that is not a "
            "number: it looks like redis://host:6379/0"
        )


def _no_url(
    option: str, url: str, error: Exception, what: str, example: str
) -> ConfigurationError:
    shown, reason = without_user(url), describe(error)
    if shown != url or "@" in shown:
        # A driver quotes what it takes for a port or an option: a part of the password.
        reason = f"{type(error).__name__}; is its password percent-encoded?"
    if "@" in shown:
        shown = f"{url.partition('://')[0]}://…"
    return ConfigurationError(
        f"{option}={shown!r} is no {what} ({reason}): it looks like {example}"
    )


def _location(url: str) -> str:
    parts = urlsplit(without_user(url))
    return f"{parts.scheme}://{_hosts(parts.netloc)}{parts.path}"


def _mongo_location(url: str, database: str) -> str:
    parts = urlsplit(without_user(url))
    return f"{parts.scheme}://{_hosts(parts.netloc)}/{database}"


def _hosts(netloc: str) -> str:
    # A password with a space in it is none for those who look for URLs in a text.
    return netloc.rpartition("@")[2]
