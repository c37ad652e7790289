"""Stores and worker processes for the tests at scale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.settings import Settings
from tests.scale.workers import LEASE_SECONDS, SLOTS, Workers


@pytest.fixture(params=["sqlite", "redis_mongo"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    if request.param == "sqlite":
        return (f"sqlite:///{tmp_path / 'worchflow.db'}",)
    return request.getfixturevalue("redis_url"), request.getfixturevalue("mongo_url")


@pytest.fixture
def workers(stores: tuple[str, ...], tmp_path: Path, prefix: str) -> Iterator[Workers]:
    ledger = str(tmp_path / "effects")
    settings = Settings(
        stores=stores,
        prefix=prefix,
        ledger=ledger,
        slots=SLOTS,
        lease_ttl=LEASE_SECONDS,
    )
    with ExitStack() as stack:
        yield Workers(settings, tmp_path, stack)
