"""Stores and worker processes for the tests at scale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.settings import Settings
from tests.scale.workers import SLOTS, Workers
from worchflow.model.options import BackendOptions, WorkerOptions


@pytest.fixture(params=["sqlite", "redis_mongo"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    if request.param == "sqlite":
        return (f"sqlite:///{tmp_path / 'worchflow.db'}",)
    return request.getfixturevalue("redis_url"), request.getfixturevalue("mongo_url")


@pytest.fixture
def settings(stores: tuple[str, ...], tmp_path: Path, prefix: str) -> Settings:
    """Workers that renew their leases and look for work that was left as by default."""
    return Settings(
        stores=stores,
        prefix=prefix,
        ledger=str(tmp_path / "effects"),
        slots=SLOTS,
        lease_ttl=BackendOptions().lease_ttl,
        upkeep=WorkerOptions().upkeep_interval,
    )


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    with ExitStack() as stack:
        yield Workers(settings, tmp_path, stack)
