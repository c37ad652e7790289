"""Fixtures of the chaos tests: runs on either store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.run import Run
from tests.chaos.settings import Settings

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path, prefix: str) -> MakeRun:
    """Makes a run on the given stores; what a run leaves is in `tmp_path`."""

    def make(*stores: str, **options: Any) -> Run:
        given = {"prefix": prefix, "ledger": str(tmp_path / "ledger"), **options}
        settings = Settings(stores=stores, **given)
        return Run(settings, tmp_path)

    return make


@pytest.fixture(params=["sqlite", "redis_mongo"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """The URLs of each kind of store; servers are shared, prefix and database not."""
    if request.param == "sqlite":
        return (f"sqlite:///{tmp_path / 'worchflow.db'}",)
    return request.getfixturevalue("redis_url"), request.getfixturevalue("mongo_url")
