"""Sending: once per id, later, from anywhere, and safely again when it is unclear."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, Field

from worchflow import (
    Context,
    Event,
    EventValidationError,
    ExecutionConflict,
    ExecutionStatus,
    InvalidInput,
    Middleware,
    StoreUnavailable,
    UnknownEvent,
    Worchflow,
    WorchflowClient,
    WrongState,
    event,
)


class Order(Event[str], name="order"):
    number: int
    tags: frozenset[str] = frozenset()


class Refund(Event[str], name="refund"):
    number: int


class Address(BaseModel):
    city: str


def serving(app: Worchflow[Any]) -> Worchflow[Any]:
    @app.function(Order)
    async def order(ctx: Context[Order]) -> str:
        return f"order {ctx.data.number}"

    return app


async def test_an_id_is_one_execution_however_often_it_is_sent(
    app: Worchflow[Any],
) -> None:
    serving(app)
    async with app.client() as client, app.worker():
        first = await client.send(Order(number=1), id="o-1")
        again = await client.send(Order(number=1), id="o-1")
        assert (first.duplicate, again.duplicate) == (False, True)
        assert await again.result(timeout=10) == "order 1"

        after = await client.send(Order(number=1), id="o-1")
        assert after.duplicate
        assert await after.result(timeout=10) == "order 1"
        as_mapping = {"name": "order", "data": {"number": 1}}
        assert (await client.send(as_mapping, id="o-1")).duplicate


async def test_many_senders_of_one_id_make_one_execution(app: Worchflow[Any]) -> None:
    async with app.client() as client, app.client() as other:
        handles = await asyncio.gather(
            *(each.send(Order(number=1), id="o") for each in [client, other] * 10)
        )

        assert sorted(handle.duplicate for handle in handles) == [False] + [True] * 19
        assert len((await client.list()).items) == 1


async def test_equal_data_is_equal_however_it_is_written(app: Worchflow[Any]) -> None:
    tags = [f"tag-{n}" for n in range(20)]
    async with app.client() as client:
        await client.send(Order(number=1, tags=frozenset(tags)), id="o")
        again = Order(number=1, tags=frozenset(reversed(tags)))

        assert (await client.send(again, id="o")).duplicate


@pytest.mark.parametrize(
    "other", [Order(number=2), Refund(number=1), {"name": "order", "data": None}]
)
async def test_an_id_never_means_two_things(app: Worchflow[Any], other: Any) -> None:
    async with app.client() as client:
        await client.send(Order(number=1), id="o")
        with pytest.raises(ExecutionConflict, match='id="o"') as conflict:
            await client.send(other, id="o")

        assert conflict.value.execution_id == "o"
        assert (await client.get("o")).data == {"number": 1, "tags": []}


class Stamped(Event[int], name="stamped"):
    number: int
    tags: list[str] = Field(default_factory=list)
    key: UUID = Field(default_factory=uuid4)


async def test_what_the_sender_did_not_give_is_no_conflict(
    app: Worchflow[Any],
) -> None:
    @app.function(Stamped)
    async def stamped(ctx: Context[Stamped]) -> int:
        return ctx.data.number

    async with app.client() as client:
        first = Stamped(number=1, tags=["a"])
        await client.send(first, id="o")
        equal: list[Any] = [
            Stamped(number=1, tags=["a"]),
            {"name": "stamped", "data": {"number": 1, "tags": ["a"]}},
            Stamped(number=1, tags=["a"], key=first.key),
        ]
        for message in equal:
            assert (await client.send(message, id="o")).duplicate
        for other in (
            Stamped(number=2, tags=["a"]),
            Stamped(number=1),
            Stamped(number=1, tags=["a"], key=uuid4()),
        ):
            with pytest.raises(ExecutionConflict):
                await client.send(other, id="o")
        assert (await client.get("o")).data["key"] == str(first.key)


async def test_a_delayed_execution_waits_and_says_so(app: Worchflow[Any]) -> None:
    async with app.client() as client:
        before = datetime.now(UTC)
        soon = await client.send(Order(number=1), delay="1h")
        tomorrow = before + timedelta(days=1)
        later = await client.send(Order(number=2), at=tomorrow)

        run_at = (await client.get(soon.id)).run_at
        assert run_at is not None
        assert timedelta(minutes=59) < run_at - before < timedelta(minutes=61)
        run_at = (await client.get(later.id)).run_at
        assert run_at is not None
        assert abs(run_at - tomorrow) < timedelta(seconds=1)


async def test_a_delay_that_is_over_starts_it(app: Worchflow[Any]) -> None:
    serving(app)
    async with app.client() as client, app.worker():
        past = await client.send(Order(number=1), at=datetime(2020, 1, 1, tzinfo=UTC))
        now = await client.send(Order(number=2), delay=0)
        soon = await client.send(Order(number=3), delay=0.05)

        handles = (past, now, soon)
        results = [await handle.result(timeout=10) for handle in handles]
        assert results == ["order 1", "order 2", "order 3"]


async def test_a_delayed_execution_can_be_cancelled_and_retried(
    app: Worchflow[Any],
) -> None:
    serving(app)
    async with app.client() as client, app.worker():
        handle = await client.send(Order(number=1), delay="1h")
        await client.cancel(handle.id, reason="mistake")
        execution = await client.get(handle.id)
        assert execution.status is ExecutionStatus.CANCELLED
        assert execution.reason == "mistake"
        await client.cancel(handle.id)
        await handle.cancel()

        await client.retry(handle.id)
        assert await handle.result(timeout=10) == "order 1"
        with pytest.raises(WrongState, match="completed"):
            await client.cancel(handle.id)
        with pytest.raises(WrongState, match="completed"):
            await client.retry(handle.id)
        await handle.cancel()


async def test_every_spelling_of_a_message_is_sent(app: Worchflow[Any]) -> None:
    class Parcel(TypedDict):
        weight: float

    parcel = event("parcel", Parcel, str)

    @app.function(event("address", Address, str))
    async def address(ctx: Context[Address]) -> str:
        return ctx.data.city

    @app.function(parcel)
    async def weigh(ctx: Context[Parcel]) -> str:
        return f"{ctx.data['weight']} kg"

    @app.function("nothing")
    async def nothing(ctx: Context[None]) -> str:
        return repr(ctx.data)

    messages: list[Any] = [
        parcel({"weight": 1.5}),
        address(Address(city="Bern")),
        {"name": "address", "data": {"city": "Genf"}},
        nothing(),
        {"name": "nothing", "data": None},
    ]
    async with app.client() as client, app.worker(concurrency=5):
        handles = await client.send_many(messages)
        results = [await handle.result(timeout=10) for handle in handles]

    assert results == ["1.5 kg", "Bern", "Genf", "None", "None"]


class PayData(TypedDict):
    amount: int


class Pay(TypedDict):
    name: Literal["pay"]
    data: PayData


class Ship(TypedDict):
    name: Literal["ship"]
    data: str


@pytest.mark.parametrize("how", ["subscript", "argument", "app"])
async def test_a_schema_is_enforced_at_run_time(make_app: Any, how: str) -> None:
    backend = make_app().backend()
    if how == "subscript":
        client: Any = WorchflowClient[Pay | Ship](backend=backend)
    elif how == "argument":
        client = WorchflowClient(backend=backend, events=Pay | Ship)
    else:
        client = Worchflow[Pay | Ship]("app", backend=backend).client()
    async with client:
        await client.send({"name": "pay", "data": {"amount": 1}})
        await client.send({"name": "ship", "data": "home"})
        with pytest.raises(UnknownEvent, match='did you mean "pay"'):
            await client.send({"name": "pya", "data": {"amount": 1}})
        with pytest.raises(EventValidationError, match="amount"):
            await client.send({"name": "pay", "data": {"amount": "one"}})
        with pytest.raises(UnknownEvent):
            await client.send_many(
                [{"name": "ship", "data": ""}, {"name": "x", "data": 1}]
            )

        assert len((await client.list()).items) == 2


class TwiceOnTrouble(Middleware):
    """Sends again when a store does not answer, as a careful user would."""

    async def wrap_send(self, message: Any, call_next: Any) -> Any:
        try:
            return await call_next(message)
        except StoreUnavailable:
            return await call_next(message)


@pytest.mark.parametrize("many", [False, True])
async def test_sending_again_inside_middleware_makes_one_execution(
    make_app: Any, many: bool
) -> None:
    app = make_app(middleware=[TwiceOnTrouble()])
    async with app.client() as client:
        backend = client._connection.backend
        insert, calls = backend.executions.insert, []

        async def answer_lost_once(executions: Any) -> Any:
            outcome = await insert(executions)
            calls.append(len(executions))
            if len(calls) == 1:
                raise StoreUnavailable("no answer")
            return outcome

        backend.executions.insert = answer_lost_once
        message = {"name": "order", "data": {"number": 1}}
        if many:
            (handle,) = await client.send_many([message])
        else:
            handle = await client.send(message)

        assert len(calls) == 2
        assert [each.id for each in (await client.list()).items] == [handle.id]


async def test_a_send_without_a_store_tells_the_id_to_try_again_with(
    tmp_path: Any,
) -> None:
    app = Worchflow(
        "lost", redis_url="redis://127.0.0.1:1", mongo_url="mongodb://127.0.0.1:1/x"
    )
    client = app.client()
    backend = client._connection.backend

    async def unreachable() -> None:
        raise StoreUnavailable("no answer")

    backend.open = unreachable
    with pytest.raises(StoreUnavailable) as lost:
        await client.send({"name": "order", "data": None}, id="mine")
    assert lost.value.execution_id == "mine"
    with pytest.raises(StoreUnavailable) as lost:
        await client.send({"name": "order", "data": None})
    assert lost.value.execution_id
    with pytest.raises(InvalidInput):
        await client.send({"name": "order", "data": None}, id="no good id")
