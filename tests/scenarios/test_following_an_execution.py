"""Who follows an execution learns what happens to it, in order, up to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from worchflow import (
    Context,
    Event,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionNotFound,
    ExecutionStatus,
    NonRetryable,
    Worchflow,
)
from worchflow.model.notices import AttemptFailed, ExecutionCompleted, StepCompleted


class Work(Event[list[int]], name="work"):
    steps: int


async def test_updates_come_in_order_and_end_with_the_result(
    app: Worchflow[Any],
) -> None:
    following, failure_seen = asyncio.Event(), asyncio.Event()

    @app.function(Work, retry_delay=0)
    async def work(ctx: Context[Work]) -> list[int]:
        await following.wait()
        if ctx.attempt == 2:
            await failure_seen.wait()
        done = [
            await ctx.step.run(f"step {n}", lambda n=n: n)
            for n in range(ctx.data.steps)
        ]
        if ctx.attempt == 1:
            raise ConnectionError("once")
        return done

    async with app.client() as client:
        handle = await client.send(Work(steps=3))
        updates = handle.updates()
        first = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0.05)
        async with app.worker():
            seen = [await first]
            following.set()
            async for update in updates:
                seen.append(update)
                if isinstance(update, AttemptFailed):
                    failure_seen.set()

    titles = [each.title for each in seen if isinstance(each, StepCompleted)]
    assert titles == ["step 0", "step 1", "step 2"]
    failures = [each for each in seen if isinstance(each, AttemptFailed)]
    assert [(each.attempt, each.will_retry) for each in failures] == [(1, True)]
    assert failures[0].error is not None
    assert failures[0].error.type == "ConnectionError"
    last = seen[-1]
    assert isinstance(last, ExecutionCompleted)
    assert (last.result, last.attempt, last.status) == ([0, 1, 2], 2, "completed")
    assert not any(each.status.is_terminal for each in seen[:-1])
    assert {each.execution_id for each in seen} == {handle.id}


async def test_the_end_of_a_failed_execution_is_told_once(app: Worchflow[Any]) -> None:
    @app.function(Work)
    async def work(ctx: Context[Work]) -> list[int]:
        raise NonRetryable("not today")

    async with app.client() as client, app.worker():
        handle = await client.send(Work(steps=1), delay=0.05)
        seen = [update async for update in handle.updates()]

        (last,) = [each for each in seen if isinstance(each, AttemptFailed)]
        assert last is seen[-1]
        assert not last.will_retry
        assert last.error is not None
        assert last.error.message == "not today"
        # Who comes late gets the end at once.
        assert [each async for each in handle.updates()] == [last]


async def test_the_end_of_a_cancelled_execution_is_told(app: Worchflow[Any]) -> None:
    async with app.client() as client:
        handle = await client.send(Work(steps=1))
        updates = handle.updates()
        first = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0.01)
        await client.cancel(handle.id)

        assert (await first).status is ExecutionStatus.CANCELLED
        assert [each async for each in updates] == []


async def test_following_what_nobody_sent_fails_at_once(app: Worchflow[Any]) -> None:
    async with app.client() as client:
        with pytest.raises(ExecutionNotFound):
            await anext(client.handle("nowhere").updates())


async def test_every_end_has_its_error(app: Worchflow[Any]) -> None:
    @app.function(Work)
    async def work(ctx: Context[Work]) -> list[int]:
        if ctx.data.steps == 0:
            raise NonRetryable("nothing to do")
        return [1]

    async with app.client() as client, app.worker():
        failing = await client.send(Work(steps=0))
        with pytest.raises(ExecutionFailed, match="nothing to do") as failed:
            await failing.result(timeout=10)
        assert failed.value.execution_id == failing.id
        assert failed.value.error_type == "NonRetryable"
        assert failed.value.message == "nothing to do"
        assert "in work" in failed.value.traceback
        assert "worchflow/engine" not in failed.value.traceback

        cancelled = await client.send(Work(steps=1), delay="1h")
        await client.cancel(cancelled.id, reason="too late")
        with pytest.raises(ExecutionCancelled, match="too late") as ended:
            await cancelled.result(timeout=10)
        assert ended.value.reason == "too late"


async def test_a_typed_handle_decodes_what_an_untyped_one_shows_plainly(
    app: Worchflow[Any],
) -> None:
    class Tagged(Event[frozenset[str]], name="tagged"):
        pass

    @app.function(Tagged)
    async def tagged(ctx: Context[Tagged]) -> frozenset[str]:
        return frozenset({"a"})

    async with app.client() as client, app.worker():
        handle = await client.send(Tagged())

        assert await handle.result(timeout=10) == frozenset({"a"})
        assert await client.handle(handle.id, Tagged).result() == frozenset({"a"})
        assert await client.handle(handle.id, tagged).result() == frozenset({"a"})
        assert await client.handle(handle.id).result() == ["a"]


async def test_a_result_can_be_awaited_by_many(app: Worchflow[Any]) -> None:
    @app.function(Work)
    async def work(ctx: Context[Work]) -> list[int]:
        return [7]

    async with app.client() as client, app.client() as other:
        handle = await client.send(Work(steps=1))
        waiting = [
            asyncio.ensure_future(each.handle(handle.id, Work).result(timeout=10))
            for each in [client, other] * 5
        ]
        giving_up = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0)
        giving_up.cancel()
        async with app.worker():
            assert await asyncio.gather(*waiting) == [[7]] * 10
