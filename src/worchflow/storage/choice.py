"""Chooses and makes the backend; each kind is imported only when it is used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from ..foundations.errors import ConfigurationError
from ..foundations.limits import short
from ..model.options import DEFAULT_RETENTION, BackendOptions
from .contract.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.database import Database
    from redis.asyncio import Redis, RedisCluster

    from ..model.options import Durability, Retention

    AnyRedis: TypeAlias = Redis | RedisCluster
    AnyDatabase: TypeAlias = AsyncDatabase[Any]
    LeaseDatabase: TypeAlias = Database[Any]

SWITCH = {"true": True, "false": False, "1": True, "0": False}
DEFAULT_SQLITE_PATH = ".worchflow/worchflow.db"


class StoreOptions(TypedDict, total=False):
    """Where the data is: the same arguments for an app, a client and a worker.

    One of `redis` with `db`, `redis_url` with `mongo_url`, `sqlite` and `backend`;
    without any of them the environment says it, else it is an SQLite file.
    """

    redis: AnyRedis | None
    db: AnyDatabase | None
    lease_db: LeaseDatabase | None
    redis_url: str | None
    mongo_url: str | None
    sqlite: str | Path | None
    backend: Backend | None
    queue_prefix: str | None
    durability: Durability
    ts_compat: bool | None
    retention: Retention | None


@dataclass(frozen=True, kw_only=True)
class StoreChoice:
    """Where the data should be, as the user said it; everything may be left out."""

    redis: AnyRedis | None = None
    db: AnyDatabase | None = None
    lease_db: LeaseDatabase | None = None
    redis_url: str | None = None
    mongo_url: str | None = None
    sqlite: str | Path | None = None
    backend: Backend | None = None
    queue_prefix: str | None = None
    durability: Durability = "strict"
    ts_compat: bool | None = None
    retention: Retention | None = DEFAULT_RETENTION
    options: BackendOptions | None = None
    """Instead of the four before it."""

    @classmethod
    def of(cls, options: StoreOptions) -> StoreChoice:
        """The choice in the options of an app, a client or a worker, which may be more.

        `ConfigurationError` for what no environment can make right.
        """
        names = StoreOptions.__optional_keys__
        given: dict[str, Any] = {
            name: each for name, each in options.items() if name in names
        }
        choice = cls(**given)
        check_choice(choice)
        return choice

    def backend_options(self, environ: Mapping[str, str]) -> BackendOptions:
        """The options as given; what is not, by the environment if that can say it."""
        if self.options is not None:
            return self.options
        prefix = self.queue_prefix
        if prefix is None:
            prefix = environ.get("WORCHFLOW_PREFIX") or "worchflow"
        ts_compat = self.ts_compat
        if ts_compat is None:
            word = environ.get("WORCHFLOW_TS_COMPAT") or "false"
            ts_compat = read_switch(word, "WORCHFLOW_TS_COMPAT")
        return BackendOptions(
            queue_prefix=prefix,
            durability=self.durability,
            ts_compat=ts_compat,
            retention=self.retention,
        )


def read_switch(value: object, where: str) -> bool:
    """On or off, as a file or the environment says it; `ConfigurationError` if not."""
    found = SWITCH.get(str(value).strip().lower())
    if found is None:
        raise ConfigurationError(
            f"{where}={short(value)} must be one of {', '.join(SWITCH)}"
        )
    return found


def open_backend(*urls: str, options: BackendOptions | None = None) -> Backend:
    """A backend by URL, for `backend=`; making it does no I/O.

    `open_backend("sqlite:///path/to/file.db")`, `open_backend("sqlite://:memory:")`
    or `open_backend("redis://...", "mongodb://.../database")`; without a URL as the
    environment says. A path after three slashes is relative to the working directory,
    after four it is absolute. Raises `ConfigurationError` for anything else.
    """
    if not urls:
        return make_backend(StoreChoice(options=options))
    for url in urls:
        _check_url(url, "url")
    if len(urls) == 1 and urls[0].startswith("sqlite://"):
        path = urls[0].removeprefix("sqlite://").removeprefix("/")
        return make_backend(StoreChoice(sqlite=path, options=options))
    redis = [
        url for url in urls if url.startswith(("redis://", "rediss://", "unix://"))
    ]
    mongo = [url for url in urls if url.startswith(("mongodb://", "mongodb+srv://"))]
    if len(redis) == len(mongo) == 1 and len(urls) == 2:
        return make_backend(
            StoreChoice(redis_url=redis[0], mongo_url=mongo[0], options=options)
        )
    raise ConfigurationError(
        f"{len(urls)} URL(s) that name no store: give one sqlite:// URL, or one "
        "redis:// and one mongodb:// URL"
    )


def make_backend(
    choice: StoreChoice, environ: Mapping[str, str] = os.environ
) -> Backend:
    """The backend that was chosen: explicitly, else by the environment, else SQLite.

    `ConfigurationError` for two choices at once, and for half of one: Redis without
    MongoDB or the other way round is never a silent SQLite.
    """
    options = choice.backend_options(environ)
    check_choice(choice)
    if choice.backend is not None:
        return _given(choice.backend, choice)
    if choice.redis is not None and choice.db is not None:
        from .redis_mongo.backend import RedisMongoBackend

        return RedisMongoBackend(
            redis=choice.redis, db=choice.db, options=options, lease_db=choice.lease_db
        )
    redis_url, mongo_url, sqlite = choice.redis_url, choice.mongo_url, choice.sqlite
    if redis_url is None and mongo_url is None and sqlite is None:
        redis_url = environ.get("WORCHFLOW_REDIS_URL") or None
        mongo_url = environ.get("WORCHFLOW_MONGO_URL") or None
        sqlite = environ.get("WORCHFLOW_SQLITE_PATH") or DEFAULT_SQLITE_PATH
    _refuse_half_of_urls(redis_url, mongo_url)
    if redis_url is not None and mongo_url is not None:
        return _urls(redis_url, mongo_url, options)
    from .sqlite.backend import SQLiteBackend

    return SQLiteBackend(_checked_path(sqlite), options)


def check_choice(choice: StoreChoice) -> None:
    """`ConfigurationError` for what no environment can make right."""
    choice.backend_options({})
    _refuse_two(choice)
    _refuse_half(choice)


def _refuse_two(choice: StoreChoice) -> None:
    ways = {
        "backend=": (choice.backend,),
        "redis= and db=": (choice.redis, choice.db),
        "redis_url= and mongo_url=": (choice.redis_url, choice.mongo_url),
        "sqlite=": (choice.sqlite,),
    }
    given = [way for way, parts in ways.items() if any(p is not None for p in parts)]
    if len(given) > 1:
        raise ConfigurationError(
            f"{' and '.join(given)} were given together: name one place for the data"
        )


def _refuse_half(choice: StoreChoice) -> None:
    clients, urls = (choice.redis, choice.db), (choice.redis_url, choice.mongo_url)
    if None in clients and clients != (None, None):
        missing = "redis=" if choice.redis is None else "db="
        raise ConfigurationError(
            f"{missing} is missing: Redis and MongoDB work together, give a "
            "redis.asyncio.Redis as redis= and a pymongo AsyncDatabase as db="
        )
    if choice.lease_db is not None and choice.db is None:
        raise ConfigurationError(
            "lease_db= without db=: it is the sync twin of the same database"
        )
    _refuse_half_of_urls(*urls)


def _refuse_half_of_urls(redis_url: str | None, mongo_url: str | None) -> None:
    if (redis_url is None) is not (mongo_url is None):
        missing = "Redis" if redis_url is None else "MongoDB"
        raise ConfigurationError(
            f"only one of the two store URLs is set, {missing} is missing: set both "
            "redis_url= and mongo_url= (WORCHFLOW_REDIS_URL and WORCHFLOW_MONGO_URL), "
            "or neither for the embedded SQLite file"
        )


def _check_url(url: object, name: str) -> None:
    if not isinstance(url, str):
        raise ConfigurationError(f"{name}={short(url)} must be text")


def _checked_path(path: object) -> str | Path:
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise ConfigurationError(
            f"sqlite={short(path)} names no file: give the path of the database"
        )
    return path


def _given(backend: Backend, choice: StoreChoice) -> Backend:
    if not isinstance(backend, Backend):
        raise ConfigurationError(
            f"backend={short(backend)} is not a backend: make one with "
            "open_backend(...)"
        )
    own, queue_prefix = backend.options.queue_prefix, choice.queue_prefix
    if queue_prefix is not None and queue_prefix != own:
        raise ConfigurationError(
            f'queue_prefix="{queue_prefix}" does not fit backend=, whose prefix is '
            f'"{own}": set it where the backend is made'
        )
    if choice.retention not in (DEFAULT_RETENTION, backend.options.retention):
        raise ConfigurationError(
            f"retention={choice.retention!r} does not fit backend=, which has "
            f"{backend.options.retention!r}: set it in the BackendOptions of the "
            "backend"
        )
    return backend


def _urls(redis_url: str, mongo_url: str, options: BackendOptions) -> Backend:
    _check_url(redis_url, "redis_url")
    _check_url(mongo_url, "mongo_url")
    from .redis_mongo.backend import RedisMongoBackend

    return RedisMongoBackend.connect(redis_url, mongo_url, options)
