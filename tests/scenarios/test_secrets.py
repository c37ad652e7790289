"""With a codec no store holds, and no log shows, what users send and return."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pymongo
import pytest
import redis
from cryptography.fernet import Fernet

from worchflow import (
    Context,
    Event,
    ExecutionConflict,
    ExecutionFailed,
    NonRetryable,
    SerializationError,
    StepFailed,
    Worchflow,
)

SECRETS = [
    f"secret-{place}-4711"
    for place in ("event", "step", "result", "error", "step-error")
]


class Encryption:
    """A codec that never gives the same bytes twice."""

    def __init__(self, key: bytes | None = None) -> None:
        self._fernet = Fernet(key or Fernet.generate_key())

    def encode(self, data: bytes) -> bytes:
        return self._fernet.encrypt(data)

    def decode(self, data: bytes) -> bytes:
        return self._fernet.decrypt(data)


class Order(Event[str], name="order"):
    card: str


def program(app: Worchflow[Any]) -> Worchflow[Any]:
    def read() -> str:
        return "secret-step-4711"

    def refuse() -> None:
        raise ValueError("secret-step-error-4711")

    @app.function(Order, retry_delay=0)
    async def order(ctx: Context[Order]) -> str:
        assert await ctx.step.run("read", read) == "secret-step-4711"
        with pytest.raises(StepFailed, match="secret-step-error-4711"):
            await ctx.step.options(retries=0).run("refuse", refuse)
        if ctx.attempt == 1:
            raise ConnectionError("secret-error-4711")
        if ctx.data.card == "secret-event-4711":
            return "secret-result-4711"
        raise NonRetryable("secret-error-4711")

    return app


def stored_bytes(where: dict[str, Any]) -> Iterable[bytes]:
    """Everything the store holds, as raw as it can be had."""
    if "sqlite" in where:
        path: Path = where["sqlite"]
        for file in path.parent.rglob("*"):
            if file.is_file():
                yield file.read_bytes()
        return
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(where["mongo_url"]) as client:
        database = client.get_default_database()
        for name in database.list_collection_names():
            yield from (repr(each).encode() for each in database[name].find())
    with redis.Redis.from_url(where["redis_url"]) as connection:
        for key in connection.scan_iter(match=f"*{where['queue_prefix']}*"):
            yield connection.dump(key)


async def test_no_plain_text_is_stored(make_app: Any, where: dict[str, Any]) -> None:
    app = program(make_app(codec=Encryption()))
    async with app.client() as client, app.worker():
        handle = await client.send(Order(card="secret-event-4711"))
        assert await handle.result(timeout=10) == "secret-result-4711"
        failing = await client.send(Order(card="secret-event-4711-bad"))
        with pytest.raises(ExecutionFailed, match="secret-error-4711"):
            await failing.result(timeout=10)

        # Who has the key reads everything.
        execution = await client.get(handle.id)
        assert execution.data == {"card": "secret-event-4711"}
        assert execution.result == "secret-result-4711"
        failed = (await client.get(failing.id)).error
        assert failed is not None
        assert failed.message == "secret-error-4711"
        assert "secret-error-4711" in failed.traceback
        steps = {step.title: step for step in await client.steps(handle.id)}
        assert steps["read"].result == "secret-step-4711"
        assert steps["refuse"].error is not None
        assert steps["refuse"].error.message == "secret-step-error-4711"

        found = [
            secret
            for content in stored_bytes(where)
            for secret in SECRETS
            if secret.encode() in content
        ]
    found += [
        secret
        for content in stored_bytes(where)
        for secret in SECRETS
        if secret.encode() in content
    ]
    assert found == []


async def test_an_id_is_known_again_although_its_bytes_differ(make_app: Any) -> None:
    app = make_app(codec=Encryption())
    async with app.client() as client:
        await client.send(Order(card="a"), id="o")
        assert (await client.send(Order(card="a"), id="o")).duplicate
        with pytest.raises(ExecutionConflict) as conflict:
            await client.send(Order(card="b"), id="o")

        assert "card" not in str(conflict.value)


async def test_without_the_key_nothing_is_read_and_nothing_is_lost(
    make_app: Any,
) -> None:
    key = Fernet.generate_key()
    ours, stranger = program(make_app(codec=Encryption(key))), make_app()
    async with ours.client() as client, stranger.client() as other:
        handle = await client.send(Order(card="secret-event-4711"))
        with pytest.raises(SerializationError, match="codec"):
            await other.get(handle.id)
        async with ours.worker():
            assert await handle.result(timeout=10) == "secret-result-4711"


async def test_a_codec_comes_later(make_app: Any) -> None:
    plain, sealed = program(make_app()), program(make_app(codec=Encryption()))
    async with plain.client() as client, sealed.client() as reader, sealed.worker():
        handle = await client.send(Order(card="secret-event-4711"))
        result = await reader.handle(handle.id).result(timeout=10)

    assert result == "secret-result-4711"


async def test_the_logs_name_executions_and_no_content(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    program(app)
    async with app.client() as client, app.worker() as worker:
        worker.on("execution:complete", repr)
        handle = await client.send(Order(card="secret-event-4711"))
        await handle.result(timeout=10)
        failing = await client.send(Order(card="other"))
        with pytest.raises(ExecutionFailed):
            await failing.result(timeout=10)
        reprs = [repr(handle), repr(client), repr(worker), repr(app)]

    ours = [each for each in caplog.records if each.name.startswith("worchflow")]
    text = "\n".join([*(each.getMessage() for each in ours), *reprs])
    assert [secret for secret in SECRETS if secret in text] == []
    failures = [each for each in ours if "failed with" in each.getMessage()]
    assert {vars(each)["execution_id"] for each in failures} == {handle.id, failing.id}
    assert {vars(each)["function"] for each in failures} == {"order"}
    assert {vars(each)["attempt"] for each in failures} == {1, 2}
