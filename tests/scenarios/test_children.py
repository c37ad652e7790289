"""`step.invoke` and `step.start`: executions that are children of others."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    Event,
    EventValidationError,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionStatus,
    InvalidInput,
    NonRetryable,
    SyncContext,
    Worchflow,
    WorchflowClient,
    event,
)

S = ExecutionStatus
GO: Any = event("go", None)


class Receipt(Event[str], name="receipt"):
    order: str


class Order(Event[str], name="order"):
    id: str


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_a_child_gives_its_result_and_is_started_once(
    app: Worchflow[Any], sync: bool
) -> None:
    attempts: list[Any] = []
    children: list[str] = []

    def look(results: Any) -> None:
        attempts.append(results)
        if len(attempts) < 3:
            raise ConnectionError

    if sync:

        @app.function(Order, retries=5, retry_delay=0)
        def in_a_thread(ctx: SyncContext[Order]) -> str:
            one = ctx.step.invoke("One", Receipt(order=ctx.data.id))
            child = ctx.step.start("Two", Receipt(order="second"))
            two = child.result(timeout="1h")
            look((one, child.id, two))
            return one

    else:

        @app.function(Order, retries=5, retry_delay=0)
        async def order(ctx: Context[Order]) -> str:
            one = await ctx.step.invoke("One", Receipt(order=ctx.data.id))
            child = await ctx.step.start("Two", Receipt(order="second"))
            two = await child.result(timeout="1h")
            look((one, child.id, two))
            return one

    @app.function(Receipt)
    async def receipt(ctx: Context[Receipt]) -> str:
        children.append(ctx.headers["trace"])
        return f"receipt of {ctx.data.order}"

    # One slot: a parent that waits does not hold it.
    async with app.client() as client, app.worker(concurrency=1):
        handle = await client.send(Order(id="o-1"), headers={"trace": "t-1"})
        assert await handle.result(timeout=30) == "receipt of o-1"
        steps = await client.steps(handle.id)
        child = await client.get(attempts[0][1])

    assert attempts[0] == attempts[1] == attempts[2]
    assert attempts[0][2] == "receipt of second"
    assert children == ["t-1", "t-1"]
    assert [(step.title, step.kind) for step in steps] == [
        ("One", "invoke"),
        ("Two", "start"),
        ("Two: result", "invoke"),
    ]
    assert (child.parent, child.status) == (handle.id, S.COMPLETED)


async def test_a_worker_with_one_slot_runs_children_of_children(
    app: Worchflow[Any],
) -> None:
    @app.function("level")
    async def level(ctx: Context[int]) -> int:
        if ctx.data == 0:
            return 1
        below = {"name": "level", "data": ctx.data - 1}
        return 1 + int(await ctx.step.invoke("Below", below))

    async with app.client() as client, app.worker(concurrency=1):
        handle = await client.send({"name": "level", "data": 4})
        assert await handle.result(timeout=60) == 5


async def test_children_side_by_side(app: Worchflow[Any]) -> None:
    @app.function("sum", retries=0)
    async def add_up(ctx: Context[int]) -> int:
        step = ctx.step
        found = await asyncio.gather(
            *(
                step.options(key=n).invoke("Square", {"name": "square", "data": n})
                for n in range(ctx.data)
            )
        )
        return sum(found)

    @app.function("square")
    async def square(ctx: Context[int]) -> int:
        return ctx.data**2

    async with app.client() as client, app.worker(concurrency=4):
        handle = await client.send({"name": "sum", "data": 60})
        assert await handle.result(timeout=60) == sum(n**2 for n in range(60))


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_the_time_of_a_result_goes_on_while_nothing_waits_for_it(
    app: Worchflow[Any], sync: bool
) -> None:
    @app.function("child")
    async def child(ctx: Context[None]) -> None:
        await ctx.step.sleep("Long", "1h")

    if sync:

        @app.function("parent", retries=0)
        def in_a_thread(ctx: SyncContext[None]) -> str:
            step = ctx.step
            started = step.start("Child", {"name": "child", "data": None})
            step.race(
                "First",
                lambda: started.result(timeout=0.5),
                lambda: step.sleep("Short", 0.1),
            )
            step.sleep("Elsewhere", 1.2)
            with pytest.raises(TimeoutError):
                started.result()
            return "in time"

    else:

        @app.function("parent", retries=0)
        async def parent(ctx: Context[None]) -> str:
            step = ctx.step
            started = await step.start("Child", {"name": "child", "data": None})
            await step.race(
                "First", started.result(timeout=0.5), step.sleep("Short", 0.1)
            )
            # So long that it leaves its worker.
            await step.sleep("Elsewhere", 1.2)
            with pytest.raises(TimeoutError):
                await started.result()
            return "in time"

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "parent", "data": None})
        assert await handle.result(timeout=30) == "in time"


async def test_how_a_child_ends_is_raised_and_recorded(app: Worchflow[Any]) -> None:
    raised: list[Any] = []

    @app.function("parent", retries=3, retry_delay=0)
    async def parent(ctx: Context[None]) -> None:
        errors: list[Any] = []
        for data, timeout in (("fail", None), ("cancel", None), ("wait", 0.2)):
            with pytest.raises(
                (ExecutionFailed, ExecutionCancelled, TimeoutError)
            ) as error:
                await ctx.step.invoke(
                    f"Child {data}", {"name": "child", "data": data}, timeout=timeout
                )
            errors.append(error.value)
        raised.append(errors)
        if len(raised) == 1:
            raise ConnectionError
        raise errors[0]

    @app.function("child", retries=0)
    async def child(ctx: Context[str]) -> None:
        if ctx.data == "fail":
            raise ValueError("no such order")
        await ctx.step.sleep("Long", "1h")

    async def cancel_the_second(client: WorchflowClient[Any]) -> None:
        async def waits() -> bool:
            found = (await client.list(function="child", status="sleeping")).items
            return [each.data for each in found] == ["cancel"]

        await until(waits)
        found = (await client.list(function="child", status="sleeping")).items
        await client.cancel(found[0].id, reason="not needed")

    async with app.client() as client, app.worker(concurrency=2):
        handle = await client.send({"name": "parent", "data": None})
        await cancel_the_second(client)
        with pytest.raises(ExecutionFailed) as failure:
            await handle.result(timeout=30)
        execution = await client.get(handle.id)
        waiting = [
            each
            for each in (await client.list(function="child")).items
            if each.data == "wait"
        ]
        steps = await client.steps(handle.id)

    for failed, cancelled, late in raised:
        assert isinstance(failed, ExecutionFailed)
        assert failed.error_type == "ValueError"
        assert failed.message == "no such order"
        assert "raise ValueError" in failed.traceback
        assert isinstance(cancelled, ExecutionCancelled)
        assert cancelled.reason == "not needed"
        assert type(late) is TimeoutError
        assert "has not ended within 200 ms" in str(late)
    assert [step.error and step.error.type for step in steps] == [
        "ValueError",
        "ExecutionCancelled",
        "TimeoutError",
    ]
    # What is recorded would only be raised again: the second attempt was the last.
    assert execution.attempt_count == len(raised) == 2
    assert failure.value.error_type == "ExecutionFailed"
    assert [each.status for each in waiting] == [S.CANCELLED]


async def test_the_end_of_a_parent_cancels_its_children(app: Worchflow[Any]) -> None:
    ids: dict[str, str] = {}

    @app.function("parent", retries=0)
    async def parent(ctx: Context[None]) -> None:
        for name, on_end in (("a", "cancel"), ("b", "leave")):
            handle = await ctx.step.start(
                name,
                {"name": "child", "data": name},
                on_parent_end=on_end,  # type: ignore[arg-type]
            )
            ids[name] = handle.id
        await ctx.step.wait_for_event("Go", GO)

    @app.function("child")
    async def child(ctx: Context[str]) -> str:
        if ctx.data == "a":
            await ctx.step.invoke("Below", {"name": "child", "data": "below"})
        await ctx.step.sleep("Long", "1h")
        return ctx.data

    async with app.client() as client, app.worker(concurrency=4):
        handle = await client.send({"name": "parent", "data": None})

        async def all_wait() -> bool:
            counts = await client.counts()
            return (counts[S.WAITING], counts[S.SLEEPING]) == (2, 2)

        await until(all_wait)
        await client.emit({"name": "go", "data": None})
        await handle.result(timeout=30)

        async def cancelled() -> bool:
            listed = (await client.list(function="child")).items
            statuses = {each.data: each.status for each in listed}
            return statuses == {
                "a": S.CANCELLED,
                "b": S.SLEEPING,
                "below": S.CANCELLED,
            }

        await until(cancelled)
        reason = (await client.get(ids["a"])).reason
        assert reason == f"its parent {handle.id} has ended"


async def test_a_retry_of_the_parent_repeats_the_child_that_failed(
    app: Worchflow[Any],
) -> None:
    ran: Counter[str] = Counter()
    is_mended = False

    @app.function("parent", retries=0)
    async def parent(ctx: Context[None]) -> list[str]:
        ran["parent"] += 1
        return [
            await ctx.step.invoke(name, {"name": "child", "data": name})
            for name in ("good", "bad")
        ]

    @app.function("child", retries=0)
    async def child(ctx: Context[str]) -> str:
        ran[ctx.data] += 1

        def count() -> None:
            ran[f"step of {ctx.data}"] += 1

        await ctx.step.run("Count", count)
        if ctx.data == "bad" and not is_mended:
            raise ValueError("not yet")
        return ctx.data

    async with app.client() as client, app.worker(concurrency=2):
        handle = await client.send({"name": "parent", "data": None})
        with pytest.raises(ExecutionFailed, match="not yet"):
            await handle.result(timeout=30)
        is_mended = True
        await client.retry(handle.id)
        assert await handle.result(timeout=30) == ["good", "bad"]

    assert ran["good"] == 1
    assert ran["bad"] == 2
    assert ran["step of good"] == ran["step of bad"] == 1


async def test_a_handle_cancels_its_child(app: Worchflow[Any]) -> None:
    @app.function("parent", retries=0)
    async def parent(ctx: Context[None]) -> str | None:
        child = await ctx.step.start("Child", {"name": "child", "data": None})
        await child.cancel(reason="enough")
        try:
            await child.result()
        except ExecutionCancelled as error:
            return error.reason
        return "it was not cancelled"

    @app.function("child")
    async def child(ctx: Context[None]) -> None:
        await ctx.step.sleep("Long", "1h")

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "parent", "data": None})
        assert await handle.result(timeout=30) == "enough"


async def test_bad_input_is_refused_before_anything_is_started(
    app: Worchflow[Any],
) -> None:
    refused: list[str] = []

    @app.function(Order, retries=0)
    async def order(ctx: Context[Order]) -> str:
        step: Any = ctx.step
        good = Receipt(order="x")
        for way, method, title, message, options, wanted in (
            (step, "invoke", "", good, {}, "title"),
            (step, "invoke", "x", Receipt, {}, "send an instance of it"),
            (step, "invoke", "x", "receipt", {}, "a name alone has no data"),
            (step, "invoke", "x", good, {"timeout": 0}, "longer than nothing"),
            (step, "invoke", "x", good, {"timeout": "soon"}, "timeout='soon'"),
            (step, "start", "x", good, {"on_parent_end": "stay"}, '"cancel" or "leav'),
            (step.options(timeout=1), "start", "x", good, {}, "options\\(timeout"),
            (step.options(retries=1), "invoke", "x", good, {}, "options\\(retries"),
        ):
            with pytest.raises(
                (ConfigurationError, InvalidInput, EventValidationError), match=wanted
            ):
                getattr(way, method)(title, message, **options)
            refused.append(wanted)
        raise NonRetryable("enough")

    @app.function(Receipt)
    async def receipt(ctx: Context[Receipt]) -> str:
        return ctx.data.order

    async with app.client() as client, app.worker():
        handle = await client.send(Order(id="x"))
        with pytest.raises(ExecutionFailed, match="enough"):
            await handle.result(timeout=30)
        assert len(refused) == 8
        assert [each.event_name for each in (await client.list()).items] == ["order"]


async def test_children_without_end_fail_clearly(app: Worchflow[Any]) -> None:
    @app.function("again", retries=0)
    async def again(ctx: Context[None]) -> None:
        await ctx.step.invoke("Again", {"name": "again", "data": None})

    async with app.client() as client, app.worker(concurrency=2):
        handle = await client.send({"name": "again", "data": None})
        with pytest.raises(ExecutionFailed):
            await handle.result(timeout=120)
        listed = (await client.list(function="again", limit=200)).items

    assert len(listed) == 51
    deepest = min(listed, key=lambda each: -each.depth)
    assert deepest.error is not None
    assert "50 parents above it" in deepest.error.message
