"""`step.map` and `step.invoke_many`: many steps, or children, as one."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    DuplicateStep,
    Event,
    ExecutionFailed,
    ExecutionStatus,
    InvalidInput,
    StepFailed,
    StepsFailed,
    SyncContext,
    Worchflow,
    WorchflowError,
)

S = ExecutionStatus


class Square(Event[int], name="square"):
    n: int


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_each_item_is_a_step_and_what_is_recorded_is_not_repeated(
    app: Worchflow[Any], sync: bool
) -> None:
    ran: list[int] = []
    attempts: list[list[int]] = []

    def square(n: int) -> int:
        ran.append(n)
        if n == 3 and ran.count(3) == 1:
            raise ConnectionError
        return n * n

    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return square(n)

    def look(results: list[int]) -> int:
        attempts.append(results)
        if len(attempts) == 1:
            raise ConnectionError
        return sum(results)

    if sync:

        @app.function("add", retries=5, retry_delay=0)
        def in_a_thread(ctx: SyncContext[int]) -> int:
            return look(ctx.step.map("Square", square, range(ctx.data)))

    else:

        @app.function("add", retries=5, retry_delay=0)
        async def add(ctx: Context[int]) -> int:
            return look(await ctx.step.map("Square", later, range(ctx.data)))

    async with app.client() as client, app.worker(concurrency=1):
        handle = await client.send({"name": "add", "data": 30})
        assert await handle.result(timeout=30) == sum(n * n for n in range(30))
        steps = await client.steps(handle.id)

    assert attempts == [[n * n for n in range(30)]] * 2
    assert Counter(ran) == {**dict.fromkeys(range(30), 1), 3: 2}
    items = [each for each in steps if each.kind == "run"]
    assert {(each.title, each.key) for each in items} == {
        ("Square", f"[{n}]") for n in range(30)
    }
    (own,) = [each for each in steps if each.kind != "run"]
    assert (own.title, own.kind, own.result) == ("Square", "map", 30)


async def test_no_more_items_run_at_once_than_it_says(app: Worchflow[Any]) -> None:
    running: set[str] = set()
    most: list[int] = []

    async def item(name: str) -> None:
        running.add(name)
        most.append(len(running))
        await asyncio.sleep(0.01)
        running.remove(name)

    @app.function("go")
    async def go(ctx: Context[None]) -> None:
        await ctx.step.map("Three", item, [f"a{n}" for n in range(12)], concurrency=3)
        assert max(most) == 3
        most.clear()
        await ctx.step.map("Ten", item, [f"b{n}" for n in range(40)])
        assert max(most) == 10

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        await handle.result(timeout=30)


async def test_what_failed_is_named_and_repeated_alone(app: Worchflow[Any]) -> None:
    ran: list[str] = []
    failures: list[StepsFailed] = []

    async def item(name: str) -> str:
        ran.append(name)
        if name in "bd" and ran.count(name) < 3:
            raise KeyError(name)
        return name.upper()

    @app.function("go", retries=5, retry_delay=0)
    async def go(ctx: Context[None]) -> list[str]:
        try:
            return await ctx.step.map("Item", item, "abcde", key=str)
        except StepsFailed as error:
            failures.append(error)
            raise

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        assert await handle.result(timeout=30) == list("ABCDE")
        attempts = (await client.get(handle.id)).attempts

    assert Counter(ran) == {"a": 1, "b": 3, "c": 1, "d": 3, "e": 1}
    first = failures[0]
    assert [type(each) for each in first.exceptions] == [KeyError, KeyError]
    assert (first.places, first.title) == ((1, 3), "Item")
    assert first.execution_id == handle.id
    assert "2 of 5 items" in str(first)
    assert "b, d" in str(first)
    assert attempts[0].error is not None
    assert (attempts[0].error.type, attempts[0].error.step) == ("StepsFailed", "Item")


async def test_items_with_retries_of_their_own_fail_for_good(
    app: Worchflow[Any],
) -> None:
    ran: list[int] = []

    def item(n: int) -> int:
        ran.append(n)
        if n == 1 and len(ran) < 10:
            raise ValueError(n)
        return n

    @app.function("go", retries=5, retry_delay=0)
    async def go(ctx: Context[None]) -> list[int]:
        step = ctx.step.options(retries=2)
        return await step.map("Item", item, [0, 1, 2])

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=30)
        assert failed.value.error_type == "StepsFailed"
        # Recorded as failed: trying again could only repeat that.
        assert Counter(ran) == {0: 1, 1: 3, 2: 1}
        ran.extend([9] * 10)
        await client.retry(handle.id)
        assert await handle.result(timeout=30) == [0, 1, 2]
    assert Counter(ran) == {0: 1, 1: 4, 2: 1, 9: 10}


async def test_failures_in_the_list_are_recorded(app: Worchflow[Any]) -> None:
    ran: list[int] = []
    seen: list[list[Any]] = []
    broken = {1, 4}

    def item(n: int) -> int:
        ran.append(n)
        if n in broken:
            raise ValueError(f"no {n}")
        return n

    @app.function("go", retries=5, retry_delay=0)
    async def go(ctx: Context[None]) -> list[Any]:
        found = await ctx.step.map("Item", item, range(6), return_exceptions=True)
        seen.append(found)
        if len(seen) == 1:
            raise ConnectionError
        if broken:
            raise ValueError
        return found

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        with pytest.raises(ExecutionFailed):
            await handle.result(timeout=30)
        assert Counter(ran) == dict.fromkeys(range(6), 1)
        for found in seen:
            assert [each for each in found if type(each) is int] == [0, 2, 3, 5]
            assert [(type(found[n]), found[n].error_message) for n in broken] == [
                (StepFailed, "no 1"),
                (StepFailed, "no 4"),
            ]
        # A retry takes back what has failed, and only that is done again.
        broken.clear()
        await client.retry(handle.id)
        assert await handle.result(timeout=30) == list(range(6))
    assert Counter(ran) == {**dict.fromkeys(range(6), 1), 1: 2, 4: 2}


async def test_keys_tell_items_apart_whose_order_changes(app: Worchflow[Any]) -> None:
    ran: list[str] = []
    orders = ["abc", "cab"]

    def item(name: str) -> str:
        ran.append(name)
        return name * 2

    @app.function("go", retries=1, retry_delay=0)
    async def go(ctx: Context[None]) -> list[str]:
        order = orders[ctx.attempt - 1]
        found = await ctx.step.map("Item", item, order, key=str)
        if ctx.attempt == 1:
            raise ConnectionError
        return found

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        assert await handle.result(timeout=30) == ["cc", "aa", "bb"]
    assert sorted(ran) == ["a", "b", "c"]


@pytest.mark.parametrize("fails", [False, True], ids=["completed", "unfinished"])
async def test_another_number_of_items_fails_the_execution(
    app: Worchflow[Any], fails: bool
) -> None:
    def item(n: int) -> int:
        if fails:
            raise ValueError
        return n

    @app.function("go", retries=5, retry_delay=0)
    async def go(ctx: Context[None]) -> None:
        await ctx.step.map("Item", item, range(3 + ctx.attempt))
        raise ConnectionError

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=30)
    assert failed.value.error_type == "StepResultChanged"
    assert "recorded with 4 items" in failed.value.message
    assert "gives 5 now" in failed.value.message


async def test_what_cannot_be_mapped_is_refused_before_anything_runs(
    app: Worchflow[Any],
) -> None:
    ran: list[Any] = []
    errors: dict[str, Any] = {}

    @app.function("go", retries=0)
    async def go(ctx: Context[None]) -> None:
        step: Any = ctx.step
        calls: dict[str, Any] = {
            "swapped": lambda: step.map(ran.append, "Item", []),
            "fn": lambda: step.map("Item", 3, []),
            "items": lambda: step.map("Item", ran.append, 3),
            "many": lambda: step.map("Item", ran.append, range(10_001)),
            "key": lambda: step.map("Item", ran.append, [1], key="id"),
            "same": lambda: step.map(
                "Item", ran.append, [1, 2, 3], key=lambda n: n % 2
            ),
            "none": lambda: step.map("Item", ran.append, [1], key=lambda _: None),
            "concurrency": lambda: step.map("Item", ran.append, [1], concurrency=0),
            "flag": lambda: step.map("Item", ran.append, [1], return_exceptions="no"),
            "one": lambda: step.invoke_many("Item", Square(n=1)),
            "message": lambda: step.invoke_many("Item", [Square(n=1), 3]),
            "timeout": lambda: step.invoke_many("Item", [], timeout=0),
            "retries": lambda: step.options(retries=1).invoke_many("Item", []),
        }
        for name, call in calls.items():
            with pytest.raises(WorchflowError) as error:
                await call()
            errors[name] = error.value

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        await handle.result(timeout=30)
        assert await client.steps(handle.id) == []
    assert ran == []
    kinds = {name: type(error) for name, error in errors.items()}
    assert kinds["same"] is DuplicateStep
    assert "2 items" in str(errors["same"])
    assert {name for name, kind in kinds.items() if kind is ConfigurationError} == {
        *("concurrency", "flag", "timeout", "retries")
    }
    assert all(
        issubclass(kind, InvalidInput)
        for name, kind in kinds.items()
        if name not in {"concurrency", "flag", "timeout", "retries", "same"}
    )
    assert "10,000 items" in str(errors["many"])
    assert "step.invoke" in str(errors["one"])


async def test_nothing_to_do_is_done(app: Worchflow[Any]) -> None:
    @app.function("go")
    async def go(ctx: Context[None]) -> list[Any]:
        none: list[int] = []
        children = await ctx.step.invoke_many("Child", [Square(n=n) for n in none])
        return [*await ctx.step.map("Item", abs, none), *children]

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        assert await handle.result(timeout=30) == []


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_children_of_one_step(app: Worchflow[Any], sync: bool) -> None:
    started: list[int] = []
    sums: list[int] = []

    if sync:

        @app.function("sum", retries=1, retry_delay=0)
        def in_a_thread(ctx: SyncContext[int]) -> int:
            numbers = [Square(n=n) for n in range(ctx.data)]
            sums.append(sum(ctx.step.invoke_many("Square", numbers)))
            if ctx.attempt == 1:
                raise ConnectionError
            return sums[-1]

    else:

        @app.function("sum", retries=1, retry_delay=0)
        async def add_up(ctx: Context[int]) -> int:
            numbers = [Square(n=n) for n in range(ctx.data)]
            sums.append(sum(await ctx.step.invoke_many("Square", numbers)))
            if ctx.attempt == 1:
                raise ConnectionError
            return sums[-1]

    @app.function(Square)
    async def square(ctx: Context[Square]) -> int:
        started.append(ctx.data.n)
        return ctx.data.n**2

    # One slot: a parent that waits does not hold it.
    async with app.client() as client, app.worker(concurrency=1):
        handle = await client.send({"name": "sum", "data": 40})
        assert await handle.result(timeout=60) == sum(n**2 for n in range(40))
        steps = await client.steps(handle.id)
    assert len(set(sums)) == 1
    assert sorted(started) == list(range(40))
    assert Counter(each.kind for each in steps) == {"invoke": 40, "invoke_many": 1}


async def test_no_more_children_are_unfinished_than_it_says(
    app: Worchflow[Any],
) -> None:
    running: set[int] = set()
    most: list[int] = []

    @app.function("go")
    async def go(ctx: Context[int]) -> list[int]:
        numbers = [Square(n=n) for n in range(ctx.data)]
        return await ctx.step.invoke_many("Square", numbers, concurrency=2)

    @app.function(Square)
    async def square(ctx: Context[Square]) -> int:
        running.add(ctx.data.n)
        most.append(len(running))
        await asyncio.sleep(0.01)
        running.remove(ctx.data.n)
        return ctx.data.n

    async with app.client() as client, app.worker(concurrency=10):
        handle = await client.send({"name": "go", "data": 12})
        assert await handle.result(timeout=60) == list(range(12))
    assert max(most) == 2


async def test_how_children_failed_and_that_a_retry_repeats_these(
    app: Worchflow[Any],
) -> None:
    started: list[int] = []
    seen: list[Any] = []
    broken = [True]

    @app.function("strict", retries=3, retry_delay=0)
    async def strict(ctx: Context[None]) -> list[int]:
        numbers = [Square(n=n) for n in range(4)]
        return await ctx.step.invoke_many("Square", numbers, timeout="1h")

    @app.function("lenient", retries=3, retry_delay=0)
    async def lenient(ctx: Context[None]) -> int:
        numbers = [Square(n=n) for n in range(10, 14)]
        found = await ctx.step.invoke_many(
            "Square", numbers, key=lambda each: each.n, return_exceptions=True
        )
        seen.append(found)
        if ctx.attempt == 1:
            raise ConnectionError
        return sum(each for each in found if isinstance(each, int))

    @app.function(Square, retries=0)
    async def square(ctx: Context[Square]) -> int:
        started.append(ctx.data.n)
        if broken and ctx.data.n % 10 in (1, 2):
            raise ValueError(ctx.data.n)
        return ctx.data.n

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "strict", "data": None})
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=30)
        assert failed.value.error_type == "StepsFailed"
        assert "2 of 4 items" in failed.value.message
        assert "[1], [2]" in failed.value.message
        # How a child ended is recorded: the attempts that are left would meet it again.
        assert (await client.get(handle.id)).attempt_count == 1
        other = await client.send({"name": "lenient", "data": None})
        assert await other.result(timeout=30) == 10 + 13
        broken.clear()
        await client.retry(handle.id)
        assert await handle.result(timeout=30) == [0, 1, 2, 3]
    first, second = seen
    assert [type(each) for each in first] == [
        *(int, ExecutionFailed, ExecutionFailed, int)
    ]
    assert [str(each) for each in first] == [str(each) for each in second]
    assert Counter(n for n in started if n < 10) == {0: 1, 1: 2, 2: 2, 3: 1}
    assert Counter(n for n in started if n >= 10) == dict.fromkeys(range(10, 14), 1)


async def test_children_that_take_too_long_or_are_cancelled(
    app: Worchflow[Any],
) -> None:
    @app.function("go", retries=0)
    async def go(ctx: Context[None]) -> list[str]:
        numbers = [Square(n=n) for n in range(3)]
        found = await ctx.step.invoke_many(
            "Square", numbers, timeout=0.5, return_exceptions=True
        )
        return [type(each).__name__ for each in found]

    @app.function(Square)
    async def square(ctx: Context[Square]) -> int:
        if ctx.data.n == 1:
            await ctx.step.sleep("Long", "1h")
        if ctx.data.n == 2:
            await client.cancel(ctx.execution_id)
            await asyncio.sleep(10)
        return ctx.data.n

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        assert await handle.result(timeout=30) == [
            *("int", "TimeoutError", "ExecutionCancelled")
        ]
        children = (await client.list(parent=handle.id)).items
    assert Counter(each.status for each in children) == {S.COMPLETED: 1, S.CANCELLED: 2}


async def test_plain_functions_of_a_plain_handler_run_side_by_side(
    app: Worchflow[Any],
) -> None:
    threads: set[int] = set()
    barrier = threading.Barrier(3, timeout=10)

    def item(n: int) -> int:
        threads.add(threading.get_ident())
        barrier.wait()
        return n

    @app.function("go")
    def go(ctx: SyncContext[None]) -> list[int]:
        return ctx.step.map("Item", item, range(3))

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        assert await handle.result(timeout=30) == [0, 1, 2]
    assert len(threads) == 3


async def test_a_fan_out_that_is_cut_off_is_continued(app: Worchflow[Any]) -> None:
    ran: list[int] = []
    may_go_on = asyncio.Event()

    async def item(n: int) -> int:
        if n >= 5:
            await may_go_on.wait()
        ran.append(n)
        return n

    @app.function("go", retries=0)
    async def go(ctx: Context[None]) -> list[int]:
        return await ctx.step.map("Item", item, range(10), concurrency=1)

    async with app.client() as client:
        worker = app.worker()
        async with worker:
            handle = await client.send({"name": "go", "data": None})
            await until(lambda: len(ran) == 5)
            await worker.stop(timeout=0)
        may_go_on.set()
        async with app.worker():
            assert await handle.result(timeout=30) == list(range(10))
    assert ran == list(range(10))
