"""Backends on one database file, for what only this store does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.stores import MakeBackend
from worchflow.model.options import BackendOptions
from worchflow.storage.sqlite.backend import SQLiteBackend


def sockets_of(backend: SQLiteBackend) -> Path:
    """The folder with the sockets: elsewhere when its path would be too long."""
    assert backend._binding is not None
    peers = backend._binding.shared.peers
    assert peers is not None
    return peers._folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's database is."""
    return tmp_path / "worchflow.db"


@pytest.fixture
async def make_backend(path: Path) -> AsyncIterator[MakeBackend]:
    """Open backends on the file; equal options share one core, others do not."""
    opened: list[SQLiteBackend] = []

    async def make(**options: Any) -> SQLiteBackend:
        backend = SQLiteBackend(path, BackendOptions(**{"timeout": 5.0} | options))
        await backend.open()
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        await backend.close()


@pytest.fixture
async def backend(make_backend: MakeBackend) -> SQLiteBackend:
    """One open backend."""
    made = await make_backend()
    assert isinstance(made, SQLiteBackend)
    return made
