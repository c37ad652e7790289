"""Sending many messages: all checked before any is written, or as a stream."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from worchflow import (
    Context,
    Event,
    EventValidationError,
    ExecutionConflict,
    InvalidInput,
    Middleware,
    StoreUnavailable,
    Worchflow,
)
from worchflow.engine import sending


class Order(Event[int], name="order"):
    number: int


class Tracing(Middleware):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def wrap_send(self, message: Any, call_next: Any) -> Any:
        self.seen.append("before")
        handle = await call_next(message)
        self.seen.append("after")
        return handle


class Doubling(Middleware):
    async def wrap_send(self, message: Any, call_next: Any) -> Any:
        return await call_next(Order(number=message.number * 2))


class Refusing(Middleware):
    async def wrap_send(self, message: Any, call_next: Any) -> Any:
        if message.number == 2:
            raise PermissionError("not the second")
        return await call_next(message)


class Dropping(Middleware):
    async def wrap_send(self, message: Any, call_next: Any) -> Any:
        return None if message.number == 2 else await call_next(message)


def orders(*numbers: Any) -> list[Any]:
    return [Order(number=number) for number in numbers]


async def count(client: Any) -> int:
    return len((await client.list(limit=200)).items)


async def test_each_message_has_its_handle_in_order(app: Worchflow[Any]) -> None:
    @app.function(Order)
    async def order(ctx: Context[Order]) -> int:
        return ctx.data.number

    async with app.client() as client, app.worker(concurrency=10):
        handles = await client.send_many(orders(*range(30)))

        assert [await each.result(timeout=10) for each in handles] == list(range(30))
        assert await client.send_many([]) == []


@pytest.mark.parametrize("middleware", [[], [Tracing()]])
async def test_one_bad_message_keeps_all_from_being_written(
    make_app: Any, middleware: list[Middleware]
) -> None:
    app = make_app(middleware=middleware)
    async with app.client() as client:
        for bad in ({"name": "order"}, "order", Order, {"name": "x", "data": {1}}):
            with pytest.raises(EventValidationError):
                await client.send_many([*orders(1), bad, *orders(3)])

        assert await count(client) == 0


async def test_messages_may_come_from_an_iterator(app: Worchflow[Any]) -> None:
    def endless_until(last: int) -> Iterator[Order]:
        for number in range(last):
            yield Order(number=number)

    async with app.client() as client:
        assert len(await client.send_many(endless_until(3))) == 3


async def test_middleware_sees_and_changes_every_message(make_app: Any) -> None:
    tracing = Tracing()
    app = make_app(middleware=[tracing, Doubling()])
    async with app.client() as client:
        handles = await client.send_many(orders(1, 2))

        data = [(await client.get(handle.id)).data for handle in handles]
        assert data == [{"number": 2}, {"number": 4}]
        # All have arrived before any is written.
        assert tracing.seen == ["before", "before", "after", "after"]


async def test_a_refusal_by_middleware_keeps_all_from_being_written(
    make_app: Any,
) -> None:
    app = make_app(middleware=[Refusing()])
    async with app.client() as client:
        with pytest.raises(PermissionError, match="not the second"):
            await client.send_many(orders(1, 2, 3))

        assert await count(client) == 0


async def test_middleware_may_drop_a_message(make_app: Any) -> None:
    app = make_app(middleware=[Dropping()])
    async with app.client() as client:
        first, second, third = await client.send_many(orders(1, 2, 3))

        assert second is None
        assert await count(client) == 2
        assert {first.id, third.id} == {e.id for e in (await client.list()).items}


async def test_more_than_a_batch_is_sent(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MAX_BATCH", 10)
    async with app.client() as client:
        handles = await client.send_many(orders(*range(35)))

        assert len({handle.id for handle in handles}) == 35
        assert await count(client) == 35


async def test_a_failure_tells_which_were_accepted(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MAX_BATCH", 2)
    async with app.client() as client:
        backend = client._connection.backend
        insert, calls = backend.executions.insert, []

        async def fail_the_second(executions: Any) -> Any:
            calls.append([each.id for each in executions])
            if len(calls) == 2:
                raise StoreUnavailable("no answer")
            return await insert(executions)

        backend.executions.insert = fail_the_second  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable) as lost:
            await client.send_many(orders(1, 2, 3, 4, 5))

        assert list(lost.value.accepted) == calls[0]
        assert list(lost.value.unknown) == calls[1]
        assert await count(client) == 2


class Source:
    """Orders that are made when they are asked for; it knows how many still exist."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.made = 0
        self.alive = weakref.WeakValueDictionary[int, Order]()

    def plain(self) -> Iterator[Order]:
        for number in range(self.count):
            self.made += 1
            order = Order(number=number)
            self.alive[number] = order
            yield order

    async def asynchronous(self) -> AsyncIterator[Order]:
        for order in self.plain():
            yield order


