"""Every scenario runs on every store, through the public interface only."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymongo
import pytest
import redis
from pymongo.database import Database

# Imported before there is an event loop: importing reads files.
import worchflow.storage.redis_mongo
import worchflow.storage.sqlite  # noqa: F401
from worchflow import Worchflow

MakeApp = Callable[..., Worchflow[Any]]
StoreContent = Callable[[], Any]


@pytest.fixture(params=["sqlite", "redis_mongo"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What an app is given to use one store."""
    if request.param == "sqlite":
        return {"sqlite": tmp_path / "worchflow.db"}
    return {
        "redis_url": request.getfixturevalue("redis_url"),
        "mongo_url": request.getfixturevalue("mongo_url"),
        "queue_prefix": request.getfixturevalue("prefix"),
    }


@pytest.fixture
def make_app(where: dict[str, Any]) -> MakeApp:
    """Makes apps on one store: two of them are two programs that share it."""

    def make(name: str = "app", **options: Any) -> Worchflow[Any]:
        return Worchflow(name, **{**where, **options})

    return make


@pytest.fixture
def app(make_app: MakeApp) -> Worchflow[Any]:
    """One app of the scenario."""
    return make_app()


@pytest.fixture
def store_content(where: dict[str, Any]) -> StoreContent:
    """Reads everything that is stored: equal before and after means unchanged."""
    if "sqlite" in where:
        return lambda: _rows(where["sqlite"])
    return lambda: (
        _documents(where["mongo_url"]),
        _keys(where["redis_url"], where["queue_prefix"]),
    )


def _rows(database: Path) -> dict[str, list[Any]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        return {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
            for (name,) in names.fetchall()
        }


def _documents(url: str) -> dict[str, list[Any]]:
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(url) as client:
        database: Database[dict[str, Any]] = client.get_default_database()
        return {
            name: list(database[name].find().sort("_id"))
            for name in sorted(database.list_collection_names())
        }


def _keys(url: str, prefix: str) -> dict[bytes, bytes]:
    with redis.Redis.from_url(url) as client:
        keys = sorted(client.scan_iter(match=f"{prefix}*", count=1000))
        return {key: client.dump(key) for key in keys}
