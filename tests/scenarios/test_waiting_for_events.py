"""An execution waits for events: each ends one wait, whenever it comes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import MakeApp, StoreContent
from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    Event,
    EventConflict,
    EventValidationError,
    ExecutionStatus,
    InvalidInput,
    NonRetryable,
    SyncContext,
    Worchflow,
    WorkerOptions,
    event,
)
from worchflow.worker.execution_slots import ExecutionSlots

S = ExecutionStatus
ROOT = Path(__file__).parent.parent.parent
ORDER = {"name": "order", "data": "o-1"}


class Approved(Event[None], name="approved", key="order_id"):
    """Somebody agrees."""

    order_id: str
    by: str = "somebody"


def approvals(
    app: Worchflow[Any], calls: list[str], *, sync: bool = False, **options: Any
) -> None:
    """Register a function that charges, waits for an approval and ships."""
    if sync:

        @app.function("order")
        def in_a_thread(ctx: SyncContext[str]) -> str | None:
            ctx.step.run("Charge", lambda: calls.append("charge"))
            came: Approved | None = ctx.step.wait_for_event(
                "Approval", Approved, key=ctx.data, **options
            )
            ctx.step.run("Ship", lambda: calls.append("ship"))
            return came and came.by

    else:

        @app.function("order")
        async def order(ctx: Context[str]) -> str | None:
            await ctx.step.run("Charge", lambda: calls.append("charge"))
            came: Approved | None = await ctx.step.wait_for_event(
                "Approval", Approved, key=ctx.data, **options
            )
            await ctx.step.run("Ship", lambda: calls.append("ship"))
            return came and came.by


BOTH = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


async def _is(handle: Any, status: ExecutionStatus) -> bool:
    return bool(await handle.status() is status)


@BOTH
async def test_it_leaves_its_worker_until_the_event_comes(
    app: Worchflow[Any], make_app: MakeApp, sync: bool
) -> None:
    calls: list[str] = []
    approvals(app, calls, sync=sync)
    elsewhere = make_app("elsewhere")
    worker = app.worker(options=WorkerOptions(park_for=0.1))
    async with worker, app.client() as client, elsewhere.client() as other:
        handle = await client.send(ORDER)
        await until(lambda: _is(handle, S.WAITING))
        waiting = await client.get(handle.id)
        assert waiting.worker is waiting.run_at is None
        assert waiting.reason == 'event "approved" (key o-1) at "Approval"'

        await other.emit(Approved(order_id="o-2", by="the wrong one"))
        await other.emit(Approved(order_id="o-1", by="Ada"))

        assert await handle.result(timeout=30) == "Ada"
        steps = await client.steps(handle.id)

    assert calls == ["charge", "ship"]
    assert [(step.title, step.kind) for step in steps] == [
        *(("Charge", "run"), ("Approval", "wait"), ("Ship", "run"))
    ]
    assert steps[1].result == {"order_id": "o-1", "by": "Ada"}
    assert worker.parking.suspended == worker.parking.replayed == 1


@BOTH
async def test_what_comes_soon_continues_where_it_is(
    app: Worchflow[Any], make_app: MakeApp, sync: bool
) -> None:
    calls: list[str] = []
    approvals(app, calls, sync=sync)
    elsewhere = make_app("elsewhere")
    worker = app.worker(options=WorkerOptions(park_for=60))
    async with worker, app.client() as client, elsewhere.client() as other:
        handle = await client.send(ORDER)
        await until(lambda: worker.parking.parked == 1)

        await other.emit(Approved(order_id="o-1", by="Ada"))

        assert await handle.result(timeout=30) == "Ada"

    assert calls == ["charge", "ship"]
    assert worker.parking.resumed == 1
    assert worker.parking.suspended == worker.parking.replayed == 0


@pytest.mark.parametrize("park_for", [0.05, 0.5])
async def test_nothing_is_lost_when_nobody_is_told(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch, park_for: float
) -> None:
    monkeypatch.setattr(ExecutionSlots, "woken", lambda *_: None)
    calls: list[str] = []
    approvals(app, calls)
    worker = app.worker(options=WorkerOptions(park_for=park_for))
    async with worker, app.client() as client:
        handle = await client.send(ORDER)
        await until(lambda: worker.parking.parked == 1)
        await client.emit(Approved(order_id="o-1", by="Ada"))

        assert await handle.result(timeout=30) == "Ada"

    assert calls == ["charge", "ship"]


async def test_code_beside_a_wait_is_not_cut_off_and_an_event_is_found_all_the_same(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExecutionSlots, "woken", lambda *_: None)
    monkeypatch.setattr("worchflow.engine.wakeups.READ_AFTER_SECONDS", 0.2)
    emitted = asyncio.Event()

    @app.function("order")
    async def order(ctx: Context[str]) -> str:
        wait = ctx.step.wait_for_event("Approval", Approved, key=ctx.data)
        came, _ = await asyncio.gather(wait, emitted.wait())
        return came.by

    worker = app.worker(options=WorkerOptions(park_for=0.1))
    async with worker, app.client() as client:
        handle = await client.send(ORDER)
        await asyncio.sleep(0.3)
        await client.emit(Approved(order_id="o-1", by="Ada"))

        async def taken() -> bool:
            return bool(await client.steps(handle.id))

        await until(taken)
        emitted.set()
        assert await handle.result(timeout=30) == "Ada"

    assert worker.parking.suspended == 0


async def test_an_event_counts_from_the_moment_the_execution_was_accepted(
    app: Worchflow[Any],
) -> None:
    approvals(app, [])

    @app.function("from-now")
    async def from_now(ctx: Context[str]) -> bool:
        came = await ctx.step.wait_for_event(
            "Approval", Approved, key=ctx.data, since="now", timeout="300ms"
        )
        return came is None

    @app.function("of-old")
    async def of_old(ctx: Context[str]) -> str:
        came = await ctx.step.wait_for_event(
            "Approval",
            Approved,
            key=ctx.data,
            since=datetime.now(UTC) - timedelta(hours=1),
        )
        return came.by

    async with app.client() as client:
        handle = await client.send(ORDER)
        from_now_on = await client.send({"name": "from-now", "data": "o-1"})
        await client.emit(Approved(order_id="o-1", by="Ada"))
        older = await client.send({"name": "of-old", "data": "o-1"})

        async with app.worker(concurrency=3):
            assert await handle.result(timeout=30) == "Ada"
            assert await from_now_on.result(timeout=30) is True
            assert await older.result(timeout=30) == "Ada"


async def test_its_time_is_over_without_an_event_and_stays_so(
    app: Worchflow[Any],
) -> None:
    calls: list[str] = []
    failed: list[int] = []

    @app.function("order", retries=1, retry_delay=0)
    async def order(ctx: Context[str]) -> list[Any]:
        first = await ctx.step.wait_for_event(
            "Approval", Approved, key=ctx.data, timeout="100ms"
        )
        calls.append(f"first {first}")
        if not failed:
            failed.append(1)
            raise ConnectionError
        second = await ctx.step.wait_for_event(
            "Approval", Approved, key=ctx.data, timeout="1h"
        )
        return [first, second and second.by]

    async with app.client() as client:
        handle = await client.send(ORDER)
        async with app.worker(options=WorkerOptions(park_for=0.05)):
            await until(lambda: len(calls) > 1)
            await client.emit(Approved(order_id="o-1", by="late"))
            assert await handle.result(timeout=30) == [None, "late"]
        steps = await client.steps(handle.id)

    assert set(calls) == {"first None"}
    assert [step.result for step in steps] == [
        *(None, {"order_id": "o-1", "by": "late"})
    ]


async def test_each_event_ends_one_wait_in_the_order_in_which_they_were_asked_for(
    app: Worchflow[Any],
) -> None:
    @app.function("order")
    async def order(ctx: Context[str]) -> list[str]:
        came = await asyncio.gather(
            *(
                ctx.step.options(key=number).wait_for_event(
                    "Approval", Approved, key=ctx.data
                )
                for number in range(4)
            )
        )
        last = await ctx.step.wait_for_event("Last", Approved, key=ctx.data)
        return [each.by for each in (*came, last)]

    every = [f"approval {number}" for number in range(5)]
    async with app.client() as client:
        handle = await client.send(ORDER)
        for by in every:
            await client.emit(Approved(order_id="o-1", by=by))
            await asyncio.sleep(0.01)
        async with app.worker():
            assert await handle.result(timeout=30) == every

        # The same of those that come while some have looked and some not.
        async with app.worker(options=WorkerOptions(park_for=0.3)):
            handle = await client.send({"name": "order", "data": "o-2"})
            for by in every:
                await client.emit(Approved(order_id="o-2", by=by))
                await asyncio.sleep(0.15)
            assert await handle.result(timeout=30) == every


async def test_what_does_not_fit_its_type_is_passed_over(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    approvals(app, [])
    async with app.client() as client, app.worker():
        handle = await client.send(ORDER)
        unfit = await client.emit({"name": "approved", "data": {"x": 1}, "key": "o-1"})
        await client.emit(Approved(order_id="o-1", by="Ada"))

        assert await handle.result(timeout=30) == "Ada"

    (line,) = (each for each in caplog.records if "is passed over" in each.message)
    assert unfit in line.message
    assert 'wait "Approval"' in line.message


async def test_an_event_that_was_emitted_twice_counts_once(
    app: Worchflow[Any],
) -> None:
    @app.function("order")
    async def order(ctx: Context[str]) -> list[str | None]:
        first = await ctx.step.wait_for_event("First", Approved, key=ctx.data)
        second = await ctx.step.wait_for_event(
            "Second", Approved, key=ctx.data, timeout="200ms"
        )
        return [first.by, second and second.by]

    async with app.client() as client, app.worker():
        handle = await client.send(ORDER)
        for _ in range(2):
            assert await client.emit(Approved(order_id="o-1"), id="once") == "once"
        assert await handle.result(timeout=30) == ["somebody", None]

        for other in (
            Approved(order_id="o-1", by="another"),
            Approved(order_id="o-2"),
            event("other", Approved, key="order_id")(Approved(order_id="o-1")),
        ):
            with pytest.raises(EventConflict, match='id="once"') as conflict:
                await client.emit(other, id="once")
            assert conflict.value.event_id == "once"


async def test_one_event_ends_the_waits_of_many_executions(
    app: Worchflow[Any],
) -> None:
    news = event("news", str)

    @app.function("reader")
    async def reader(ctx: Context[int]) -> str:
        return await ctx.step.wait_for_event("News", news)

    worker = app.worker(options=WorkerOptions(concurrency=4, park_for=0.2))
    async with worker, app.client() as client:
        handles = await client.send_many(
            {"name": "reader", "data": number} for number in range(12)
        )
        await until(lambda: worker.parking.parked == 12)
        await client.emit(news("read all about it"))

        for handle in handles:
            assert await handle.result(timeout=30) == "read all about it"


async def test_a_failed_attempt_keeps_the_event_it_took(app: Worchflow[Any]) -> None:
    seen: list[str] = []

    @app.function("order", retries=1, retry_delay=0)
    async def order(ctx: Context[str]) -> str:
        came = await ctx.step.wait_for_event("Approval", Approved, key=ctx.data)
        seen.append(came.by)
        if len(seen) == 1:
            raise ConnectionError
        return came.by

    async with app.client() as client, app.worker():
        handle = await client.send(ORDER)
        await client.emit(Approved(order_id="o-1", by="first"))
        await client.emit(Approved(order_id="o-1", by="second"))
        assert await handle.result(timeout=30) == "first"

    assert seen == ["first", "first"]


async def test_what_came_before_the_execution_does_not_end_its_wait(
    app: Worchflow[Any],
) -> None:
    approvals(app, [])
    async with app.client() as client, app.worker():
        first = await client.send(ORDER)
        await client.emit(Approved(order_id="o-1", by="the first"))
        assert await first.result(timeout=30) == "the first"
        # More than the clocks of two servers differ by, and much less than a second.
        await asyncio.sleep(0.1)
        second = await client.send(ORDER)
        await until(lambda: _is(second, S.WAITING))
        await client.emit(Approved(order_id="o-1", by="the second"))
        assert await second.result(timeout=30) == "the second"


async def test_bad_input_is_refused_before_anything_is_stored(
    app: Worchflow[Any], store_content: StoreContent
) -> None:
    maybe = event("maybe", int | None)
    refused: list[str] = []

    @app.function("order")
    async def order(ctx: Context[str]) -> None:
        step: Any = ctx.step
        hurried = step.options(timeout=1)
        for wait, title, source, options, wanted in (
            (step, "", Approved, {"key": "k"}, "title"),
            (step, "x", Approved, {}, "say which event"),
            (step, "x", Approved, {"key": ("a", "b")}, "1 part"),
            (step, "x", Approved, {"key": 1.5}, "a str, an int"),
            (step, "x", Approved, {"key": "a" * 201}, "1 to 200"),
            (step, "x", Approved, {"key": "k", "since": "soon"}, "since"),
            (step, "x", Approved, {"key": "k", "timeout": -1}, "timeout"),
            (step, "x", maybe, {"timeout": 1}, "may be None"),
            (step, "x", "approved", {}, "is only a name"),
            (hurried, "x", Approved, {"key": "k"}, "options\\(timeout"),
        ):
            with pytest.raises((ConfigurationError, InvalidInput), match=wanted):
                wait.wait_for_event(title, source, **options)
            refused.append(wanted)
        raise NonRetryable("enough")

    async with app.client() as client, app.worker():
        handle = await client.send(ORDER)
        await until(lambda: _is(handle, S.FAILED))
        assert len(refused) == 10
        before = store_content()
        for message, options, wanted in (
            ({"name": "approved", "data": 1, "key": ""}, {}, "1 to 200"),
            ({"name": "approved", "data": 1, "keys": "x"}, {}, '"key"'),
            (Approved(order_id="\n"), {}, "1 to 200"),
            (Approved(order_id="o-1"), {"key": "o-2"}, "leave it out"),
            (Approved(order_id="o-1"), {"id": "a b"}, "id='a b'"),
            ("approved", {}, "name alone"),
        ):
            with pytest.raises((EventValidationError, InvalidInput), match=wanted):
                await client.emit(message, **options)
        after = store_content()
        for volatile in ("workers", "worchflow_meta", "leaders"):
            if isinstance(before, dict):
                before.pop(volatile, None)
                after.pop(volatile, None)
        if isinstance(before, dict):
            assert after == before
        else:
            assert after[0].get("events", []) == before[0].get("events", [])


PROGRAM = """
    import asyncio, os, sys, json
    from worchflow import Context, Event, Worchflow, WorkerOptions

    class Approved(Event[None], name="approved", key="order_id"):
        order_id: str
        number: int

    app = Worchflow("program", **json.loads(sys.argv[1]))

    @app.function("order")
    async def order(ctx: Context[str]) -> list[int]:
        numbers = []
        for number in range(int(sys.argv[2])):
            came = await ctx.step.options(key=number).wait_for_event(
                "Approval", Approved, key=ctx.data)
            numbers.append(await ctx.step.options(key=number).run(
                "Note", lambda: came.number))
        return numbers

    async def main() -> None:
        async with app.worker(options=WorkerOptions(park_for=0.05)):
            print("works", flush=True)
            await asyncio.sleep(600)

    asyncio.run(main())
