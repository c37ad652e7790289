"""Opens the databases of every schema on both stores."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymongo
import pytest
import redis
from bson import json_util

from tests.migrations.make_databases import FOLDER
from tests.servers import RedisServer

DATABASES = sorted(path.stem for path in FOLDER.iterdir())

Where = dict[str, Any]


def load_sqlite(dump: Path, path: Path) -> Where:
    """Make the file that a dump was made of."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode=WAL")
    return {"sqlite": path}


def load_servers(dump: Path, mongo_url: str, redis_url: str) -> Where:
    """Fill MongoDB and Redis with what a dump was made of."""
    found = json_util.loads(dump.read_text(encoding="utf-8"))
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        database = client.get_default_database()
        for name, content in found["mongo"].items():
            if content["documents"]:
                database[name].insert_many(content["documents"])
            for index in content["indexes"]:
                options = {key: index[key] for key in index if key not in {"key", "v"}}
                database[name].create_index(list(index["key"].items()), **options)
    with redis.Redis.from_url(redis_url) as raw:
        for key, value in found["redis"].items():
            match value:
                case {"hash": fields}:
                    raw.hset(key, mapping=fields)
                case {"list": items}:
                    raw.rpush(key, *items)
                case {"zset": members}:
                    raw.zadd(key, members)
                case {"set": members}:
                    raw.sadd(key, *members)
                case {"string": text}:
                    raw.set(key, text)
    return {"redis_url": redis_url, "mongo_url": mongo_url}


@pytest.fixture(params=DATABASES)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """An app's arguments for a store that an earlier release has left."""
    name: str = request.param
    if name.startswith("sqlite"):
        return load_sqlite(FOLDER / f"{name}.sql", tmp_path / "worchflow.db")
    redis_server: RedisServer = request.getfixturevalue("own_redis_server")
    mongo_url = request.getfixturevalue("mongo_url")
    return load_servers(FOLDER / f"{name}.json", mongo_url, redis_server.url)


@pytest.fixture
def own_redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """Its keys have the prefix of the dump, so nobody else may use it."""
    return start_redis()


@pytest.fixture
def content(where: Where) -> Callable[[], str]:
    """Reads all that is stored: equal before and after means untouched."""

    def read() -> str:
        if "sqlite" in where:
            with contextlib.closing(sqlite3.connect(where["sqlite"])) as connection:
                return "\n".join(connection.iterdump())
        with pymongo.MongoClient[dict[str, Any]](where["mongo_url"]) as client:
            database = client.get_default_database()
            names = sorted(database.list_collection_names())
            found = {
                name: [
                    list(database[name].find().sort("_id")),
                    database[name].index_information(),
                ]
                for name in names
            }
            return json.dumps(found, default=str)

    return read
