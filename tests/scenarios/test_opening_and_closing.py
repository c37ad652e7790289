"""Clients, workers and apps are opened and closed in any order, and say when not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from worchflow import (
    ConfigurationError,
    Context,
    ExecutionStatus,
    Worchflow,
    WorchflowClient,
)
from worchflow.model.notices import Ready

MakeApp = Any


def answering(app: Worchflow[Any]) -> Worchflow[Any]:
    @app.function("answer")
    async def answer(ctx: Context[None]) -> int:
        return await ctx.step.run("answer", lambda: 42)

    return app


async def test_the_first_call_opens_a_client(app: Worchflow[Any]) -> None:
    client = app.client()
    seen: list[Ready] = []
    client.on("ready", seen.append)
    assert seen == []

    handle = await client.send({"name": "answer", "data": None})

    assert seen == [Ready()]
    assert await handle.status() is ExecutionStatus.QUEUED
    await client.close()


async def test_a_handles_first_call_opens_its_client(app: Worchflow[Any]) -> None:
    async with app.client() as sender:
        sent = await sender.send({"name": "answer", "data": None})

    client = app.client()
    assert await client.handle(sent.id).status() is ExecutionStatus.QUEUED
    await client.handle(sent.id).cancel("no longer wanted")
    updates = [update async for update in client.handle(sent.id).updates()]
    assert [update.status for update in updates] == [ExecutionStatus.CANCELLED]
    await client.close()


async def test_opening_and_closing_twice_changes_nothing(app: Worchflow[Any]) -> None:
    client = app.client()
    seen: list[Ready] = []
    client.on("ready", seen.append)
    await asyncio.gather(client.open(), client.open())
    async with client:
        await client.counts()
    await client.close()
    await client.close()

    assert seen == [Ready()]


async def test_a_closed_client_says_so_until_it_is_opened_again(
    app: Worchflow[Any],
) -> None:
    async with app.client() as client:
        handle = await client.send({"name": "answer", "data": None})

    for call in (
        lambda: client.send({"name": "answer", "data": None}),
        lambda: client.get(handle.id),
        handle.status,
        handle.result,
    ):
        with pytest.raises(ConfigurationError, match=r"closed: open\(\) opens it"):
            await call()

    async with client:
        assert await handle.status() is ExecutionStatus.QUEUED


def test_an_app_serves_one_event_loop_after_the_other(make_app: MakeApp) -> None:
    app = answering(make_app())

    async def main() -> int:
        async with app.client() as client, app.worker():
            handle = await client.send({"name": "answer", "data": None})
            return await handle.result(timeout=10)

    assert asyncio.run(main()) == 42
    assert asyncio.run(main()) == 42


def test_a_client_that_was_closed_serves_the_next_event_loop(
    make_app: MakeApp,
) -> None:
    client = make_app().client()

    async def main() -> int:
        async with client:
            await client.send({"name": "answer", "data": None})
            return (await client.counts())[ExecutionStatus.QUEUED]

    assert asyncio.run(main()) == 1
    assert asyncio.run(main()) >= 1


def test_calls_at_once_on_one_event_loop_after_the_other(make_app: MakeApp) -> None:
    client = make_app().client()
    message = {"name": "answer", "data": None}

    async def main() -> int:
        # The second time the calls find it closed, and being opened.
        for _ in range(2):
            await asyncio.gather(
                client.open(), *(client.send(message) for _ in range(5)), client.open()
            )
            await asyncio.gather(client.close(), client.close())
        async with client:
            return len((await client.list()).items)

    assert asyncio.run(main()) == 10
    assert asyncio.run(main()) == 20


def test_a_client_still_open_elsewhere_refuses_another_event_loop(
    make_app: MakeApp,
) -> None:
    client = make_app().client()

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await client.counts()
        with pytest.raises(ConfigurationError, match="another event loop"):
            await client.open()

    with asyncio.Runner() as its_own:
        its_own.run(client.open())
        asyncio.run(main())
        its_own.run(client.close())


async def test_app_clients_and_workers_share_a_database_in_memory() -> None:
    app = answering(Worchflow("app", sqlite=":memory:"))
    async with app.client() as client, app.worker(), app.client() as other:
        handle = await client.send({"name": "answer", "data": None})

        assert await handle.result(timeout=10) == 42
        assert (await other.get(handle.id)).result == 42


async def test_two_apps_share_one_store(make_app: MakeApp) -> None:
    sender, runner = make_app("sender"), answering(make_app("runner"))
    async with sender.client() as client, runner.worker():
        handle = await client.send({"name": "answer", "data": None})

        assert await handle.result(timeout=10) == 42


async def test_two_choices_of_stores_are_refused_when_the_app_is_made(
    tmp_path: Any,
) -> None:
    with pytest.raises(ConfigurationError, match="name one place"):
        Worchflow("app", sqlite=tmp_path / "db", redis_url="redis://localhost")
    with pytest.raises(ConfigurationError, match="MongoDB is missing"):
        Worchflow("app", redis_url="redis://localhost")


def test_connect_takes_what_a_client_takes() -> None:
    client = WorchflowClient.connect(
        "redis://127.0.0.1:1",
        "mongodb://127.0.0.1:1/orders",
        queue_prefix="orders",
        middleware=(),
        events=None,
        functions=(),
        serializer=None,
        codec=None,
        limits=None,
    )

    assert client._connection.backend.options.queue_prefix == "orders"


def test_a_client_is_used_by_one_run_of_asyncio_after_another(
    make_app: MakeApp,
) -> None:
    """Nobody has closed it when the first event loop is closed."""
    client = make_app().client()

    async def send() -> str:
        return (await client.send({"name": "order", "data": 1})).id

    ids = {asyncio.run(send()) for _ in range(3)}

    async def found() -> set[str]:
        async with client:
            return {each.id for each in (await client.list()).items}

    assert asyncio.run(found()) == ids


async def test_a_client_opened_again_stays_open(app: Worchflow[Any]) -> None:
    client = app.client()
    seen: list[Ready] = []
    client.on("ready", seen.append)
    for _ in range(2):
        await client.open()
        await client.counts()
        await client.close()
    await client.open()
    for _ in range(100):
        await asyncio.sleep(0.001)

    await client.counts()

    assert seen == [Ready()] * 3
    await client.close()
