"""`client.sync`: the same calls from plain code and from many threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis.asyncio
from pymongo import AsyncMongoClient

from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    ExecutionCancelled,
    ExecutionConflict,
    ExecutionFailed,
    ExecutionNotFound,
    ExecutionStatus,
    Middleware,
    NonRetryable,
    Worchflow,
    WorchflowClient,
)
from worchflow.client import portal
from worchflow.client.portal import Portal


@pytest.fixture
def program(app: Worchflow[Any]) -> Worchflow[Any]:
    @app.function("double")
    async def double(ctx: Context[int]) -> int:
        return await ctx.step.run("double", lambda: ctx.data * 2)

    @app.function("refuse")
    async def refuse(ctx: Context[None]) -> None:
        raise NonRetryable("no")

    return app


@contextmanager
def working(app: Worchflow[Any]) -> Iterator[None]:
    """Run a worker in its own thread, as another process would."""
    started, ended = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with app.worker(concurrency=4):
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join()


def test_every_call_has_its_twin(program: Worchflow[Any]) -> None:
    with program.client().sync as client, working(program):
        handle = client.send({"name": "double", "data": 4}, id="d")
        assert handle.id == "d"
        assert not handle.duplicate
        assert handle.result(timeout=10) == 8
        assert handle.status() is ExecutionStatus.COMPLETED
        assert client.send({"name": "double", "data": 4}, id="d").duplicate
        with pytest.raises(ExecutionConflict):
            client.send({"name": "double", "data": 5}, id="d")

        assert client.get("d").result == 8
        assert [step.title for step in client.steps("d")] == ["double"]
        assert client.handle("d").result() == 8
        assert [each.id for each in client.list(status="completed").items] == ["d"]
        (bare,) = client.list(status="completed", payloads=False).items
        assert (bare.id, bare.data) == ("d", None)
        assert client.counts().keys() == set(ExecutionStatus)
        with pytest.raises(ExecutionNotFound):
            client.get("nobody")

        many = client.send_many({"name": "double", "data": n} for n in range(5))
        assert [each.result(timeout=10) for each in many] == [0, 2, 4, 6, 8]

        failed = client.send({"name": "refuse", "data": None})
        with pytest.raises(ExecutionFailed):
            failed.result(timeout=10)
        client.retry(failed.id)
        with pytest.raises(ExecutionFailed):
            failed.result(timeout=10)

        waiting = client.send({"name": "double", "data": 1}, delay="1h")
        client.cancel(waiting.id, reason="enough")
        with pytest.raises(ExecutionCancelled, match="enough"):
            waiting.result(timeout=10)
        waiting.cancel()
        assert [each.status for each in waiting.updates()] == ["cancelled"]


def test_updates_can_be_left_early(program: Worchflow[Any]) -> None:
    with program.client().sync as client, working(program):
        handle = client.send({"name": "double", "data": 4}, delay=0.1)
        for update in handle.updates():
            assert update.execution_id == handle.id
            break
        assert handle.result(timeout=10) == 8


def test_many_threads_share_one_client(program: Worchflow[Any]) -> None:
    client = program.client()
    barrier = threading.Barrier(8, timeout=10)

    def send(number: int) -> tuple[int, int]:
        barrier.wait()
        sync = client.sync
        handle = sync.send({"name": "double", "data": number})
        return id(sync), handle.result(timeout=10)

    with working(program), ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(send, range(8)))
    client.sync.close()

    assert [result for _, result in outcomes] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert len({sync for sync, _ in outcomes}) == 1


def outcome_in_a_thread(
    call: Callable[[], object],
) -> tuple[threading.Thread, list[object]]:
    """A thread that makes the call, and the list that gets what it gives or raises."""
    outcome: list[object] = []

    def make() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - whatever it is
            outcome.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    return thread, outcome


def test_closing_ends_calls_that_still_wait(app: Worchflow[Any]) -> None:
    client = app.client().sync
    handle = client.send({"name": "nobody-serves-this", "data": None})
    waiting = threading.Event()

    def wait() -> object:
        waiting.set()
        return handle.result()

    thread, outcome = outcome_in_a_thread(wait)
    assert waiting.wait(10)
    client.close()
    thread.join(10)

    assert [type(error) for error in outcome] == [ConfigurationError]
    client.close()


def test_closing_ends_calls_that_swallow_it(app: Worchflow[Any]) -> None:
    client = app.client()
    portal = Portal(client, client._emitter.drain)
    waiting = threading.Event()
    ended: list[str] = []

    async def stubborn() -> None:
        waiting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("on the loop")

    thread, outcome = outcome_in_a_thread(lambda: portal.call(stubborn()))
    assert waiting.wait(10)
    portal.close()
    thread.join(10)

    assert [type(error) for error in outcome] == [ConfigurationError]
    assert ended == ["on the loop"]


def test_a_closed_one_says_so_until_it_is_opened_again(app: Worchflow[Any]) -> None:
    client = app.client()
    with client.sync as sync:
        handle = sync.send({"name": "x", "data": None})
    calls: list[Callable[[], object]] = [
        handle.status,
        lambda: sync.get(handle.id),
        client.sync.counts,
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match=r"closed: open\(\) opens it"):
            call()

    with client.sync:
        assert sync.get(handle.id).id == handle.id


async def test_closing_the_client_closes_its_twin(app: Worchflow[Any]) -> None:
    async with app.client() as client:
        await asyncio.to_thread(client.sync.counts)
        assert client.sync.in_use

    assert not client.sync.in_use
    assert not [each for each in threading.enumerate() if each.name == "worchflow-sync"]


def test_a_callback_that_calls_it_would_wait_for_itself(app: Worchflow[Any]) -> None:
    with app.client().sync as client:
        portal = client._opened()

        async def call_from_within() -> None:
            client.counts()

        with pytest.raises(ConfigurationError, match="wait for itself"):
            portal.call(call_from_within())


def test_clients_of_an_event_loop_cannot_be_shared(
    redis_url: str, mongo_url: str, prefix: str
) -> None:
    async def main() -> None:
        own_redis = redis.asyncio.Redis.from_url(redis_url)
        own_mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
        client = WorchflowClient(
            redis=own_redis,
            db=own_mongo.get_default_database(),
            queue_prefix=prefix,
        )
        with pytest.raises(ConfigurationError, match="make it from URLs"):
            client.sync.counts()
        await client.close()
        await own_redis.aclose()
        await own_mongo.close()

    asyncio.run(main())


def test_callbacks_and_middleware_of_the_client_see_what_it_does(
    make_app: Callable[..., Worchflow[Any]],
) -> None:
    heard: list[tuple[str, str]] = []

    def note(kind: str) -> Callable[[object], None]:
        return lambda _: heard.append((kind, threading.current_thread().name))

    class Listening(Middleware):
        on_execution_updated = staticmethod(note("middleware"))

    client = make_app(middleware=[Listening()]).client()
    ended = threading.Event()

    async def later(_: object) -> None:
        await asyncio.sleep(0)
        heard.append(("async", threading.current_thread().name))
        ended.set()

    off = note("removed")
    client.on("execution:updated", note("before it was opened"))
    client.on("execution:updated", off)
    with client.sync as sync:
        client.off("execution:updated", off)
        client.once("execution:updated", note("once"))
        client.on("execution:updated", later)
        handle = sync.send({"name": "nobody-serves-this", "data": None})
        assert ended.wait(30)
        ended.clear()
        sync.cancel(handle.id)
        assert ended.wait(30)

    thread = "worchflow-sync"
    expected = [
        (kind, thread)
        for kind in ("middleware", "before it was opened", "once", "async")
    ]
    assert sorted(heard) == sorted(
        [*expected, *(e for e in expected if e[0] != "once")]
    )


def test_async_callbacks_are_awaited_before_it_has_closed(app: Worchflow[Any]) -> None:
    client = app.client()
    ended: list[str] = []

    async def slow(_: object) -> None:
        for _turn in range(5):
            await asyncio.sleep(0)
        ended.append("callback")

    client.on("execution:updated", slow)
    with client.sync as sync:
        sync.send({"name": "nobody-serves-this", "data": None})
    assert ended == ["callback"]


@pytest.mark.allow_blocking("a callback of the user's does so")
@pytest.mark.parametrize("what", ["call", "close", "open"])
def test_closing_ends_although_a_callback_uses_it(
    app: Worchflow[Any], what: str
) -> None:
    client = app.client()
    entered, closing = threading.Event(), threading.Event()
    raised: list[object] = []
    uses: dict[str, Callable[[], object]] = {
        "call": client.sync.counts,
        "close": client.sync.close,
        "open": lambda: client.sync._opened().call(asyncio.sleep(0)),
    }

    def use(_: object) -> None:
        entered.set()
        assert closing.wait(30)
        try:
            uses[what]()
        except ConfigurationError as error:
            raised.append(error)
        else:
            raised.append(None)

    client.sync.open()
    client.on("execution:updated", use)
    event = {"name": "nobody-serves-this", "data": None}
    sender, _ = outcome_in_a_thread(lambda: client.sync.send(event))
    assert entered.wait(30)
    closer, outcome = outcome_in_a_thread(client.sync.close)
    wait_until(lambda: not client.sync.in_use)
    closing.set()
    closer.join(30)
    sender.join(30)

    assert not closer.is_alive()
    assert outcome == [None]
    assert [type(error) for error in raised] == [ConfigurationError]


@pytest.mark.allow_blocking("a callback of the user's does so")
def test_closing_is_given_up_while_a_callback_waits_for_it(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "CLOSE_TIMEOUT", 0.2)
    client = app.client()
    entered, closed = threading.Event(), threading.Event()

    def wait_for_its_end(_: object) -> None:
        entered.set()
        closed.wait(30)

    client.sync.open()
    thread = client.sync._opened()._thread
    client.on("execution:updated", wait_for_its_end)
    event = {"name": "nobody-serves-this", "data": None}
    sender, _ = outcome_in_a_thread(lambda: client.sync.send(event))
    assert entered.wait(30)
    for _again in range(2):
        with pytest.raises(ConfigurationError, match="wait_for_its_end"):
            client.sync.close()
    with pytest.raises(ConfigurationError, match="closed"):
        client.sync.counts()

    # Once the callback ends, so does the thread.
    closed.set()
    sender.join(30)
    thread.join(30)
    assert not thread.is_alive()
    client.sync.close()


def wait_until(condition: Callable[[], bool]) -> None:
    asyncio.run(until(condition))
