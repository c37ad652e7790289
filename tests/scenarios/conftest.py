"""Every scenario runs on every store, through the public interface only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Imported before there is an event loop: importing reads files.
import worchflow.storage.redis_mongo
import worchflow.storage.sqlite  # noqa: F401
from worchflow import Worchflow

MakeApp = Callable[..., Worchflow[Any]]


@pytest.fixture(params=["sqlite", "redis_mongo"])
def make_app(request: pytest.FixtureRequest, tmp_path: Path) -> MakeApp:
    """Makes apps on one store: two of them are two programs that share it."""
    if request.param == "sqlite":
        where: dict[str, Any] = {"sqlite": tmp_path / "worchflow.db"}
    else:
        where = {
            "redis_url": request.getfixturevalue("redis_url"),
            "mongo_url": request.getfixturevalue("mongo_url"),
            "queue_prefix": request.getfixturevalue("prefix"),
        }

    def make(name: str = "app", **options: Any) -> Worchflow[Any]:
        return Worchflow(name, **{**where, **options})

    return make


@pytest.fixture
def app(make_app: MakeApp) -> Worchflow[Any]:
    """One app of the scenario."""
    return make_app()
