"""Acceptance tests run the real command line in a project of their own."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Project
from worchflow import Worchflow

Seed = Callable[..., dict[str, str]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with `shop.py`, whose app keeps its data below it."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)


@pytest.fixture
def shop(project: Project, monkeypatch: pytest.MonkeyPatch) -> Worchflow[Any]:
    """The project's app in this process, on the same file."""
    spec = importlib.util.spec_from_file_location("shop", project.folder / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop", module)
    spec.loader.exec_module(module)
    app = Worchflow[Any]("shop", sqlite=project.database)
    app.include(*module.app.functions)
    return app


@pytest.fixture
def seed(shop: Worchflow[Any]) -> Seed:
    """Sends events by id and runs them here: `seed({"id": ("event", {...})})`.

    Gives each execution's status at the end.
    """

    def make(events: dict[str, tuple[str, Any]], *, run: bool = True) -> dict[str, str]:
        return asyncio.run(_seed(shop, events, run=run))

    return make


async def _seed(
    app: Worchflow[Any], events: dict[str, tuple[str, Any]], *, run: bool
) -> dict[str, str]:
    async with app.client() as client:
        handles = [
            await client.send({"name": name, "data": data}, id=key)
            for key, (name, data) in events.items()
        ]
        if run:
            async with app.worker(concurrency=10):
                for handle in handles:
                    async for _ in handle.updates():
                        pass
        return {handle.id: await handle.status() for handle in handles}
