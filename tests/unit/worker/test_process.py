from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest
import uvloop

from worchflow.worker import process


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_the_loop_is_uvloops_where_it_is_installed() -> None:
    loop = process.loop_factory()()
    assert isinstance(loop, uvloop.Loop)
    loop.close()


def test_the_loop_is_asyncios_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    loop = process.loop_factory()()
    assert not isinstance(loop, uvloop.Loop)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    loop.close()


@pytest.mark.usefixtures("collector")
def test_what_is_there_is_never_looked_at_again() -> None:
    frozen = gc.get_freeze_count()
    process.tune_garbage_collector()
    assert gc.get_freeze_count() > frozen + 1000
    assert gc.isenabled()
    assert gc.get_threshold()[0] == process.YOUNG_OBJECTS > 700


@pytest.mark.usefixtures("collector")
def test_circles_are_still_found() -> None:
    process.tune_garbage_collector()
    circle: list[object] = []
    circle.append(circle)
    del circle
    assert gc.collect() >= 1
