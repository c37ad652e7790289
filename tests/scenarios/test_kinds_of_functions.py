"""Everything Python can call runs as a step, with its arguments and context."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.waiting import until
from worchflow import (
    Context,
    ExecutionFailed,
    Middleware,
    StepError,
    SyncContext,
    Worchflow,
)
from worchflow.worker import worcher

TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


def add(a: int, b: int = 0, *more: int, factor: int = 1) -> int:
    return (a + b + sum(more)) * factor


async def add_later(a: int, b: int = 0, *, factor: int = 1) -> int:
    await asyncio.sleep(0)
    return (a + b) * factor


class Color(Enum):
    RED = "red"


@dataclass
class Item:
    id: UUID
    price: Decimal
    color: Color
    tags: tuple[str, ...]


class Adder:
    def __init__(self, base: int) -> None:
        self.base = base

    def __call__(self, n: int) -> int:
        return self.base + n

    def plain(self, n: int) -> int:
        return self.base + n

    async def later(self, n: int) -> int:
        return self.base + n

    def key_of(self, ctx: Context[None]) -> str:
        return ctx.idempotency_key()

    @classmethod
    def of_class(cls, n: int) -> int:
        return n

    @staticmethod
    async def static(n: int) -> int:
        return n


class LaterAdder(Adder):
    async def __call__(self, n: int) -> int:  # type: ignore[override]
        return self.base + n


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def decorated_blindly(function: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


KINDS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], int]] = {
    "function": (add, (1, 2, 3), {"factor": 2}, 12),
    "coroutine function": (add_later, (1,), {"b": 2, "factor": 2}, 6),
    "lambda": (lambda n: n + 1, (1,), {}, 2),
    "lambda of a coroutine": (lambda n: add_later(n, 1), (1,), {}, 2),
    "partial": (functools.partial(add, 1, factor=3), (1,), {}, 6),
    "partial of a coroutine function": (functools.partial(add_later, 1), (1,), {}, 2),
    "partial of a partial": (
        functools.partial(functools.partial(add_later, 1), b=2),
        (),
        {},
        3,
    ),
    "object": (Adder(1), (1,), {}, 2),
    "object that answers later": (LaterAdder(1), (1,), {}, 2),
    "method": (Adder(1).plain, (1,), {}, 2),
    "method that answers later": (Adder(1).later, (1,), {}, 2),
    "method of a class": (Adder.of_class, (2,), {}, 2),
    "static method": (Adder.static, (2,), {}, 2),
    "decorated function": (decorated(add), (1, 1), {}, 2),
    "decorated coroutine function": (decorated(add_later), (1, 1), {}, 2),
    "class": (int, ("2",), {}, 2),
    "built-in": (len, ("ab",), {}, 2),
    # Names of options are names like any other.
    "keyword of the same name as an option": (
        lambda *, key, retries, timeout, as_type, title, fn: (
            key + retries + timeout + as_type + title + fn
        ),
        (),
        {"key": 1, "retries": 2, "timeout": 3, "as_type": 4, "title": 5, "fn": 6},
        21,
    ),
}


async def test_each_kind_runs_once_and_is_replayed(
    app: Worchflow[Any], subtests: pytest.Subtests
) -> None:
    attempts: list[str] = []

    @app.function("async")
    async def handler(ctx: Context[str]) -> int:
        attempts.append(ctx.execution_id)
        function, args, kwargs, _ = KINDS[ctx.data]
        value: int = await ctx.step.run("it", function, *args, **kwargs)
        if ctx.attempt == 1:
            raise ConnectionError
        return value

    @app.function("plain")
    def plain_handler(ctx: SyncContext[str]) -> int:
        attempts.append(ctx.execution_id)
        function, args, kwargs, _ = KINDS[ctx.data]
        value: int = ctx.step.run("it", function, *args, **kwargs)
        if ctx.attempt == 1:
            raise ConnectionError
        return value

    async with app.client() as client, app.worker(concurrency=10):
        for name in ("async", "plain"):
            handles = await client.send_many(
                [{"name": name, "data": kind} for kind in KINDS]
            )
            for kind, handle in zip(KINDS, handles, strict=True):
                with subtests.test(f"{kind} in a handler that is {name}"):
                    expected = KINDS[kind][-1]
                    assert await handle.result(timeout=10) == expected
                    assert attempts.count(handle.id) == 2
                    (step,) = await client.steps(handle.id)
                    assert step.result == expected


async def test_plain_handlers_run_their_plain_steps_while_the_pool_is_used_up(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worcher, "MIN_STEP_THREADS", 1)
    held: list[int] = []
    go_on = threading.Event()

    def hold(n: int) -> None:
        held.append(n)
        assert go_on.wait(20)

    @app.function("greedy")
    async def greedy(ctx: Context[None]) -> None:
        steps = [ctx.step.options(key=n).run("hold", hold, n) for n in range(5)]
        await asyncio.gather(*steps)

    @app.function("plain")
    def plain(ctx: SyncContext[None]) -> bool:
        return ctx.step.run("own", threading.get_ident) == threading.get_ident()

    async with app.client() as client, app.worker(concurrency=2):
        waiting = await client.send(greedy())
        # The pool has four threads, so one of the five steps waits for its turn.
        await until(lambda: len(held) == 4)
        try:
            handle = await client.send({"name": "plain", "data": None})
            assert await handle.result(timeout=10) is True
            assert len(held) == 4
        finally:
            go_on.set()
        await waiting.result(timeout=10)


async def test_a_handler_may_be_any_of_them_too(app: Worchflow[Any]) -> None:
    class Handlers:
        def __init__(self, base: int) -> None:
            self.base = base

        async def method(self, ctx: Context[int]) -> int:
            return await ctx.step.run("add", add, self.base, ctx.data)

        async def __call__(self, ctx: Context[int]) -> int:
            return await ctx.step.run("add", add, self.base, ctx.data)

    async def configured(base: int, ctx: Context[int]) -> int:
        return await ctx.step.run("add", add, base, ctx.data)

    app.create_function("method", Handlers(1).method)
    app.create_function("object", Handlers(2))
    app.create_function("partial", functools.partial(configured, 3))
    async with app.client() as client, app.worker(concurrency=3):
        handles = await client.send_many(
            [{"name": name, "data": 10} for name in ("method", "object", "partial")]
        )
        assert [await each.result(timeout=10) for each in handles] == [11, 12, 13]


async def test_an_async_handler_in_disguise_is_told(app: Worchflow[Any]) -> None:
    async def work(ctx: Any) -> int:
        return int(await ctx.step.run("add", add, 1))

    app.create_function("disguised", decorated_blindly(work))
    async with app.client() as client, app.worker():
        handle = await client.send({"name": "disguised", "data": None})
        with pytest.raises(ExecutionFailed, match="returned an awaitable") as failed:
            await handle.result(timeout=10)

    assert failed.value.error_type == "NonRetryable"
    assert "Context[...]" in failed.value.message


async def test_context_variables_reach_steps_and_threads(app: Worchflow[Any]) -> None:
    def tenant() -> str:
        return TENANT.get()

    async def tenant_later() -> str:
        return TENANT.get()

    @app.function("async")
    async def asynchronous(ctx: Context[None]) -> list[str]:
        TENANT.set("acme")
        return [
            await ctx.step.run("thread", tenant),
            await ctx.step.run("loop", tenant_later),
        ]

    @app.function("plain")
    def plain(ctx: SyncContext[None]) -> list[str]:
        before = TENANT.get()
        TENANT.set("globex")
        return [
            before,
            ctx.step.run("thread", tenant),
            ctx.step.run("loop", tenant_later),
        ]

    async with app.client() as client, app.worker(concurrency=2):
        TENANT.set("the sender's")
        for _ in range(2):
            one = await client.send({"name": "async", "data": None})
            two = await client.send({"name": "plain", "data": None})
            assert await one.result(timeout=10) == ["acme"] * 2
            # What one execution sets, no other sees.
            assert await two.result(timeout=10) == ["nobody", *["globex"] * 2]


async def test_types_come_back_the_same_the_first_time_and_on_replay(
    app: Worchflow[Any],
) -> None:
    item = Item(uuid4(), Decimal("1.10"), Color.RED, ("a", "b"))
    seen: list[Any] = []

    def load() -> Item:
        return item

    @app.function("typed")
    async def typed(ctx: Context[None]) -> None:
        seen.append(await ctx.step.run("load", load))
        keyed = ctx.step.options(key=item.id, as_type=set[int])
        seen.append(await keyed.run("untyped", lambda: {1, 2}))
        if ctx.attempt == 1:
            raise ConnectionError

    async with app.client() as client, app.worker():
        await (await client.send(typed())).result(timeout=10)

    assert seen == [item, {1, 2}] * 2
    assert seen[0] is not item


@pytest.mark.parametrize("key", ["text", 7, -1, UUID(int=5), "ü" * 200])
async def test_keys_of_every_kind_name_their_step(
    app: Worchflow[Any], key: Any
) -> None:
    keys: list[str] = []

    @app.function("keyed")
    async def keyed(ctx: Context[None]) -> None:
        step = ctx.step.options(key=key)
        await step.run("work", lambda: keys.append(ctx.idempotency_key()))
        keys.append(ctx.idempotency_key("work", key=key))
        if ctx.attempt == 1:
            raise ConnectionError

    async with app.client() as client, app.worker():
        await (await client.send(keyed())).result(timeout=10)

    assert len(set(keys)) == 1
    assert len(keys) == 3


async def test_an_idempotency_key_outside_of_steps_needs_a_title(
    app: Worchflow[Any],
) -> None:
    @app.function("keys", retries=0)
    async def keys(ctx: Context[None]) -> list[str]:
        with pytest.raises(StepError, match="no step is running"):
            ctx.idempotency_key()
        inside = await ctx.step.run("charge", ctx.idempotency_key)
        in_thread = await ctx.step.run("refund", Adder(0).key_of, ctx)
        other = await ctx.step.run("look", lambda: ctx.idempotency_key("charge"))
        return [inside, in_thread, other, ctx.idempotency_key("charge")]

    async with app.client() as client, app.worker():
        handle = await client.send(keys())
        inside, in_thread, other, outside = await handle.result(timeout=10)

    assert inside == other == outside != in_thread
    assert inside.startswith(f"{handle.id}:")


async def test_results_that_are_no_values_fail_at_once(app: Worchflow[Any]) -> None:
    def generated() -> Iterator[int]:
        yield 1

    @app.function("generator", retries=3)
    async def generator(ctx: Context[None]) -> None:
        await ctx.step.run("generated", generated)

    async with app.client() as client, app.worker():
        handle = await client.send(generator())
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=10)

        assert failed.value.error_type == "SerializationError"
        assert (await client.get(handle.id)).attempt_count == 1


async def test_a_plain_handler_on_the_event_loop_would_block_it(
    app: Worchflow[Any],
) -> None:
    contexts: list[SyncContext[None]] = []
    go_on = threading.Event()

    @app.function("plain")
    def plain(ctx: SyncContext[None]) -> str:
        contexts.append(ctx)
        assert go_on.wait(10)
        return ctx.step.run("fine", lambda: "fine")

    async with app.client() as client, app.worker():
        handle = await client.send(plain())
        await until(lambda: contexts)
        with pytest.raises(StepError, match="block"):
            contexts[0].step.run("not here", lambda: None)
        go_on.set()

        assert await handle.result(timeout=10) == "fine"


class Tracing(Middleware):
    async def wrap_step(self, ctx: Any, title: str, call_next: Any) -> Any:
        TENANT.set(f"{TENANT.get()}, traced")
        return await call_next()


@pytest.mark.parametrize("kind", ["async", "thread", "awaitable from a thread"])
async def test_what_a_step_sets_in_context_variables_stays_in_it(
    make_app: Any, kind: str
) -> None:
    app = make_app(middleware=[Tracing()])

    async def set_on_loop() -> str:
        TENANT.set(f"{TENANT.get()}, the step")
        return TENANT.get()

    def set_in_thread() -> str:
        TENANT.set(f"{TENANT.get()}, the step")
        return TENANT.get()

    work: Any = {
        "async": set_on_loop,
        "thread": set_in_thread,
        "awaitable from a thread": decorated_blindly(set_on_loop),
    }[kind]

    @app.function("places", retry_delay=0)
    async def places(ctx: Context[None]) -> list[str]:
        TENANT.set("the handler")
        inside = await ctx.step.run("set", work)
        if ctx.attempt == 1:
            raise ConnectionError
        return [inside, TENANT.get()]

    @app.function("first")
    async def first(ctx: Context[None]) -> list[str]:
        TENANT.set("the handler")
        return [await ctx.step.run("set", work), TENANT.get()]

    async with app.client() as client, app.worker():
        # A replay, which runs no step, and a first run are one to the handler.
        for function in (places, first):
            handle = await client.send(function())
            assert await handle.result(timeout=10) == [
                "the handler, traced, the step",
                "the handler",
            ]


async def test_a_wrapper_that_makes_a_handler_plain_is_told_at_once(
    app: Worchflow[Any],
) -> None:
    async def inner(ctx: Context[None]) -> int:
        return 7

    @functools.wraps(inner)
    def run_elsewhere(ctx: Any) -> int:
        inner(ctx).close()
        return 7

    plain: Any = run_elsewhere
    wrapped = app.function("wrapped", id="wrapped", retries=5)(plain)

    async with app.client() as client, app.worker():
        handle = await client.send(wrapped())
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=10)

    assert "wrapped is an async def inside a plain wrapper" in failed.value.message
    assert "returned an int instead of an awaitable" in failed.value.message
    assert failed.value.error_type == "NonRetryable"
