"""Emitting: accepted once, delivered page by page, conflicts told."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from pydantic import Field

from tests.waiting import until
from worchflow import Event, EventConflict, InvalidInput, StoreUnavailable
from worchflow import event as make_event
from worchflow.engine.event_log import EventLog
from worchflow.engine.sending import Sender
from worchflow.model.options import BackendOptions
from worchflow.serialization.payloads import Payloads
from worchflow.storage.sqlite.backend import SQLiteBackend

NEWS = make_event("news", dict[str, int], key="n")


class Opened:
    """A log on a database in memory, opened by the first event."""

    def __init__(self) -> None:
        self.backend = SQLiteBackend(":memory:", BackendOptions())
        self.log = EventLog(Sender(store=self.backend, payloads=Payloads()))
        self.opened = 0

    async def emit(self, message: Any, id: str | None = "e", key: Any = None) -> str:
        return await self.log.emit(message, id, key, self.ready)

    async def ready(self) -> None:
        if not self.opened:
            await self.backend.open()
        self.opened += 1

    async def close(self) -> None:
        await self.log.close()
        if self.opened:
            await self.backend.close()


@pytest.fixture
async def opened() -> Any:
    one = Opened()
    yield one
    await one.close()


async def test_what_cannot_be_accepted_is_refused_before_the_store_is_opened(
    opened: Opened,
) -> None:
    for message, id_, key, field in (
        (NEWS({"n": 1}), "a b", None, "id"),
        (NEWS({"n": 1}), "e", 2, "key"),
        (NEWS({}), "e", None, "key"),
        ("news", "e", None, "message"),
    ):
        with pytest.raises(InvalidInput) as refused:
            await opened.emit(message, id_, key)
        assert refused.value.field == field
    assert not opened.opened


async def test_an_id_names_one_event(opened: Opened) -> None:
    assert await opened.emit(NEWS({"n": 1})) == "e"
    assert await opened.emit(NEWS({"n": 1})) == "e"
    # The order of the fields makes no other data.
    same = {"name": "pair", "data": {"a": 1, "b": 2}}
    other_order = {"name": "pair", "data": {"b": 2, "a": 1}}
    assert await opened.emit(same, "p") == await opened.emit(other_order, "p") == "p"
    assert len(await opened.emit(NEWS({"n": 1}), None)) == 36

    for message, key, what in (
        (NEWS({"n": 1, "m": 2}), None, "other data"),
        (NEWS({"n": 2}), None, "the key '1'"),
        ({"name": "old", "data": {"n": 1}}, 1, 'the name "news"'),
    ):
        with pytest.raises(EventConflict, match=what) as conflict:
            await opened.emit(message, "e", key)
        assert conflict.value.event_id == "e"


async def test_what_nobody_gave_makes_no_other_event(opened: Opened) -> None:
    class Seen(Event[None], name="seen"):
        who: str
        nonce: str = Field(default_factory=lambda: uuid4().hex)

    assert await opened.emit(Seen(who="a")) == await opened.emit(Seen(who="a")) == "e"
    with pytest.raises(EventConflict):
        await opened.emit(Seen(who="b"))


async def test_an_unknown_outcome_carries_the_id(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(opened.backend.events, "append", away)
        with pytest.raises(StoreUnavailable) as unknown:
            await opened.emit(NEWS({"n": 1}), None)
    (id_,) = unknown.value.unknown
    assert await opened.emit(NEWS({"n": 1}), id_) == id_
    # It is accepted, and a sweep delivers it.
    with monkeypatch.context() as patch:
        patch.setattr(opened.backend.events, "deliver", away)
        assert await opened.emit(NEWS({"n": 1}), "accepted") == "accepted"


async def test_further_pages_are_delivered_behind_the_call(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str | None] = []
    go_on = asyncio.Event()

    async def deliver(_: object, after: str | None = None) -> str | None:
        pages.append(after)
        if after is not None:
            await go_on.wait()
        return f"{len(pages)}" if len(pages) < 3 else None

    monkeypatch.setattr(opened.backend.events, "deliver", deliver)
    await opened.emit(NEWS({"n": 1}))
    await until(lambda: pages == [None, "1"])
    go_on.set()
    await until(lambda: pages == [None, "1", "2"])

    # Closing ends what would wait for long.
    go_on.clear()
    pages.clear()
    await opened.emit(NEWS({"n": 1}))
    await until(lambda: len(pages) == 2)
    await asyncio.wait_for(opened.log.close(), 10)
    assert len(pages) == 2
