"""`step.wait_for_event`: what is stored, looked for, taken and recorded."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.engine.attempts import EXECUTION, Engine
from tests.waiting import until
from worchflow import Context, StepResultChanged, SyncContext, event
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.events import NewEvent
from worchflow.model.records import ExecutionStatus, StepStatus
from worchflow.model.settlement import Completed, Failed, Suspended
from worchflow.model.step_kind import StepKind

NEWS = event("news", str)


async def waits(ctx: Context[None]) -> str:
    return await ctx.step.wait_for_event("News", NEWS, key="k")


def waits_in_a_thread(ctx: SyncContext[None]) -> str:
    return ctx.step.wait_for_event("News", NEWS, key="k")


BOTH = pytest.mark.parametrize("handler", [waits, waits_in_a_thread])


async def emit(engine: Engine, data: str, id: str = "e", key: str | None = "k") -> None:
    """Append an event and deliver it."""
    events = engine.backend.events
    stored = await events.append(NewEvent(id=id, name="news", data=data, key=key))
    assert await events.deliver(stored) is None


@BOTH
async def test_an_event_that_is_there_is_recorded_at_once(
    engine: Engine, handler: Any
) -> None:
    await emit(engine, '"old"')

    assert await engine.settlement(handler) == Completed('"old"')

    (step,) = await engine.steps.recorded()
    assert (step.title, step.kind, step.status, step.result, step.attempts) == (
        "News",
        StepKind.WAIT,
        StepStatus.COMPLETED,
        '"old"',
        1,
    )
    # Another event changes nothing about what is recorded.
    await emit(engine, '"new"', id="e2")
    assert await engine.settlement(handler) == Completed('"old"')


@BOTH
async def test_it_is_suspended_and_says_what_for(engine: Engine, handler: Any) -> None:
    engine.slot.park_for = 0.05

    outcome = await (await engine.runner(handler)).run()

    assert outcome is not None
    settlement = outcome.settlement
    assert isinstance(settlement, Suspended)
    assert settlement.status is ExecutionStatus.WAITING
    assert settlement.reason == 'event "news" (key k) at "News"'
    assert settlement.until is None
    (wait,) = await engine.backend.waits.all(EXECUTION)
    assert wait.event is not None
    assert (wait.title, wait.event.name, wait.event.key) == ("News", "news", "k")
    assert await engine.steps.recorded() == []


@BOTH
async def test_what_comes_while_it_is_parked_is_found_once_it_is_told(
    engine: Engine, handler: Any
) -> None:
    engine.slot.park_for = 60
    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    await emit(engine, '"came"')
    assert not running.done()

    runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)
    assert outcome is not None
    assert outcome.settlement == Completed('"came"')


async def test_a_wake_up_for_nothing_is_followed_by_another_look_and_suspension(
    engine: Engine,
) -> None:
    engine.slot.park_for = 0.4
    runner = await engine.runner(waits)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    await engine.backend.waits.wake([EXECUTION])

    runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)
    assert outcome is not None
    # The count that was read before it looked again: it is not queued in vain.
    assert isinstance(outcome.settlement, Suspended)
    assert outcome.settlement.wakeups == 1


async def test_a_time_that_is_over_is_recorded_as_nothing(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> str:
        came = await ctx.step.wait_for_event("News", NEWS, key="k", timeout=0.05)
        return f"{came}"

    assert await engine.settlement(handler) == Completed('"None"')
    await emit(engine, '"late"')
    assert await engine.settlement(handler) == Completed('"None"')
    (step,) = await engine.steps.recorded()
    assert step.result == "null"


async def test_what_does_not_fit_and_what_is_taken_is_passed_over(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ctx: Context[None]) -> list[str]:
        first = await ctx.step.wait_for_event("First", NEWS, key="k")
        second = await ctx.step.wait_for_event("Second", NEWS, key="k")
        return [first, second]

    for number, data in enumerate(('{"x":1}', '"one"', '"two"')):
        await emit(engine, data, id=f"e{number}")
        await asyncio.sleep(0.002)

    with caplog.at_level(logging.ERROR, "worchflow.engine"):
        assert await engine.settlement(handler) == Completed('["one","two"]')

    assert 'event e0 is passed over by wait "First" of execution e-1' in caplog.text


async def both(ctx: Context[None]) -> list[str]:
    first = ctx.step.wait_for_event("First", NEWS, key="k")
    second = ctx.step.wait_for_event("Second", NEWS, key="k")
    return await asyncio.gather(first, second)


def emit_before_look(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, number: int, *data: str
) -> None:
    """Append events when the log is looked into for the nth time."""
    events = engine.backend.events
    find = events.find
    looks = 0

    async def look(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == number:
            for each in data:
                await emit(engine, each, id=f"e{each}")
                await asyncio.sleep(0.002)
        return await find(*arguments)

    monkeypatch.setattr(events, "find", look)


@pytest.mark.parametrize("came", [['"one"', '"two"'], ['"one"']])
async def test_what_comes_between_two_looks_ends_the_wait_that_was_asked_for_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, came: list[str]
) -> None:
    emit_before_look(engine, monkeypatch, 2, *came)
    runner = await engine.runner(both)
    running = asyncio.create_task(runner.run())
    if len(came) == 1:
        await until(lambda: engine.steps.asked == 1)
        await emit(engine, '"two"', id="late")
        runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)

    assert outcome is not None
    assert outcome.settlement == Completed('["one","two"]')


async def test_what_the_first_cannot_use_ends_the_second(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = event("news", int)

    async def handler(ctx: Context[None]) -> str:
        first = asyncio.ensure_future(
            ctx.step.wait_for_event("First", numbers, key="k")
        )
        await asyncio.sleep(0)
        second = await ctx.step.wait_for_event("Second", NEWS, key="k")
        return f"{second} {await first}"

    emit_before_look(engine, monkeypatch, 2, '"text"')
    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.steps.asked == 1)
    await emit(engine, "7", id="number")
    runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)

    assert outcome is not None
    assert outcome.settlement == Completed('"text 7"')


async def test_what_a_cancelled_wait_was_promised_ends_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = engine.backend.events
    take, taking = events.take, asyncio.Event()

    async def taken_by_the_second(*arguments: Any) -> bool:
        if not taking.is_set():
            taking.set()
            await asyncio.Event().wait()
        return await take(*arguments)

    async def handler(ctx: Context[None]) -> str:
        first = asyncio.ensure_future(ctx.step.wait_for_event("First", NEWS, key="k"))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(ctx.step.wait_for_event("Second", NEWS, key="k"))
        await taking.wait()
        first.cancel()
        return await second

    monkeypatch.setattr(events, "take", taken_by_the_second)
    emit_before_look(engine, monkeypatch, 2, '"news"')
    assert await engine.settlement(handler) == Completed('"news"')


async def test_stores_that_do_not_answer_are_asked_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await emit(engine, '"came"')
    events = engine.backend.events
    failures = {"find": 1, "take": 1}

    def failing(name: str) -> Any:
        real = getattr(events, name)

        async def call(*arguments: Any) -> Any:
            if failures[name]:
                failures[name] -= 1
                raise StoreUnavailable("away")
            return await real(*arguments)

        return call

    for name in failures:
        monkeypatch.setattr(events, name, failing(name))

    assert await engine.settlement(waits) == Completed('"came"')
    assert failures == {"find": 0, "take": 0}


async def test_a_record_of_another_kind_is_refused(engine: Engine) -> None:
    await engine.record("News", '"x"')

    settlement = await engine.settlement(waits)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == StepResultChanged.__name__
    assert "is recorded as step.run" in settlement.error.message


async def sleeps(ctx: Context[None]) -> None:
    await ctx.step.sleep("News", "1h")


@pytest.mark.parametrize(
    ("first", "then", "was"), [(waits, sleeps, "wait"), (sleeps, waits, "sleep")]
)
async def test_a_stored_wait_of_another_kind_is_refused(
    engine: Engine, first: Any, then: Any, was: str
) -> None:
    engine.slot.park_for = 0.05
    outcome = await (await engine.runner(first)).run()
    assert outcome is not None
    assert isinstance(outcome.settlement, Suspended)

    settlement = await engine.settlement(then)

    assert isinstance(settlement, Failed)
    assert f"is recorded as step.{was}" in settlement.error.message


async def test_what_another_step_had_taken_ends_it_once_that_has_lost_a_race(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await emit(engine, '"news"')
    events = engine.backend.events
    take, refused = events.take, asyncio.Event()

    async def taken_by_another(*arguments: Any) -> bool:
        if not refused.is_set():
            refused.set()
            return False
        return await take(*arguments)

    async def handler(ctx: Context[None]) -> str | None:
        waiting = asyncio.ensure_future(
            ctx.step.wait_for_event("News", NEWS, key="k", timeout=20)
        )
        await refused.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        runner.attempt.leave_out(["another"])
        return await waiting

    monkeypatch.setattr(events, "take", taken_by_another)
    runner = await engine.runner(handler)
    outcome = await runner.run()

    assert outcome is not None
    assert outcome.settlement.result == '"news"'  # type: ignore[union-attr]


async def test_a_race_that_is_lost_during_a_look_has_it_looked_at_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await emit(engine, '"news"')
    events = engine.backend.events
    find, looks = events.find, list[int]()

    async def found_too_late(*arguments: Any) -> Any:
        looks.append(1)
        look = await find(*arguments)
        if len(looks) > 1:
            return look
        # It does not wait yet, and has looked already.
        runner.attempt.leave_out(["another"])
        for _ in range(3):
            await asyncio.sleep(0)
        return replace(look, event=None)

    async def handler(ctx: Context[None]) -> str | None:
        return await ctx.step.wait_for_event("News", NEWS, key="k")

    monkeypatch.setattr(events, "find", found_too_late)
    runner = await engine.runner(handler)
    async with asyncio.timeout(20):
        outcome = await runner.run()

    assert outcome is not None
    assert outcome.settlement == Completed('"news"', outcome.settlement.attempt)  # type: ignore[union-attr]