@pytest.mark.parametrize("middleware", [[], [Tracing()]])
@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
async def test_a_stream_holds_one_batch_and_no_handle(
    make_app: Any, kind: str, middleware: list[Middleware]
) -> None:
    source = Source(73)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    taken = 0
    async with make_app(middleware=middleware).client() as client:
        stream = client.send_stream(getattr(source, kind)(), batch=10)
        assert source.made == 0
        async for handle in stream:
            taken += 1
            alive.add(handle)
            assert source.made <= taken + 10
            assert len(source.alive) <= 11
            assert len(alive) <= 11
            del handle

        assert taken == 73
        assert await count(client) == 73


async def test_a_stream_is_not_read_faster_than_its_handles(
    app: Worchflow[Any],
) -> None:
    source = Source(1000)
    async with app.client() as client:
        stream = client.send_stream(source.plain(), batch=10)
        handles = [await anext(stream) for _ in range(11)]

        assert source.made == 20
        assert await count(client) == 20
        assert [(await client.get(each.id)).data["number"] for each in handles] == [
            *range(11)
        ]


async def test_a_bad_message_in_a_stream_keeps_its_batch_from_being_written(
    app: Worchflow[Any],
) -> None:
    async with app.client() as client:
        taken = 0
        with pytest.raises(EventValidationError):
            async for _ in client.send_stream(
                [*orders(1, 2, 3, 4, 5), "order", *orders(7, 8, 9)], batch=2
            ):
                taken += 1

        assert taken == await count(client) == 4


def test_a_stream_without_an_event_loop(app: Worchflow[Any]) -> None:
    source = Source(25)
    with app.client().sync as client:
        handles = client.send_stream(source.plain(), batch=10)
        first = next(handles)
        assert source.made == 10
        assert [first.status(), *(each.status() for each in handles)] == ["queued"] * 25


async def test_what_is_no_stream_is_refused_at_once(app: Worchflow[Any]) -> None:
    client: Any = app.client()
    bad: Any
    for bad in (Order(number=1), {"name": "order"}, "order", 1, None):
        with pytest.raises(InvalidInput, match="send_stream takes several"):
            client.send_stream(bad)
        with pytest.raises(InvalidInput, match="send_stream takes several"):
            client.sync.send_stream(bad)
    with pytest.raises(InvalidInput, match="send_stream takes several"):
        client.sync.send_stream(Source(1).asynchronous())
    for bad in (0, 1001, True, "10", None):
        with pytest.raises(InvalidInput, match="batch="):
            client.send_stream([], batch=bad)


async def test_an_id_of_another_prefix_is_told_with_what_was_accepted(
    make_app: Any, where: dict[str, Any]
) -> None:
    prefix = where.get("queue_prefix", "worchflow")
    ours, theirs = make_app(), make_app(queue_prefix=f"{prefix}-2")
    async with ours.client() as client, theirs.client() as other:
        await other.send(Order(number=1), id="taken")
        prepared = [
            client._sender.prepare(Order(number=number), id=name)
            for number, name in enumerate(("before", "taken", "after"))
        ]

        with pytest.raises(ExecutionConflict, match="another queue prefix") as caught:
            await client._accept(prepared)

        assert caught.value.execution_id == "taken"
        assert caught.value.accepted == ("before", "after")
        for name in caught.value.accepted:
            assert (await client.get(name)).status == "queued"
        assert (await other.get("taken")).data == {"number": 1}
