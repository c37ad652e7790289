"""Bad input is refused by name before anything is written.

What is odd but right comes back as it was.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypedDict

import pytest

from tests.scenarios.conftest import MakeApp, StoreContent
from worchflow import (
    ConfigurationError,
    Context,
    Event,
    EventValidationError,
    ExecutionConflict,
    ExecutionFailed,
    InvalidInput,
    PayloadTooLarge,
    SerializationError,
    SyncContext,
    Worchflow,
    WorchflowClient,
    WorchflowError,
    event,
    function,
    open_backend,
)
from worchflow.foundations.limits import PayloadLimits
from worchflow.model.options import BackendOptions, WorkerOptions

MIB = 1024 * 1024


def nested(depth: int) -> Any:
    """Lists in lists, this deep."""
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def containing_itself(kind: type[Any]) -> Any:
    value = kind()
    if kind is list:
        value.append(value)
    else:
        value["self"] = value
    return value


def a_generator() -> Iterator[int]:
    yield 1


BAD_IDS: dict[str, Any] = {
    "empty": "",
    "blank": " ",
    "two words": "a b",
    "line feed": "a\nb",
    "line feed at the end": "a\n",
    "carriage return": "a\r\nb",
    "NUL": "a\x00b",
    "umlaut": "ä",
    "Arabic digits": "١٢",
    "braces": "a{b}",
    "glob": "a*",
    "too long": "a" * 201,
    "surrogate": "\ud800",
    "bidi": "a\u202eb",
    "number": 5,
    "bool": True,
    "bytes": b"id",
    "list": ["a"],
    "operator": {"$ne": None},
    "UUID": uuid.UUID(int=1),
}

BAD_PREFIXES: dict[str, Any] = {
    "empty": "",
    "blank": "a b",
    "line feed": "a\n",
    "two tags": "{a}{b}",
    "open tag": "{a",
    "closed tag": "a}",
    "empty tag": "{}",
    "tag in a tag": "{{a}}",
    "glob": "a*",
    "NUL": "\x00",
    "umlaut": "ä",
    "too long": "a" * 201,
    "number": 5,
    "zero": 0,
    "bytes": b"a",
}

BAD_NAMES: dict[str, Any] = {
    "empty": "",
    "line feed": "pay\n",
    "NUL": "pay\x00",
    "separator": "pay\x1f1",
    "escape": "\x1b[31mpay",
    "bidi": "pay\u202e",
    "zero width": "pay\u200b",
    "surrogate": "pay\ud800",
    "too long": "p" * 201,
    "number": 7,
    "none": None,
    "bytes": b"pay",
    "list": ["pay"],
}

BAD_MESSAGES: dict[str, Any] = {
    "none": None,
    "number": 5,
    "text": "pay",
    "list": [{"name": "pay", "data": 1}],
    "empty mapping": {},
    "no data": {"name": "pay"},
    "no name": {"data": 1},
    "id inside": {"name": "pay", "data": 1, "id": "x"},
    "operator as the name": {"name": {"$ne": None}, "data": 1},
    "key that is not text": {"name": "pay", 5: 1},
    "event class": Event,
    "reference without data": event("pay", int),
    "coroutine function": asyncio.sleep,
}

# Nothing of this is plain JSON, or it would not come back as it is.
BAD_VALUES: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": [{"deep": -math.inf}],
    "more than 4300 digits": 10**5000,
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "set": {1, 2},
    "frozenset": frozenset({1}),
    "tuple": (1, 2),
    "tuple inside": {"a": [(1,)]},
    "complex": 1j,
    "decimal": Decimal("1.1"),
    "datetime": datetime(2026, 1, 1, tzinfo=UTC),
    "timedelta": timedelta(1),
    "UUID": uuid.UUID(int=1),
    "object": object(),
    "function": len,
    "class": int,
    "generator": a_generator(),
    "range": range(3),
    "exception": ValueError("x"),
    "int key": {1: "a"},
    "none key": {None: "a"},
    "tuple key": {(1, 2): "a"},
    "bool key": {True: "a"},
    "list that contains itself": containing_itself(list),
    "dict that contains itself": containing_itself(dict),
    "lone surrogate": "\ud800",
    "surrogate in a key": {"\udfff": 1},
    "depth 65": nested(65),
    "depth 1000": nested(1000),
    "depth 100000": nested(100_000),
    "str subclass": type("Text", (str,), {})("a"),
    "dict subclass": type("Mapping", (dict,), {})(a=1),
}

# Odd, but plain JSON: to come back equal and of the same types.
ODD_VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "zero": 0,
    "zero as a float": 0.0,
    "minus zero": -0.0,
    "one as a float": 1.0,
    "beyond JavaScript": 2**53 + 1,
    "largest of 64 bits": 2**63 - 1,
    "beyond 64 bits": 2**63,
    "smallest beyond 64 bits": -(2**63) - 1,
    "2**100": 2**100,
    "4300 digits": 10**4299,
    "12345678901234567890": 12345678901234567890,
    "smallest float": 5e-324,
    "largest float": 1.7976931348623157e308,
    "third": 1 / 3,
    "empty text": "",
    "NUL in text": "a\x00b",
    "line separators": "a\u2028b\u2029c\r\n",
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469",
    "unnormalised": "e\u0301 \u00e9",
    "quotes": "\"'\\`</script>${x}",
    "text like JSON": '{"a": NaN}',
    "text like a date": "2026-01-01T00:00:00Z",
    "empty list": [],
    "empty dict": {},
    "empties inside": {"a": [], "b": {}, "c": [{}], "d": [[]]},
    "$where": {"$where": "sleep(1000)"},
    "operator as a value": "$token",
    "expression": {"$add": ["$token", 1]},
    "$ref": {"$ref": "x", "$id": 1, "$db": "y"},
    "$oid": {"$oid": "507f1f77bcf86cd799439011"},
    "$date": {"$date": 0},
    "$numberLong": {"$numberLong": "5"},
    "dots in keys": {"a.b": {"c.d": 1}, ".": 1},
    "dollar key inside": {"a": [{"$set": {"status": "failed"}}]},
    "empty key": {"": 1},
    "NUL in a key": {"a\x00b": 1},
    "prototype": {"__proto__": {"admin": True}, "constructor": 1},
    "_id": {"_id": 1, "id": "other", "queuePrefix": "other"},
    "wrapper of the original": {"cached": True, "value": 1},
    "keys in their order": {"b": 1, "a": 2},
    "mixed list": [1, 1.0, True, None, "1"],
    "depth 64": nested(64),
    "many keys": {f"k{n}": n for n in range(5000)},
    "long list": list(range(20_000)),
}

BAD_MOMENTS: dict[str, dict[str, Any]] = {
    "negative delay": {"delay": -1},
    "NaN delay": {"delay": math.nan},
    "infinite delay": {"delay": math.inf},
    "delay in parsecs": {"delay": "5 parsecs"},
    "bare number as text": {"delay": "5"},
    "bool delay": {"delay": True},
    "delay of ages": {"delay": timedelta.max},
    "list as a delay": {"delay": [1]},
    "naive moment": {"at": datetime(2026, 1, 1)},  # noqa: DTZ001
    "text as a moment": {"at": "2026-01-01"},
    "number as a moment": {"at": 1767225600},
    "delay and moment": {"delay": 1, "at": datetime.now(UTC)},
}

BAD_QUERIES: dict[str, dict[str, Any]] = {
    "limit 0": {"limit": 0},
    "limit -1": {"limit": -1},
    "limit 201": {"limit": 201},
    "limit as text": {"limit": "5"},
    "limit as bool": {"limit": True},
    "limit as float": {"limit": 1.0},
    "unknown status": {"status": "done"},
    "operator as status": {"status": {"$ne": None}},
    "naive since": {"since": datetime(2026, 1, 1)},  # noqa: DTZ001
    "text as until": {"until": "today"},
    "empty function": {"function": ""},
    "operator as function": {"function": {"$gt": ""}},
    "pattern as id_prefix": {"id_prefix": "a.*$("},
    "operator as id_prefix": {"id_prefix": {"$regex": "a"}},
    "junk cursor": {"cursor": "junk"},
    "empty cursor": {"cursor": ""},
    "number as cursor": {"cursor": 5},
    "JSON as cursor": {"cursor": '{"$gt": ""}'},
    "padded cursor": {"cursor": "AAAA===="},
    "cursor that is not text": {"cursor": b"\xff"},
}


class Named(TypedDict):
    amount: int


class Pay(Event[int], name="pay"):
    amount: int


def refusal(error: WorchflowError, value: object) -> None:
    """An error says what is wrong and stays readable, however bad the value was."""
    text = str(error)
    assert 10 < len(text) < 600, text
    assert text.isprintable() or "\n" not in text, text
    assert "\x00" not in text
    assert "\x1b" not in text
    if isinstance(value, str) and 0 < len(value) < 30 and value.isascii():
        assert repr(value)[1:-1] in text or value in text, text


async def sent(app: Worchflow[Any], message: Any, id: str) -> None:
    """Send something and wait until it is in every store."""
    async with app.client() as client:
        await client.send(message, id=id)


async def test_ids_are_checked_wherever_they_go_in(
    app: Worchflow[Any], store_content: StoreContent, subtests: pytest.Subtests
) -> None:
    await sent(app, {"name": "pay", "data": 1}, id="present")
    async with app.client() as client:
        before = store_content()
        calls: dict[str, Callable[[Any], Any]] = {
            "send": lambda bad: client.send({"name": "pay", "data": 1}, id=bad),
            "get": client.get,
            "steps": client.steps,
            "retry": client.retry,
            "cancel": client.cancel,
            "handle": client.handle,
        }
        for name, value in BAD_IDS.items():
            for verb, call in calls.items():
                with subtests.test(f"{verb}: {name}"):
                    with pytest.raises(InvalidInput) as refused:
                        await call(value)
                    assert refused.value.field == "id"
                    assert "1 to 200 characters" in str(refused.value)
                    refusal(refused.value, value)
        assert store_content() == before


def test_prefixes_are_checked_when_the_client_or_app_is_made(
    make_app: MakeApp, subtests: pytest.Subtests
) -> None:
    for name, value in BAD_PREFIXES.items():
        with subtests.test(name):
            with pytest.raises(ConfigurationError, match="queue_prefix=") as refused:
                make_app(queue_prefix=value).client()
            refusal(refused.value, value)
            with pytest.raises(ConfigurationError, match="queue_prefix="):
                BackendOptions(queue_prefix=value)


async def test_event_names_are_checked_wherever_they_go_in(
    app: Worchflow[Any], store_content: StoreContent, subtests: pytest.Subtests
) -> None:
    async with app.client() as client:
        before = store_content()
        for name, value in BAD_NAMES.items():
            with subtests.test(f"sent: {name}"):
                with pytest.raises(EventValidationError) as refused:
                    await client.send({"name": value, "data": 1})
                assert refused.value.field == "name"
                refusal(refused.value, value)
            with subtests.test(f"declared: {name}"):
                with pytest.raises(ConfigurationError) as declared:
                    event(value, int)
                refusal(declared.value, value)
            with (
                subtests.test(f"function id: {name}"),
                pytest.raises(ConfigurationError),
            ):
                function("pay", id=value or "")(lambda ctx: None)
        assert store_content() == before


async def test_what_is_no_message_is_not_sent(
    app: Worchflow[Any], store_content: StoreContent, subtests: pytest.Subtests
) -> None:
    async with app.client() as client:
        before = store_content()
        for name, value in BAD_MESSAGES.items():
            with subtests.test(name):
                with pytest.raises(EventValidationError) as refused:
                    await client.send(value)
                assert refused.value.field in {"message", "name"}
                refusal(refused.value, None)
        several: dict[str, Any] = {"a mapping": {"name": "pay"}, "text": "pay", "5": 5}
        for name, value in several.items():
            with subtests.test(f"several: {name}"), pytest.raises(InvalidInput):
                await client.send_many(value)
        with subtests.test("several, one of them bad"):
            good = {"name": "pay", "data": 1}
            with pytest.raises(EventValidationError):
                await client.send_many([good, {"name": "pay", "data": {1}}, good])
        assert store_content() == before


async def test_values_that_json_cannot_carry_are_not_sent(
    app: Worchflow[Any], store_content: StoreContent, subtests: pytest.Subtests
) -> None:
    async with app.client() as client:
        before = store_content()
        for name, value in BAD_VALUES.items():
            with subtests.test(name):
                with pytest.raises(EventValidationError) as refused:
                    await client.send({"name": "pay", "data": value})
                assert refused.value.field == "data"
                assert 'event "pay"' in str(refused.value)
                refusal(refused.value, None)
        assert store_content() == before


async def test_data_that_does_not_fit_its_type_is_not_sent(
    make_app: MakeApp, store_content: StoreContent, subtests: pytest.Subtests
) -> None:
    app = make_app()

    @app.function(Pay)
    async def pay(ctx: Context[Pay]) -> int:
        return ctx.data.amount

    typed = event("typed", Named)
    cases: dict[str, Any] = {
        "text for a number": {"name": "pay", "data": {"amount": "many"}},
        "a field is missing": {"name": "pay", "data": {}},
        "a misspelt field": {"name": "pay", "data": {"amount": 1, "custmer": 2}},
        "a field too many": typed({"amount": 1, "extra": 2}),  # type: ignore[typeddict-unknown-key]
        "nothing": {"name": "pay", "data": None},
        "a list": {"name": "pay", "data": [1]},
        "changed after it was made": Pay.model_construct(amount="many"),
        "a typed dict without its field": typed({}),  # type: ignore[typeddict-item]
        "a float that is not an integer": {"name": "pay", "data": {"amount": 1.5}},
        "NaN for a number": {"name": "pay", "data": {"amount": math.nan}},
    }
    async with app.client() as client:
        before = store_content()
        for name, message in cases.items():
            with subtests.test(name), pytest.raises(EventValidationError):
                await client.send(message)
        assert store_content() == before


async def test_sizes_are_checked_to_the_byte(
    make_app: MakeApp, store_content: StoreContent, subtests: pytest.Subtests
) -> None:
    app = make_app()

    @app.function("size")
    async def size(ctx: Context[str]) -> int:
        return len(ctx.data)

    async with app.client() as client:
        before = store_content()
        for name, text in {
            "1 MiB and a byte": "x" * (MIB - 1),
            "16 MiB": "x" * 16 * MIB,
            "1 MiB of characters, more bytes": "ä" * (MIB - 2),
        }.items():
            with subtests.test(name):
                with pytest.raises(PayloadTooLarge) as refused:
                    await client.send(size(text))
                assert refused.value.limit == MIB
                assert refused.value.size == len(text.encode()) + 2
        assert store_content() == before

        async with app.worker():
            exactly = "x" * (MIB - 2)
            handle = await client.send(size(exactly))
            assert await handle.result(timeout=15) == len(exactly)
            assert (await client.get(handle.id)).data == exactly


async def test_moments_are_checked(
    app: Worchflow[Any], store_content: StoreContent, subtests: pytest.Subtests
) -> None:
    async with app.client() as client:
        before = store_content()
        for name, when in BAD_MOMENTS.items():
            with subtests.test(name):
                with pytest.raises(ConfigurationError) as refused:
                    await client.send({"name": "pay", "data": 1}, **when)
                assert any(f"{key}=" in str(refused.value) for key in when)
        assert store_content() == before


async def test_queries_are_checked(
    app: Worchflow[Any], store_content: StoreContent, subtests: pytest.Subtests
) -> None:
    await sent(app, {"name": "pay", "data": 1}, id="present")
    async with app.client() as client:
        before = store_content()
        for name, query in BAD_QUERIES.items():
            with subtests.test(name):
                with pytest.raises((InvalidInput, ConfigurationError)) as refused:
                    await client.list(**query)
                (field,) = query
                assert field in str(refused.value)
        for name, reason in BAD_NAMES.items():
            if reason is not None:
                with (
                    subtests.test(f"reason: {name}"),
                    pytest.raises(InvalidInput, match="reason="),
                ):
                    await client.cancel("present", reason=reason)
        assert store_content() == before


async def test_an_id_belongs_to_one_piece_of_work(
    app: Worchflow[Any], store_content: StoreContent
) -> None:
    await sent(app, {"name": "pay", "data": {"a": 1, "b": 2}}, id="one")
    async with app.client() as client:
        before = store_content()
        for message in (
            {"name": "pay", "data": {"a": 1}},
            {"name": "pay", "data": {"a": True, "b": 2}},
            {"name": "refund", "data": {"a": 1, "b": 2}},
        ):
            with pytest.raises(ExecutionConflict, match='id="one"'):
                await client.send(message, id="one")
        again = await client.send({"name": "pay", "data": {"b": 2, "a": 1.0}}, id="one")

        assert again.duplicate
        assert store_content() == before


async def test_odd_values_come_back_as_they_were(
    make_app: MakeApp, subtests: pytest.Subtests
) -> None:
    app = make_app()

    @app.function("echo")
    async def echo(ctx: Context[Any]) -> Any:
        return await ctx.step.run("echo", lambda: ctx.data)

    async with app.client() as client, app.worker(concurrency=8):
        handles = {n: await client.send(echo(v)) for n, v in ODD_VALUES.items()}
        for name, value in ODD_VALUES.items():
            with subtests.test(name):
                handle = handles[name]
                assert repr(await handle.result(timeout=15)) == repr(value)
                execution = await client.get(handle.id)
                assert repr(execution.data) == repr(value)
                assert repr(execution.result) == repr(value)
                (step,) = await client.steps(handle.id)
                assert repr(step.result) == repr(value)


async def test_a_step_result_that_json_cannot_carry_fails_its_execution_at_once(
    make_app: MakeApp, subtests: pytest.Subtests
) -> None:
    app = make_app()
    calls: list[str] = []

    @app.function("step", retries=3)
    async def step(ctx: Context[str]) -> None:
        calls.append(ctx.data)
        await ctx.step.run("bad", lambda: BAD_VALUES[ctx.data])

    @app.function("result", retries=3)
    async def result(ctx: Context[str]) -> Any:
        calls.append(ctx.data)
        return BAD_VALUES[ctx.data]

    async with app.client() as client, app.worker(concurrency=8):
        for name in BAD_VALUES:
            for bad in (step, result):
                with subtests.test(f"{bad.id}: {name}"):
                    calls.clear()
                    handle = await client.send(bad(name))
                    with pytest.raises(ExecutionFailed) as failed:
                        await handle.result(timeout=15)
                    assert failed.value.error_type == "SerializationError"
                    where = 'step "bad"' if bad is step else "the result of result"
                    assert where in failed.value.message
                    assert calls == [name], "it ran more than once"
                    assert await client.steps(handle.id) == []


async def test_results_that_are_too_large_fail_their_execution_at_once(
    make_app: MakeApp,
) -> None:
    app = make_app()

    @app.function("large", retries=3)
    async def large(ctx: Context[str]) -> str:
        if ctx.data == "step":
            await ctx.step.run("large", lambda: "x" * (MIB - 1))
        return "x" * (4 * MIB - 1)

    @app.function("fits")
    async def fits(ctx: Context[None]) -> str:
        await ctx.step.run("large", lambda: "x" * (MIB - 2))
        return "x" * (4 * MIB - 2)

    async with app.client() as client, app.worker(concurrency=2):
        for which in ("step", "result"):
            handle = await client.send(large(which))
            with pytest.raises(ExecutionFailed, match="PayloadTooLarge"):
                await handle.result(timeout=15)
            assert (await client.get(handle.id)).attempt_count == 1
        handle = await client.send(fits())
        assert len(await handle.result(timeout=15)) == 4 * MIB - 2


async def test_titles_keys_and_options_of_steps_are_checked_before_they_run(
    make_app: MakeApp, subtests: pytest.Subtests
) -> None:
    app = make_app()
    ran: list[str] = []
    refused: dict[str, Exception | None] = {}
    bad_options: dict[str, dict[str, Any]] = {
        "retries -1": {"retries": -1},
        "retries as text": {"retries": "3"},
        "retries as bool": {"retries": True},
        "timeout 0": {"timeout": 0},
        "timeout -1": {"timeout": -1},
        "timeout NaN": {"timeout": math.nan},
        "unknown option": {"retires": 3},
        "key as float": {"key": 1.5},
        "key as bool": {"key": True},
        "key as none": {"key": None},
        "key as list": {"key": ["a"]},
        "empty key": {"key": ""},
        "key with a line feed": {"key": "a\n"},
    }

    def run_with(step: Any, options: dict[str, Any]) -> None:
        step.options(**options).run("ok", ran.append, "x")

    def run(case: str, call: Callable[[], object]) -> None:
        refused[case] = None
        try:
            call()
        except WorchflowError as error:
            refused[case] = error

    @app.function("titles", retries=0)
    def titles(ctx: SyncContext[None]) -> str:
        step: Any = ctx.step
        for name, value in BAD_NAMES.items():
            run(f"title: {name}", partial(step.run, value, ran.append, "x"))
        for name, options in bad_options.items():
            run(name, partial(run_with, step, options))
        for name, what in {"none": None, "text": "x", "called": 5}.items():
            run(f"function: {name}", partial(step.run, "ok", what))
        run("title forgotten", lambda: step.run(ran.append, "x"))
        run("bad key name", lambda: ctx.idempotency_key("ok", key=1.5))  # type: ignore[arg-type]
        return "done"

    async with app.client() as client, app.worker():
        handle = await client.send(titles())
        assert await handle.result(timeout=15) == "done"
        assert ran == []
        assert await client.steps(handle.id) == []
    assert len(refused) == len(BAD_NAMES) + len(bad_options) + 5
    for case, error in refused.items():
        with subtests.test(case):
            assert isinstance(error, InvalidInput | ConfigurationError)
            refusal(error, None)


BAD_BACKEND_OPTIONS: dict[str, Any] = {
    f"{name}={value!r}": {name: value}
    for name in ("lease_ttl", "timeout", "finished_ttl")
    for value in (0, -1, math.nan, math.inf, True, "20", None)
} | {
    "durability": {"durability": "soft"},
    "durability as bool": {"durability": True},
}

BAD_WORKER_OPTIONS: dict[str, Any] = (
    {
        f"concurrency={value!r}": {"concurrency": value}
        for value in (0, -1, 1.5, "8", True, None, 10_001)
    }
    | {
        f"{name}={value!r}": {name: value}
        for name in ("heartbeat", "upkeep_interval", "blocked_loop_after")
        for value in (0, -5, math.nan, math.inf, "5", None)
    }
    | {
        f"{name}={value!r}": {name: value}
        for name in ("quarantine_after", "quarantine_deaths")
        for value in (0, -1, 1.5, "2")
    }
    | {"give_up_blocked_after": {"give_up_blocked_after": -1}}
)

BAD_LIMITS: dict[str, Any] = {
    f"{name}={value!r}": {name: value}
    for name in ("event_bytes", "step_bytes", "result_bytes", "depth")
    for value in (0, -1, 1.5, "1", True, 16 * MIB)
}

BAD_URLS: dict[str, tuple[Any, ...]] = {
    "of something else": ("postgres://localhost/x",),
    "Redis alone": ("redis://localhost",),
    "MongoDB alone": ("mongodb://localhost/x",),
    "two Redis": ("redis://localhost", "redis://localhost"),
    "three": ("redis://localhost", "mongodb://localhost", "mongodb://localhost"),
    "no scheme": ("localhost:6379", "mongodb://localhost/x"),
    "port that is not a number": ("redis://:secret@localhost:port", "mongodb://h/x"),
    "port out of range": ("redis://:secret@localhost:99999", "mongodb://h/x"),
    "unknown MongoDB option": ("redis://h", "mongodb://u:secret@h/x?w=-1"),
    "MongoDB without a host": ("redis://h", "mongodb://u:secret@/x"),
    "MongoDB with a bad escape": ("redis://h", "mongodb://u:sec%ret@h/x"),
    "unknown Redis option": ("redis://:secret@h?socket_tmeout=1", "mongodb://h/x"),
    "SQLite without a path": ("sqlite://",),
    "SQLite without a path but a slash": ("sqlite:///",),
    "SQLite with a NUL": ("sqlite:///a\0b",),
    "empty": ("",),
    "number": (5,),
    "none": (None,),
}


@pytest.mark.parametrize(
    ("make", "table"),
    [
        (BackendOptions, BAD_BACKEND_OPTIONS),
        (WorkerOptions, BAD_WORKER_OPTIONS),
        (PayloadLimits, BAD_LIMITS),
    ],
)
def test_options_are_checked_when_they_are_made(
    make: Callable[..., Any], table: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for name, options in table.items():
        with subtests.test(name):
            with pytest.raises(ConfigurationError) as refused:
                make(**options)
            (field,) = options
            assert f"{field}=" in str(refused.value)


def test_urls_are_checked_and_passwords_kept_out_of_the_error(
    subtests: pytest.Subtests,
) -> None:
    for name, urls in BAD_URLS.items():
        with subtests.test(name):
            with pytest.raises(ConfigurationError) as refused:
                open_backend(*urls)
            assert "sec" not in str(refused.value)


BAD_STORES: dict[str, dict[str, Any]] = {
    "empty path": {"sqlite": ""},
    "path that is not text": {"sqlite": 5},
    "path as bytes": {"sqlite": b"worchflow.db"},
    "Redis URL alone": {"redis_url": "redis://h"},
    "MongoDB URL alone": {"mongo_url": "mongodb://h"},
    "URLs that are no text": {"redis_url": 5, "mongo_url": 6},
    "empty URLs": {"redis_url": "", "mongo_url": ""},
    "Redis client alone": {"redis": object()},
    "database alone": {"db": object()},
    "two stores": {"sqlite": "x", "redis_url": "redis://h", "mongo_url": "mongodb://h"},
    "no backend": {"backend": object()},
    "backend class": {"backend": Worchflow},
    "durability": {"sqlite": "x", "durability": "soft"},
}


def test_stores_are_checked_when_they_are_chosen(subtests: pytest.Subtests) -> None:
    for name, stores in BAD_STORES.items():
        with subtests.test(name):
            with pytest.raises(ConfigurationError) as refused:
                Worchflow("app", **stores).client()
            refusal(refused.value, None)


def test_one_url_of_two_in_the_environment_is_no_silent_sqlite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WORCHFLOW_REDIS_URL", "WORCHFLOW_MONGO_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORCHFLOW_REDIS_URL", "redis://localhost")
    with pytest.raises(ConfigurationError, match="MongoDB is missing"):
        Worchflow("app").client()
    monkeypatch.delenv("WORCHFLOW_REDIS_URL")
    monkeypatch.setenv("WORCHFLOW_MONGO_URL", "mongodb://localhost")
    with pytest.raises(ConfigurationError, match="Redis is missing"):
        Worchflow("app").client()
    monkeypatch.setenv("WORCHFLOW_PREFIX", "two words")
    with pytest.raises(ConfigurationError, match="queue_prefix="):
        Worchflow("app").client()


async def test_a_client_of_no_known_event_refuses_the_unknown(
    make_app: MakeApp, store_content: StoreContent
) -> None:
    client: WorchflowClient[Any] = WorchflowClient(backend=make_app().backend())
    async with client:
        before = store_content()
        with pytest.raises(SerializationError):
            await client.send(event("typed", Named)({"amount": 2**63 * 0.5}))  # type: ignore[typeddict-item]
        assert store_content() == before
