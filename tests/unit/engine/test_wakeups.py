"""The count of wake-ups: read soon after somebody tells, or now and then."""

from __future__ import annotations

import asyncio

import pytest

from tests.waiting import until
from worchflow.engine import wakeups
from worchflow.engine.ownership import Interruption
from worchflow.engine.scope import Scope
from worchflow.engine.wakeups import Wakeups
from worchflow.foundations.errors import StoreUnavailable


class Store:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 3
        self.asked = 0
        self.fails = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def read(self) -> int:
        self.asked += 1
        count = self.count
        await self.answers.wait()
        if self.fails:
            raise StoreUnavailable("away")
        return count


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeups, "GATHER_SECONDS", 0.01)


async def test_several_wake_ups_are_read_at_once_and_begin_a_round() -> None:
    store, read = Store(), asyncio.Event()
    counted = Wakeups(Scope({}), 1, store.read)
    counted.on_read = read.set

    for _ in range(5):
        counted.woken()
    assert (counted.count, counted.round) == (1, 0)

    await asyncio.wait_for(read.wait(), 10)
    assert (counted.count, counted.round, store.asked) == (3, 1, 1)


async def test_a_count_that_is_known_begins_no_round() -> None:
    store, read = Store(), asyncio.Event()
    counted = Wakeups(Scope({}), 3, store.read)
    counted.on_read = read.set

    counted.woken()

    await asyncio.wait_for(read.wait(), 10)
    assert (counted.count, counted.round) == (3, 0)


async def test_what_comes_while_the_count_is_read_is_read_once_more() -> None:
    store = Store()
    store.answers.clear()
    counted = Wakeups(Scope({}), 3, store.read)
    counted.woken()
    await until(lambda: store.asked == 1)
    store.count = 4
    counted.woken()
    await asyncio.sleep(0.03)
    assert store.asked == 1

    store.answers.set()

    await until(lambda: counted.round == 1)
    assert (counted.count, store.asked) == (4, 2)


async def test_a_store_that_does_not_answer_changes_nothing() -> None:
    store, read = Store(), asyncio.Event()
    store.fails = True
    counted = Wakeups(Scope({}), 1, store.read)
    counted.on_read = read.set

    counted.woken()

    await asyncio.wait_for(read.wait(), 10)
    assert (counted.count, counted.round) == (1, 0)


async def test_the_count_is_read_although_nobody_tells_but_not_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wakeups, "READ_AFTER_SECONDS", 0.05)
    store = Store()
    counted = Wakeups(Scope({}), 1, store.read)
    counted.check()
    assert store.asked == 0

    await asyncio.sleep(0.06)
    counted.check()
    counted.check()

    await until(lambda: counted.round == 1)
    assert store.asked == 1


async def test_nothing_is_read_once_the_attempt_is_over_or_it_was_closed() -> None:
    store = Store()
    over, closed = Scope({}), Wakeups(Scope({}), 1, store.read)
    counted = Wakeups(over, 1, store.read)
    counted.woken()
    closed.woken()

    over.interrupt(Interruption.CANCELLED)
    closed.close()

    await asyncio.sleep(0.05)
    assert store.asked == 0
