"""`step.map` and `step.invoke_many`: identities, records, and what is done again."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.engine.attempts import Engine, stop
from worchflow import (
    Context,
    PayloadTooLarge,
    SerializationError,
    StepsFailed,
    SyncContext,
)
from worchflow.foundations.ids import part_id, step_id
from worchflow.foundations.limits import PayloadLimits
from worchflow.model.records import StepStatus, StoredStep
from worchflow.model.settlement import Completed, Failed, Suspended
from worchflow.model.step_kind import StepKind
from worchflow.serialization.payloads import Payloads

OWN = step_id("Item")


async def squares(ctx: Context[None]) -> list[int]:
    return await ctx.step.map("Item", lambda n: n * n, [1, 2, 3])


def squares_in_a_thread(ctx: SyncContext[None]) -> list[int]:
    return ctx.step.map("Item", lambda n: n * n, [1, 2, 3])


BOTH = pytest.mark.parametrize("handler", [squares, squares_in_a_thread])


@BOTH
async def test_identities_do_not_change_between_releases(
    engine: Engine, handler: Any
) -> None:
    assert await engine.settlement(handler) == Completed("[1,4,9]")

    recorded = {each.step_id: each for each in await engine.steps.recorded()}
    # md5 of the step's own id, the separator and the place.
    assert set(recorded) == {
        "7d74f3b92b19da5e606d737d339a9679",
        part_id(OWN, "[0]"),
        part_id(OWN, "[1]"),
        part_id(OWN, "[2]"),
    }
    assert part_id(OWN, "[0]") == "e1985629cbfe5ed452ea3474384f8cbc"
    own = recorded[OWN]
    assert (own.title, own.key, own.kind, own.result) == (
        "Item",
        None,
        StepKind.MAP,
        "3",
    )
    second = recorded[part_id(OWN, "[1]")]
    assert (second.title, second.key, second.kind, second.result) == (
        *("Item", "[1]", StepKind.RUN, "4"),
    )


async def test_keys_make_other_identities(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> None:
        step = ctx.step.options(key="x")
        await step.map("Item", abs, [1, 2], key=lambda n: n * 10)

    await engine.settlement(handler)

    own = step_id("Item", key="x")
    assert {each.step_id: each.key for each in await engine.steps.recorded()} == {
        own: "x",
        part_id(own, ":10"): "x:10",
        part_id(own, ":20"): "x:20",
    }


@BOTH
async def test_what_is_recorded_is_not_done_again(engine: Engine, handler: Any) -> None:
    await engine.record("One", "100")
    (one,) = await engine.steps.recorded()
    await engine.record_step(_item(one, 1, "77"))

    assert await engine.settlement(handler) == Completed("[1,77,9]")
    assert await engine.settlement(handler) == Completed("[1,77,9]")
    # Each of the two others once, and the count.
    assert engine.steps.asked == 3


def _item(step: StoredStep, number: int, result: str) -> StoredStep:
    return replace(
        step, step_id=part_id(OWN, f"[{number}]"), title="Item", result=result
    )


@BOTH
async def test_an_item_whose_record_is_gone_is_done_again(
    engine: Engine, handler: Any
) -> None:
    # As a retry does with failures, and the loss of Redis with `durability="fast"`.
    await engine.record("Item", "3", kind=StepKind.MAP)

    assert await engine.settlement(handler) == Completed("[1,4,9]")


@BOTH
async def test_another_count_than_the_recorded_one_fails_the_execution(
    engine: Engine, handler: Any
) -> None:
    await engine.record("Item", "4", kind=StepKind.MAP)

    settlement = await engine.settlement(handler, retries=3)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == "StepResultChanged"
    assert 'step "Item" is recorded with 4 items' in settlement.error.message
    assert len(await engine.steps.recorded()) == 1


async def test_a_title_that_was_another_kind_fails_the_execution(
    engine: Engine,
) -> None:
    await engine.record("Item", "3")

    settlement = await engine.settlement(squares, retries=3)

    assert isinstance(settlement, Failed)
    assert "is recorded as step.run" in settlement.error.message


async def test_more_items_than_an_execution_may_have_steps_run_none(
    engine: Engine,
) -> None:
    ran: list[int] = []
    payloads = Payloads(limits=PayloadLimits(execution_steps=10))
    object.__setattr__(engine.runtime, "payloads", payloads)

    async def handler(ctx: Context[None]) -> str:
        await ctx.step.map("Few", ran.append, range(4))
        try:
            await ctx.step.map("Many", ran.append, range(7))
        except PayloadTooLarge:
            return "caught"
        return "done"

    settlement = await engine.settlement(handler, retries=3)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == "PayloadTooLarge"
    assert 'step "Many" does not start' in settlement.error.message
    assert "has 5 recorded steps: 13 are more than its limit of 10" in (
        settlement.error.message
    )
    assert ran == list(range(4))


@pytest.mark.parametrize("concurrency", [1, 9])
async def test_as_many_items_as_an_execution_may_have_steps_run(
    engine: Engine, concurrency: int
) -> None:
    payloads = Payloads(limits=PayloadLimits(execution_steps=10))
    object.__setattr__(engine.runtime, "payloads", payloads)

    async def handler(ctx: Context[None]) -> str:
        await ctx.step.map("Item", abs, range(9), concurrency=concurrency)
        try:
            await ctx.step.run("One too many", int)
        except PayloadTooLarge:
            return "caught"
        return "done"

    for _ in range(2):
        settlement = await engine.settlement(handler, retries=3)
        assert isinstance(settlement, Failed)
        assert 'step "One too many" does not start' in settlement.error.message
    assert len(await engine.steps.recorded()) == 10


async def test_results_beyond_the_limit_of_an_execution_start_no_further_step(
    engine: Engine,
) -> None:
    payloads = Payloads(limits=PayloadLimits(execution_bytes=5000))
    object.__setattr__(engine.runtime, "payloads", payloads)

    async def handler(ctx: Context[None]) -> None:
        await ctx.step.run("Large", lambda: "x" * 5000)
        await ctx.step.run("Next", int)

    settlement = await engine.settlement(handler, retries=3)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == "PayloadTooLarge"
    assert "bytes of recorded steps, more than its limit of 5000" in (
        settlement.error.message
    )
    assert [each.title for each in await engine.steps.recorded()] == ["Large"]


async def test_what_cannot_be_stored_stops_the_others(engine: Engine) -> None:
    ran: list[int] = []

    def item(n: int) -> Any:
        ran.append(n)
        return object() if n == 1 else n

    async def handler(ctx: Context[None]) -> str:
        try:
            await ctx.step.map(
                "Item", item, range(100), concurrency=1, return_exceptions=True
            )
        except SerializationError:
            return "caught"
        return "done"

    settlement = await engine.settlement(handler, retries=3)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == "SerializationError"
    assert ran == [0, 1]


async def test_a_map_that_is_stopped_keeps_what_has_ended(engine: Engine) -> None:
    reached, ran = asyncio.Event(), list[int]()

    async def item(n: int) -> int:
        if n == 3 and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        ran.append(n)
        return n

    async def handler(ctx: Context[None]) -> list[int]:
        return await ctx.step.map("Item", item, range(5), concurrency=1)

    runner = await engine.runner(handler)
    running = asyncio.ensure_future(runner.run())
    await reached.wait()
    stop(runner)
    await running

    assert await engine.settlement(handler) == Completed("[0,1,2,3,4]")
    assert ran == [0, 1, 2, 3, 4]


async def test_a_map_that_the_user_gives_up_runs_no_further(engine: Engine) -> None:
    ended: list[int] = []

    async def item(n: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(n)

    async def handler(ctx: Context[None]) -> int:
        try:
            async with asyncio.timeout(0.05):
                await ctx.step.map("Item", item, range(50), concurrency=2)
        except TimeoutError:
            return len(ended)
        return -1

    assert await engine.settlement(handler) == Completed("2")


async def test_what_is_forgotten_runs_before_the_execution_completes(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ctx: Context[None]) -> str:
        ctx.step.map("Item", abs, [1, 2])  # type: ignore[unused-coroutine]
        task = asyncio.ensure_future(ctx.step.map("Task", abs, [1, 2]))
        await asyncio.sleep(0)
        del task
        return "done"

    assert await engine.settlement(handler) == Completed('"done"')
    assert len(await engine.steps.recorded()) == 6
    assert 'step "Item" of execution e-1 was never awaited' in caplog.text


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_children_that_all_wait_let_the_execution_leave(
    engine: Engine, sync: bool
) -> None:
    engine.slot.park_for = 0.05
    messages: list[dict[str, object]] = [{"name": "child", "data": n} for n in range(5)]

    async def parent(ctx: Context[None]) -> None:
        await ctx.step.invoke_many("Child", messages)

    def in_a_thread(ctx: SyncContext[None]) -> None:
        ctx.step.invoke_many("Child", messages, concurrency=5)

    outcome = await (await engine.runner(in_a_thread if sync else parent)).run()

    assert outcome is not None
    settlement = outcome.settlement
    assert isinstance(settlement, Suspended)
    assert settlement.awaits_children
    assert settlement.reason is not None
    assert "and 2 more" in settlement.reason


async def test_an_item_that_runs_keeps_the_slot(engine: Engine) -> None:
    """All but one wait: the attempt is not parked, and the one is not cut off."""
    engine.slot.park_for = 0.01

    async def item(n: int) -> int:
        if n == 0:
            await asyncio.sleep(0.2)
            assert engine.slot.suspend is None
        return n

    async def handler(ctx: Context[None]) -> None:
        await asyncio.gather(
            ctx.step.map("Item", item, range(3)), ctx.step.sleep("Nap", 0.1)
        )

    assert await engine.settlement(handler) == Completed("null")


async def test_failed_items_are_forgotten_with_their_error(engine: Engine) -> None:
    """Nothing is left in a cycle: users' variables go as soon as nobody holds them."""

    class Large:
        pass

    held: list[weakref.ref[Large]] = []

    def item(n: int) -> int:
        large = Large()
        held.append(weakref.ref(large))
        if n:
            raise ValueError(n)
        return n

    async def handler(ctx: Context[None]) -> str:
        try:
            await ctx.step.map("Item", item, range(3))
        except StepsFailed as error:
            return str(len(error.exceptions))
        return "none"

    gc.collect()
    gc.disable()
    try:
        assert await engine.settlement(handler) == Completed('"2"')
        await asyncio.sleep(0)
        assert [each() for each in held] == [None, None, None]
    finally:
        gc.enable()


async def test_a_failed_child_is_named_and_told(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> list[str]:
        step = ctx.step.options(retries=0)
        found = await step.map("Item", int, ["1", "x"], return_exceptions=True)
        return [type(each).__name__ for each in found]

    assert await engine.settlement(handler) == Completed('["int","StepFailed"]')
    statuses = {each.key: each.status for each in await engine.steps.recorded()}
    assert statuses == {
        None: StepStatus.COMPLETED,
        "[0]": StepStatus.COMPLETED,
        "[1]": StepStatus.FAILED,
    }


async def test_every_failure_is_kept_for_a_resume(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> int:
        with pytest.raises(StepsFailed):
            await ctx.step.map("Item", int, ["x"] * 1100, concurrency=100)
        return len(runner.attempt.unrecorded_failures)

    runner = await engine.runner(handler)
    outcome = await runner.run()

    assert outcome is not None
    assert outcome.settlement.result == "1100"  # type: ignore[union-attr]
