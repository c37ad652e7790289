"""Headers travel with an execution, tags find it, attempts say what happened to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    InvalidInput,
    NonRetryable,
    Retry,
    SerializationError,
    SyncContext,
    Worchflow,
)
from worchflow.model.settlement import Completed

App = Worchflow[Any]


async def test_headers_are_in_the_context_and_on_the_execution(app: App) -> None:
    seen: list[Any] = []

    @app.function("order")
    async def order(ctx: Context[None]) -> None:
        seen.append(ctx.headers)

    async with app.worker(), app.client() as client:
        handle = await client.send(order(None), headers={"tenant": "é 😀"})
        await handle.result(timeout=20)
        bare = await client.send(order(None))
        await bare.result(timeout=20)

        assert seen == [{"tenant": "é 😀"}, {}]
        with pytest.raises(TypeError):
            seen[0]["tenant"] = "other"
        assert (await client.get(handle.id)).headers == {"tenant": "é 😀"}
        assert (await client.get(bare.id)).headers == {}


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_an_execution_sends_has_its_headers(
    app: App, is_async: bool
) -> None:
    client = app.client()

    @app.function("child")
    async def child(ctx: Context[str]) -> None: ...

    def send_sync(name: str) -> str:
        return client.sync.send(child(name), headers={"own": name}).id

    async def send(name: str) -> str:
        return (await client.send(child(name), headers={"own": name})).id

    if is_async:

        @app.function("parent")
        async def parent(ctx: Context[None]) -> list[str]:
            in_step = await ctx.step.run("Send", send, "step")
            return [in_step, await send("handler")]

    else:

        @app.function("parent")
        def plain_parent(ctx: SyncContext[None]) -> list[str]:
            in_step = ctx.step.run("Send", send_sync, "step")
            return [in_step, send_sync("handler")]

    async with app.worker(concurrency=3), client:
        message = {"name": "parent", "data": None}
        handle = await client.send(message, headers={"trace": "1", "own": "parent"})
        ids = await handle.result(timeout=20)
        found = [(await client.get(each)).headers for each in ids]
        after = await client.send(child("after"))

        assert found == [
            {"trace": "1", "own": "step"},
            {"trace": "1", "own": "handler"},
        ]
        assert (await client.get(after.id)).headers == {}
    client.sync.close()


async def test_many_are_sent_with_the_same_headers_and_tags(app: App) -> None:
    async with app.client() as client:
        messages = [{"name": "order", "data": n} for n in range(3)]
        await client.send_many(messages, headers={"a": "b"}, tags=["blue"])
        stream = client.send_stream(messages, batch=2, headers={"a": "b"}, tags=["red"])
        streamed = [each.id async for each in stream]

        blue, red = [(await client.list(tag=tag)).items for tag in ("blue", "red")]

    assert [(each.headers, each.tags) for each in blue] == [({"a": "b"}, ("blue",))] * 3
    assert {each.id for each in red} == set(streamed)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"headers": {"a": 1}}, r"headers\['a'\] must be text, it is of type int"),
        ({"headers": {1: "a"}}, "a name in headers=1 must be text"),
        ({"headers": {"": "a"}}, "a name in headers='' must be text"),
        ({"headers": {"a": "\0"}}, "a NUL or half a character"),
        ({"headers": {"a": "\ud800"}}, "a NUL or half a character"),
        ({"headers": [("a", "b")]}, "must be a mapping of text to text"),
        ({"headers": {str(n): "" for n in range(33)}}, "33 headers of .* at most 32"),
        ({"headers": {"a": "é" * 2048}}, "1 headers of 4097 bytes are too many"),
        ({"tags": "blue"}, "tags='blue' must be a list of names"),
        ({"tags": [1]}, "a tag in tags=1 must be text"),
        ({"tags": [str(n) for n in range(11)]}, "11 tags are too many: .* at most 10"),
        ({"tag": ["a"]}, 'sending has no option "tag", did you mean "tags"'),
    ],
)
async def test_bad_headers_and_tags_are_refused_before_anything_is_written(
    app: App, store_content: Any, options: Any, says: str
) -> None:
    message = {"name": "order", "data": None}
    async with app.client() as client:
        await client.counts()
        before = store_content()
        for send in (client.send, client.send_many):
            what: Any = message if send == client.send else [message]
            with pytest.raises((InvalidInput, ConfigurationError), match=says):
                await send(what, **options)
        assert store_content() == before


async def test_the_largest_headers_and_most_tags_are_taken(app: App) -> None:
    headers = {f"name-{n:02}": "v" * 121 for n in range(32)}
    tags = [f"tag-{n}" for n in range(10)]
    assert sum(len(name) + len(text) for name, text in headers.items()) == 4096
    async with app.client() as client:
        handle = await client.send(
            {"name": "order", "data": None}, headers=headers, tags=[*tags, "tag-3"]
        )
        found = await client.get(handle.id)

    assert (found.headers, found.tags) == (headers, tuple(tags))


async def test_inherited_headers_count_too(app: App) -> None:
    errors: list[str] = []
    client = app.client()

    @app.function("parent")
    async def parent(ctx: Context[None]) -> None:
        try:
            await client.send(
                {"name": "child", "data": None}, headers={"b": "v" * 3000}
            )
        except InvalidInput as error:
            errors.append(str(error))

    async with app.worker(), client:
        handle = await client.send(parent(None), headers={"a": "v" * 3000})
        await handle.result(timeout=20)

    assert "2 headers of 6002 bytes are too many" in errors[0]


async def test_attempts_say_what_each_failed_with(app: App) -> None:
    failures = iter([ValueError("first"), KeyError("second"), NonRetryable("for good")])

    @app.function("order", retries=Retry(max_retries=5, delay=0, immediate_first=True))
    async def order(ctx: Context[None]) -> None:
        def charge() -> None:
            raise next(failures)

        await ctx.step.run("Charge", charge)

    worker = app.worker()
    async with worker, app.client() as client:
        worker_id = worker.id
        handle = await client.send(order(None))
        await until(lambda: _has_failed(handle))
        found = await client.get(handle.id)

    told = [
        (each.number, each.outcome, each.error and each.error.message)
        for each in found.attempts
    ]
    assert told == [
        (1, "failed", "first"),
        (2, "failed", "'second'"),
        (3, "failed", "for good"),
    ]
    for each in found.attempts:
        assert each.worker == worker_id
        assert each.started_at <= each.ended_at
        assert each.error is not None
        assert each.error.step == "Charge"
        assert "in charge" in each.error.traceback
    assert found.error == found.attempts[-1].error


async def _has_failed(handle: Any) -> bool:
    return bool(await handle.status() == "failed")


async def test_a_completed_and_a_cancelled_attempt_leave_records(app: App) -> None:
    @app.function("order")
    async def order(ctx: Context[None]) -> int:
        return 7

    @app.function("hold")
    async def hold(ctx: Context[None]) -> None:
        await until(lambda: False, timeout=60)

    async with app.worker(concurrency=2), app.client() as client:
        done = await client.send(order(None))
        await done.result(timeout=20)
        held = await client.send(hold(None))

        async def runs() -> bool:
            return bool(await held.status() == "processing")

        await until(runs)
        await held.cancel()

        async def ended() -> bool:
            return bool((await client.get(held.id)).attempts)

        await until(ended)
        (completed,) = (await client.get(done.id)).attempts
        (cancelled,) = (await client.get(held.id)).attempts

    assert (completed.number, completed.outcome, completed.error) == (
        *(1, "completed"),
        None,
    )
    assert (cancelled.outcome, cancelled.error) == ("cancelled", None)


async def test_what_fails_before_and_after_the_handler_leaves_a_record_too(
    app: App, make_app: Any
) -> None:
    @app.function("order")
    async def order(ctx: Context[int]) -> int:
        return ctx.data

    async with app.client() as client, make_app().client() as stranger:
        bad = await stranger.send({"name": "order", "data": "no number"})
        async with app.worker():
            await until(lambda: _has_failed(bad))
        (attempt,) = (await client.get(bad.id)).attempts

    assert (attempt.number, attempt.outcome) == (1, "failed")
    assert attempt.error is not None
    assert attempt.error.type == "EventValidationError"


async def test_an_attempt_whose_result_the_store_refuses_has_failed(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.function("order")
    async def order(ctx: Context[None]) -> int:
        return 7

    async with app.worker() as worker, app.client() as client:
        claims = worker._backend.claims
        settle = claims.settle

        async def refuse_results(claim: Any, settlement: Any, notice: Any) -> Any:
            if isinstance(settlement, Completed):
                raise SerializationError("the store cannot hold it")
            return await settle(claim, settlement, notice)

        monkeypatch.setattr(claims, "settle", refuse_results)
        handle = await client.send(order(None))
        await until(lambda: _has_failed(handle))
        (attempt,) = (await client.get(handle.id)).attempts

    assert attempt.outcome == "failed"
    assert attempt.error is not None
    assert attempt.error.message == "the store cannot hold it"
