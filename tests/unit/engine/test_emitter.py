"""The emitter: who is called, how often, and which names there are."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.waiting import until
from worchflow import ConfigurationError, Middleware
from worchflow.engine import emitter as emitter_module
from worchflow.engine.emitter import Emitter
from worchflow.model.notices import Ready

READY = Ready()


def test_callbacks_are_called_in_the_order_they_were_added() -> None:
    emitter, heard = Emitter(), []
    emitter.on("ready", lambda _: heard.append("first"))
    emitter.on("ready", lambda _: heard.append("second"))
    emitter.emit(READY)
    emitter.emit(READY)

    assert heard == ["first", "second"] * 2


def test_once_is_once_even_when_it_emits_again() -> None:
    emitter, heard = Emitter(), []

    def again(notice: Ready) -> None:
        heard.append(notice)
        emitter.emit(notice)

    emitter.once("ready", again)
    emitter.emit(READY)
    emitter.emit(READY)

    assert heard == [READY]


def test_off_forgets_a_callback_however_often_it_was_added() -> None:
    emitter = Emitter()
    heard: list[Any] = []
    emitter.on("ready", heard.append)
    emitter.once("ready", heard.append)
    emitter.off("ready", heard.append)
    emitter.off("ready", heard.append)
    emitter.emit(READY)

    assert heard == []
    assert not emitter.listens_to("ready")


def test_off_in_a_callback_counts_from_the_next_time() -> None:
    emitter, heard = Emitter(), []

    def second(notice: Ready) -> None:
        heard.append("second")

    def first(notice: Ready) -> None:
        heard.append("first")
        emitter.off("ready", second)

    emitter.on("ready", first)
    emitter.on("ready", second)
    emitter.emit(READY)
    emitter.emit(READY)

    assert heard == ["first", "second", "first"]


@pytest.mark.parametrize("add", ["on", "once", "off"])
def test_an_unknown_name_is_refused_with_the_nearest_one(add: str) -> None:
    emitter = Emitter()
    with pytest.raises(ConfigurationError) as refused:
        getattr(emitter, add)("execution:completed", print)

    assert 'did you mean "execution:complete"?' in str(refused.value)
    assert "step:complete" in str(refused.value)


def test_a_callback_has_to_be_callable() -> None:
    with pytest.raises(ConfigurationError, match="not callable"):
        Emitter().on("ready", None)  # type: ignore[arg-type]


def test_only_overridden_hooks_of_middleware_listen() -> None:
    class Nothing(Middleware):
        pass

    class Something(Middleware):
        def on_ready(self, notice: Ready) -> None: ...

    assert not Emitter([Nothing()]).listens_to("ready")
    assert Emitter([Nothing(), Something()]).listens_to("ready")


@pytest.mark.parametrize("given", [Middleware, object(), None])
def test_middleware_is_an_instance_of_middleware(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="middleware="):
        Emitter([given])


async def test_no_more_async_callbacks_run_at_once_than_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(emitter_module, "MAX_RUNNING_CALLBACKS", 10)
    emitter, go_on = Emitter(), asyncio.Event()
    begun, plain = [], []

    async def slow(notice: Ready) -> None:
        begun.append(notice)
        await go_on.wait()

    emitter.on("ready", slow)
    emitter.on("ready", plain.append)
    for _ in range(25):
        emitter.emit(READY)
    await asyncio.sleep(0)

    assert len(begun) == len(emitter._tasks) == 10
    assert len(plain) == 25
    assert emitter.dropped == 15
    assert caplog.text.count("is not begun") == 1

    go_on.set()
    await emitter.drain(30.0)
    await until(lambda: not emitter._tasks)
    emitter.emit(READY)
    await emitter.drain(30.0)
    assert len(begun) == 11
    assert emitter.dropped == 15
    assert "15 were not so far" in caplog.text


def test_once_is_once_whoever_emits() -> None:
    emitters = [Emitter() for _ in range(8)]
    shared = emitters[0]._callbacks
    ready, heard = threading.Barrier(len(emitters)), []

    def emit(emitter: Emitter) -> None:
        ready.wait(30)
        emitter.emit(READY)

    for emitter in emitters:
        emitter._callbacks = shared
    for _ in range(50):
        heard.clear()
        emitters[0].once("ready", heard.append)
        with ThreadPoolExecutor(len(emitters)) as pool:
            list(pool.map(emit, emitters))
        assert heard == [READY]