"""


async def test_workers_that_are_killed_lose_and_double_no_event(
    app: Worchflow[Any], where: dict[str, Any], tmp_path: Path
) -> None:
    count = 30
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    settings = {name: str(value) for name, value in where.items()}
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(program), json.dumps(settings), str(count)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(program: subprocess.Popen[str]) -> None:
        program.send_signal(signal.SIGKILL)
        program.communicate()

    async with app.client() as client:
        handle = await client.send(ORDER)
        running = [start(), start()]
        for each in running:
            assert each.stdout is not None
            await asyncio.to_thread(each.stdout.readline)
        for number in range(count):
            await client.emit(
                {
                    "name": "approved",
                    "data": {"order_id": "o-1", "number": number},
                    "key": "o-1",
                }
            )
            if number % 10 == 5:
                end(running.pop(0))
                running.append(start())
        try:
            assert sorted(await handle.result(timeout=120)) == [*range(count)]
        finally:
            for each in running:
                end(each)


class Moved(Event[str], name="moved", key="parcel"):
    """A parcel has moved: starts a function, and is waited for."""

    parcel: str
    to: str


@pytest.mark.parametrize("delay", [None, "1h"])
async def test_what_is_sent_ends_waits_as_well(
    app: Worchflow[Any], delay: str | None
) -> None:
    started: list[str] = []

    @app.function("follow")
    async def follow(ctx: Context[str]) -> str:
        came = await ctx.step.wait_for_event("Move", Moved, key=ctx.data)
        return came.to

    @app.function(Moved)
    async def note(ctx: Context[Moved]) -> str:
        started.append(ctx.data.to)
        return ctx.data.to

    worker = app.worker(options=WorkerOptions(concurrency=2, park_for=0.1))
    async with worker, app.client() as client:
        follower = await client.send({"name": "follow", "data": "p-1"})
        other = await client.send({"name": "follow", "data": "p-2"})
        await until(lambda: _is(follower, S.WAITING))

        sent = await client.send(Moved(parcel="p-1", to="Berlin"), delay=delay)

        assert await follower.result(timeout=30) == "Berlin"
        if delay is None:
            assert await sent.result(timeout=30) == "Berlin"
        many = [
            Moved(parcel="p-2", to="Paris"),
            {"name": "moved", "data": {"parcel": "p-3", "to": "Rome"}},
        ]
        await client.send_many(many)
        assert await other.result(timeout=30) == "Paris"
        expected = ["Berlin", "Paris", "Rome"][delay is not None :]
        await until(lambda: sorted(started) == expected)


async def test_an_execution_does_not_wait_for_itself(app: Worchflow[Any]) -> None:
    @app.function(Moved)
    async def follow(ctx: Context[Moved]) -> str:
        came = await ctx.step.wait_for_event(
            "Next", Moved, key=ctx.data.parcel, timeout="10s"
        )
        return f"{ctx.data.to}, then {came and came.to}"

    async with app.client() as client, app.worker(concurrency=2):
        first = await client.send(Moved(parcel="p-1", to="Berlin"), id="moved-1")
        await client.emit(Moved(parcel="p-1", to="Paris"), id="moved-1")

        assert await first.result(timeout=30) == "Berlin, then Paris"
