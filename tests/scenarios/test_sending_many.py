"""Sending many messages: all are checked before any is written, one handle each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from worchflow import (
    Context,
    Event,
    EventValidationError,
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
    monkeypatch.setattr(sending, "BATCH", 10)
    async with app.client() as client:
        handles = await client.send_many(orders(*range(35)))

        assert len({handle.id for handle in handles}) == 35
        assert await count(client) == 35


async def test_a_failure_tells_which_were_accepted(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCH", 2)
    async with app.client() as client:
        backend = client._connection.backend
        insert, calls = backend.insert, []

        async def fail_the_second(executions: Any) -> Any:
            calls.append([each.id for each in executions])
            if len(calls) == 2:
                raise StoreUnavailable("no answer")
            return await insert(executions)

        backend.insert = fail_the_second  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable) as lost:
            await client.send_many(orders(1, 2, 3, 4, 5))

        assert list(lost.value.accepted) == calls[0]
        assert list(lost.value.unknown) == calls[1]
        assert await count(client) == 2
