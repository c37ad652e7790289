"""Writes a small database of each store with the library as it is installed.

    python -m tests.migrations.make_databases

It is run once for each schema that is released, with the last commit that has it; the
files stay in `databases/` as they are, and every later release has to open them. Their
names say the store and its schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pymongo
import redis
from bson import json_util

from tests.migrations.orders import LEFT_BEHIND, PREFIX, app_on
from tests.servers import MongoServer, RedisServer
from tests.waiting import TIMEOUT, until
from worchflow import Worchflow

FOLDER = Path(__file__).parent / "databases"
STATUSES = {"complete": "completed", "fail": "failed", "retry": "retrying"}
"""What becomes of an execution that is told to do so."""


async def fill(where: dict[str, Any]) -> None:
    """Leave an execution behind in every status that there is."""
    app = app_on(where)
    async with app.client() as client:
        for verb, status in STATUSES.items():
            await client.send(order(verb), id=f"{status}-1")
        await run_until_done(app, client)
        for name in LEFT_BEHIND:
            await client.send(order("die"), id=name)
    await asyncio.to_thread(run_and_die, where)
    async with app.client() as client:
        await client.cancel("flagged-1", reason="not wanted any more")
        await client.send(order("complete"), id="queued-1")
        await client.send(order("complete"), id="delayed-1", delay="1s")
        await client.send(order("complete"), id="cancelled-1")
        await client.cancel("cancelled-1", reason="not wanted")


def order(verb: str) -> dict[str, Any]:
    """The message of an order."""
    return {"name": "order", "data": {"do": verb}}


async def run_until_done(app: Worchflow[Any], client: Any) -> None:
    """Run a worker until each of the executions has the status that it is named for."""

    async def are_done() -> bool:
        handles = [client.handle(f"{status}-1") for status in STATUSES.values()]
        found = [await handle.status() for handle in handles]
        return found == list(STATUSES.values())

    async with app.worker():
        await until(are_done)


def run_and_die(where: dict[str, Any]) -> None:
    """Run a worker in a process that is killed in the middle of its executions."""
    command = [sys.executable, "-m", "tests.migrations.orders", json.dumps(where)]
    ended = subprocess.run(command, timeout=TIMEOUT, check=False)
    assert ended.returncode == -signal.SIGKILL, ended


def dump_sqlite(path: Path) -> str:
    """The whole file as statements."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        lines = [*connection.iterdump(), f"PRAGMA user_version={version};"]
    return "\n".join(lines) + "\n"


def dump_servers(mongo_url: str, redis_url: str) -> dict[str, Any]:
    """Every collection with its indexes, and every key."""
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        database = client.get_default_database()
        collections = {
            name: {
                "indexes": [
                    index
                    for index in database[name].list_indexes()
                    if index["name"] != "_id_"
                ],
                "documents": list(database[name].find()),
            }
            for name in sorted(database.list_collection_names())
        }
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        keys = {key: _value(raw, key) for key in sorted(raw.keys(f"{PREFIX}:*"))}
    return {"mongo": collections, "redis": keys}


def _value(raw: redis.Redis, key: str) -> dict[str, Any]:
    match raw.type(key):
        case "hash":
            return {"hash": raw.hgetall(key)}
        case "list":
            return {"list": raw.lrange(key, 0, -1)}
        case "zset":
            members: Any = raw.zrange(key, 0, -1, withscores=True)
            return {"zset": dict(members)}
        case "set":
            return {"set": sorted(raw.smembers(key))}
        case _:
            return {"string": raw.get(key)}


def make_sqlite(folder: Path) -> None:
    """Write `sqlite_<schema>.sql`."""
    path = folder / "worchflow.db"
    asyncio.run(fill({"sqlite": str(path)}))
    text = dump_sqlite(path)
    version = text.rpartition("user_version=")[2].strip(";\n")
    write(f"sqlite_{version}.sql", text)


def make_redis_mongo() -> None:
    """Write `redis_mongo_<schema>.json`."""
    with RedisServer() as redis_server, MongoServer() as mongo_server:
        mongo_url = mongo_server.database_url("orders")
        asyncio.run(fill({"redis_url": redis_server.url, "mongo_url": mongo_url}))
        found = dump_servers(mongo_url, redis_server.url)
    meta = found["mongo"]["worchflow_meta"]["documents"]
    version = next(each["version"] for each in meta if each["_id"] == "schema")
    write(f"redis_mongo_{version}.json", json_util.dumps(found, indent=1) + "\n")


def write(name: str, text: str) -> None:
    """Write a file, without the place of this checkout."""
    root = str(FOLDER.parents[2])
    (FOLDER / name).write_text(text.replace(root, "."), encoding="utf-8")


if __name__ == "__main__":
    os.environ.pop("WORCHFLOW_PREFIX", None)
    with tempfile.TemporaryDirectory() as temporary:
        make_sqlite(Path(temporary))
    make_redis_mongo()
