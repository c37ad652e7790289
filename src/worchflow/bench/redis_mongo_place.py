"""Where a measurement on Redis and MongoDB keeps its executions."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import uuid4

import pymongo
import redis
from pymongo.errors import PyMongoError
from typing_extensions import override

from ..foundations.errors import StoreUnavailable
from ..foundations.masking import mask_secrets
from .places import Store

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from ..model.options import Durability


class RedisMongoStore(Store):
    """A Redis and a MongoDB: a database and a queue prefix for each measurement."""

    name = "Redis + MongoDB"
    bare = "worchflow.bench.programs.bare_mongo"
    bare_note = "MongoDB alone, batches of up to 1,000, three in flight"

    def __init__(
        self,
        redis_url: str,
        mongo_url: str,
        durability: Durability,
        servers: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(durability, servers)
        self._redis_url = redis_url
        self._mongo_url = mongo_url

    @property
    @override
    def bare_durability(self) -> Durability:
        """Always strict: fast mode makes the same writes and waits for fewer."""
        return "strict"

    @property
    @override
    def location(self) -> str:
        """Both URLs."""
        return f"{mask_secrets(self._redis_url)} {mask_secrets(self._mongo_url)}"

    @contextlib.contextmanager
    @override
    def place(self) -> Generator[dict[str, Any]]:
        """A database and a queue prefix of the same new name."""
        name = f"worchflow_bench_{uuid4().hex[:12]}"
        url = with_database(self._mongo_url, name)
        try:
            yield {
                "redis_url": self._redis_url,
                "mongo_url": url,
                "queue_prefix": name,
                "durability": self.durability,
            }
        except StoreUnavailable:
            with contextlib.suppress(StoreUnavailable):
                self._remove(name, url)
            raise
        except BaseException:
            self._remove(name, url)
            raise
        else:
            self._remove(name, url)

    def _remove(self, name: str, url: str) -> None:
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            url, serverSelectionTimeoutMS=5_000
        )
        # redis-py says nothing of what these take and give.
        connection: Any = cast("Any", redis.Redis).from_url(self._redis_url)
        try:
            with client, connection:
                client.drop_database(name)
                for keys in _in_parts(connection.scan_iter(f"{name}:*", count=1000)):
                    connection.unlink(*keys)
        except (PyMongoError, redis.RedisError) as error:
            raise StoreUnavailable(
                f'what the measurement left could not be removed: drop the database "'
                f'{name}" and the keys "{name}:*": {error}'
            ) from error


def with_database(url: str, name: str) -> str:
    """The MongoDB URL with another database; who signs in does so as before."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    signs_in = "@" in parts.netloc
    if signs_in and not any(key.lower() == "authsource" for key, _ in query):
        query.append(("authSource", parts.path.strip("/") or "admin"))
    return urlunsplit(parts._replace(path=f"/{name}", query=urlencode(query)))


def _in_parts(keys: Iterator[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    for key in keys:
        part.append(key)
        if len(part) == 1000:
            yield part
            part = []
    if part:
        yield part
