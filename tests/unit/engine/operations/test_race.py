"""`step.race`: who is first, what is recorded of it, and what becomes of the others."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.stores import new_step
from tests.unit.engine.attempts import EXECUTION, Engine, stop
from worchflow import Context, SerializationError, SyncContext, event
from worchflow.foundations.ids import part_id, step_id
from worchflow.model.events import NewEvent
from worchflow.model.records import ErrorInfo, StepStatus
from worchflow.model.settlement import Completed, Failed
from worchflow.model.step_kind import StepKind

NEWS = event("news", str)


async def emit(engine: Engine) -> None:
    events = engine.backend.events
    await events.append(NewEvent(id="e", name="news", data='"news"', key="k"))


class TakesAndLoses:
    """Lets a wait take its event, and never have the answer: the other arm is first."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_taken = asyncio.Event()
        self._take = engine.backend.events.take
        monkeypatch.setattr(engine.backend.events, "take", self._take_once)

    async def _take_once(self, *arguments: Any) -> bool:
        taken = await self._take(*arguments)
        if not self.has_taken.is_set():
            self.has_taken.set()
            await asyncio.Event().wait()
        return taken

    async def race(self, ctx: Context[None]) -> str:
        name, _ = await ctx.step.race(
            "First",
            event=ctx.step.wait_for_event("Lost", NEWS, key="k"),
            other=ctx.step.run("Other", self.has_taken.wait),
        )
        return name


async def test_an_event_that_a_loser_has_taken_ends_the_next_wait(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = TakesAndLoses(engine, monkeypatch)

    async def handler(ctx: Context[None]) -> str:
        name = await arms.race(ctx)
        return f"{name}, {await ctx.step.wait_for_event('Next', NEWS, key='k')}"

    await emit(engine)
    assert await engine.settlement(handler) == Completed('"other, news"')
    assert await engine.settlement(handler) == Completed('"other, news"')
    assert await engine.steps.results() == {
        "First": '"other"',
        "Other": "true",
        "Next": '"news"',
    }


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_it_is_free_for_a_later_attempt_as_well(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    arms = TakesAndLoses(engine, monkeypatch)

    async def interrupted(ctx: Context[None]) -> None:
        await arms.race(ctx)
        raise ConnectionError

    def in_a_thread(ctx: SyncContext[None]) -> str:
        name, _ = ctx.step.race(
            "First",
            event=lambda: ctx.step.wait_for_event("Lost", NEWS, key="k"),
            other=lambda: ctx.step.run("Other", arms.has_taken.wait),
        )
        return f"{name}, {ctx.step.wait_for_event('Next', NEWS, key='k')}"

    async def handler(ctx: Context[None]) -> str:
        name = await arms.race(ctx)
        return f"{name}, {await ctx.step.wait_for_event('Next', NEWS, key='k')}"

    await emit(engine)
    assert isinstance(await engine.settlement(interrupted), Failed)
    last: Any = in_a_thread if sync else handler
    assert await engine.settlement(last) == Completed('"other, news"')


async def test_it_ends_a_wait_that_is_open_beside_the_race(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = TakesAndLoses(engine, monkeypatch)

    async def handler(ctx: Context[None]) -> str:
        async with asyncio.TaskGroup() as group:
            race = group.create_task(arms.race(ctx))
            await asyncio.sleep(0)
            wait = ctx.step.wait_for_event("Beside", NEWS, key="k")
            beside = group.create_task(wait)
        return f"{race.result()}, {beside.result()}"

    await emit(engine)
    assert await engine.settlement(handler) == Completed('"other, news"')


async def handler(ctx: Context[None]) -> list[Any]:
    step = ctx.step
    a, b = step.run("A", lambda: "a"), step.run("B", lambda: "b")
    return list(await step.race("First", a=a, b=b))


@pytest.mark.parametrize(
    ("seconds", "first"),
    [(-1, "b"), (0, "a"), (1, "a")],
    ids=["before", "same", "after"],
)
async def test_of_two_that_are_recorded_the_earlier_record_counts(
    engine: Engine, seconds: int, first: str
) -> None:
    one = new_step(step_id=step_id("A"), title="A", result='"a"')
    assert one.finished_at is not None
    later = one.finished_at + timedelta(seconds=seconds)
    other = replace(one, step_id=step_id("B"), title="B", result='"b"')
    await engine.record_step(one)
    await engine.record_step(replace(other, started_at=later, finished_at=later))

    for _ in range(2):
        settlement = await engine.settlement(handler)
        assert settlement == Completed(f'["{first}","{first}"]')
    assert (await engine.steps.results())["First"] == f'"{first}"'


async def test_an_arm_that_is_recorded_starts_no_other(engine: Engine) -> None:
    ran: list[str] = []
    await engine.record("B", '"b"')

    async def racing(ctx: Context[None]) -> list[Any]:
        step = ctx.step
        return list(
            await step.race(
                "First", step.run("A", ran.append, "a"), step.run("B", ran.append, "b")
            )
        )

    assert await engine.settlement(racing) == Completed('[1,"b"]')
    assert ran == []


async def test_what_is_recorded_of_a_race_counts_before_the_records_of_arms(
    engine: Engine,
) -> None:
    await engine.record("A", '"a"')
    await engine.record("B", '"b"')
    await engine.record("First", '"b"', kind=StepKind.RACE)

    assert await engine.settlement(handler) == Completed('["b","b"]')


async def test_an_arm_whose_record_is_gone_is_done_again(engine: Engine) -> None:
    # As a retry does with failures, and the loss of Redis with `durability="fast"`.
    await engine.record("First", '"b"', kind=StepKind.RACE)

    assert await engine.settlement(handler) == Completed('["b","b"]')
    assert await engine.steps.results() == {"First": '"b"', "B": '"b"'}


async def test_a_record_of_another_kind_fails_the_execution(engine: Engine) -> None:
    await engine.record("First", '"b"')

    settlement = await engine.settlement(handler, retries=3)

    assert isinstance(settlement, Failed)
    assert "recorded as step.run" in settlement.error.message


async def test_a_race_that_is_stopped_decides_nothing(engine: Engine) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def racing(ctx: Context[None]) -> None:
        step = ctx.step
        await step.race("First", step.run("A", endless), step.sleep("B", "1h"))

    runner = await engine.runner(racing)
    running = asyncio.ensure_future(runner.run())
    await started.wait()
    stop(runner)
    await running

    assert ended.is_set()
    assert await engine.steps.recorded() == []


async def test_a_task_of_the_user_that_is_cancelled_cancels_the_arms(
    engine: Engine,
) -> None:
    ended: list[str] = []

    async def endless(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def racing(ctx: Context[None]) -> str:
        step = ctx.step
        race = step.race(
            "First", step.run("A", endless, "a"), step.run("B", endless, "b")
        )
        try:
            async with asyncio.timeout(0.05):
                await race
        except TimeoutError:
            # They are as if they had never been asked for.
            return ",".join(sorted(ended))
        return "first"

    assert await engine.settlement(racing) == Completed('"a,b"')
    assert await engine.steps.recorded() == []


async def test_a_result_that_cannot_be_stored_fails_the_execution(
    engine: Engine,
) -> None:
    async def racing(ctx: Context[None]) -> str:
        step = ctx.step
        try:
            await step.race("First", step.run("A", object), step.sleep("B", "1h"))
        except SerializationError:
            return "caught"
        return "first"

    settlement = await engine.settlement(racing, retries=3)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == "SerializationError"


async def test_a_failure_that_decides_nothing_is_not_recorded(engine: Engine) -> None:
    async def racing(ctx: Context[None]) -> None:
        step = ctx.step
        await step.race("First", step.run("A", int, "x"), step.sleep("B", "1h"))

    settlement = await engine.settlement(racing)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == "ValueError"
    assert await engine.steps.recorded() == []
    assert {each.title for each in await engine.backend.waits.all(EXECUTION)} <= {"B"}


async def test_a_failure_that_is_recorded_decides(engine: Engine) -> None:
    async def racing(ctx: Context[None]) -> None:
        step = ctx.step
        broken = step.options(retries=0).run("A", int, "x")
        await step.race("First", a=broken, b=step.sleep("B", "1h"))

    for _ in range(2):
        settlement = await engine.settlement(racing, retries=3)
        assert isinstance(settlement, Failed)
        assert settlement.error.type == "StepFailed"
    recorded = {each.title: each for each in await engine.steps.recorded()}
    assert recorded["First"].status is StepStatus.FAILED
    assert recorded["First"].error is not None
    assert recorded["First"].error.step == "a"
    assert recorded["A"].status is StepStatus.FAILED
    assert await engine.backend.waits.all(EXECUTION) == []


async def test_a_map_has_ended_with_the_last_of_its_items(engine: Engine) -> None:
    """Its own record is there from the beginning, and says nothing of that."""
    may_end = asyncio.Event()

    async def item(n: int) -> int:
        if n == 1:
            await may_end.wait()
        return n

    async def other() -> str:
        return "other"

    async def racing(ctx: Context[None]) -> Any:
        step = ctx.step
        many = step.map("Many", item, range(3))
        return list(await step.race("First", many=many, b=step.run("B", other)))

    assert await engine.settlement(racing) == Completed('["b","other"]')
    results = await engine.steps.results()
    assert results["First"] == '"b"'


@pytest.mark.parametrize(("later", "first"), [(1, "other"), (-5, "many")])
async def test_of_a_recorded_map_the_last_item_counts(
    engine: Engine, later: int, first: str
) -> None:
    one = new_step(step_id=step_id("Other"), title="Other", result='"x"')
    assert one.finished_at is not None
    moments = {
        step_id("Many"): one.finished_at - timedelta(seconds=9),
        part_id(step_id("Many"), "[0]"): one.finished_at - timedelta(seconds=8),
        part_id(step_id("Many"), "[1]"): one.finished_at + timedelta(seconds=later),
    }
    await engine.record_step(one)
    for number, (id_, moment) in enumerate(moments.items()):
        kind = StepKind.RUN if number else StepKind.MAP
        await engine.record_step(
            replace(
                one,
                step_id=id_,
                title="Many",
                result="2",
                kind=kind,
                started_at=moment,
                finished_at=moment,
            )
        )

    async def racing(ctx: Context[None]) -> str:
        step = ctx.step
        many = step.map("Many", abs, range(2))
        name, _ = await step.race("First", many=many, other=step.run("Other", str))
        return name

    assert await engine.settlement(racing) == Completed(f'"{first}"')


async def test_what_a_function_makes_of_its_cancellation_does_not_count(
    engine: Engine,
) -> None:
    async def swallow() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "cleanup"
        return "never"

    async def racing(ctx: Context[None]) -> str:
        step = ctx.step
        try:
            await step.race("First", step.run("A", int, "x"), step.run("B", swallow))
        except ValueError:
            name, _ = await step.race(
                "Again", c=step.run("C", int), d=step.run("D", swallow)
            )
            return f"failed, {name}"
        return "decided"

    assert await engine.settlement(racing) == Completed('"failed, c"')
    assert set(await engine.steps.results()) == {"C", "Again"}


async def test_a_step_that_two_races_ask_for_goes_on_for_the_other(
    engine: Engine,
) -> None:
    """The deadline of both is the same, and does not begin anew."""
    engine.slot.park_for = 10

    async def racing(ctx: Context[None]) -> list[Any]:
        step, loop = ctx.step, asyncio.get_running_loop()
        began = loop.time()

        async def one(number: int) -> Any:
            shared = step.options(key="all")
            other = step.options(key=number).sleep("Own", 0.1 if number == 0 else "1h")
            name, _ = await step.options(key=number).race(
                "Race",
                news=shared.wait_for_event("News", NEWS, key="k"),
                late=shared.sleep("Late", 0.4),
                own=other,
            )
            return name

        found = await asyncio.gather(one(0), one(1))
        took = loop.time() - began
        return [*found, 0.35 < took < 3]

    assert await engine.settlement(racing) == Completed('["own","late",true]')


async def test_an_event_ends_the_wait_of_a_race_whose_other_use_has_lost(
    engine: Engine,
) -> None:
    async def racing(ctx: Context[None]) -> list[Any]:
        step = ctx.step

        async def one(number: int) -> Any:
            wait = step.options(key="all").wait_for_event("News", NEWS, key="k")
            own = step.options(key=number).sleep("Own", 0.05 if number == 0 else "1h")
            name, _ = await step.options(key=number).race("Race", news=wait, own=own)
            if number == 0:
                await emit(engine)
                attempt.woken()
            return name

        return await asyncio.gather(one(0), one(1))

    runner = await engine.runner(racing)
    attempt = runner.attempt
    outcome = await runner.run()

    assert outcome is not None
    assert outcome.settlement.result == '["own","news"]'  # type: ignore[union-attr]


async def test_of_the_same_step_twice_the_event_is_not_free(engine: Engine) -> None:
    await emit(engine)

    async def racing(ctx: Context[None]) -> list[Any]:
        step = ctx.step
        wait = step.options(key="x").wait_for_event
        first = await step.race(
            "First", wait("W", NEWS, key="k"), wait("W", NEWS, key="k")
        )
        again = await step.wait_for_event("Again", NEWS, key="k", timeout=0.05)
        return [first[1], again]

    assert await engine.settlement(racing) == Completed('["news",null]')


async def test_an_event_is_free_where_a_failure_ended_the_race(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = TakesAndLoses(engine, monkeypatch)

    async def fails() -> None:
        await arms.has_taken.wait()
        raise ValueError

    async def racing(ctx: Context[None]) -> str | None:
        step = ctx.step
        with pytest.raises(ValueError):  # noqa: PT011 - nothing else raises one
            await step.race(
                "First",
                step.wait_for_event("Lost", NEWS, key="k"),
                step.run("Fails", fails),
            )
        return await step.wait_for_event("Next", NEWS, key="k", timeout=5)

    await emit(engine)
    assert await engine.settlement(racing) == Completed('"news"')


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_a_failure_of_the_first_leaves_nothing_behind(
    engine: Engine, sync: bool
) -> None:
    class Large:
        pass

    held: list[weakref.ref[Large]] = []

    def fails() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise ValueError

    async def racing(ctx: Context[None]) -> str:
        large = Large()
        held.append(weakref.ref(large))
        step = ctx.step
        try:
            await step.race("First", step.run("A", fails), step.sleep("B", "1h"))
        except ValueError:
            return "caught"
        return "none"

    def in_a_thread(ctx: SyncContext[None]) -> str:
        large = Large()
        held.append(weakref.ref(large))
        step = ctx.step
        try:
            step.race(
                "First", lambda: step.run("A", fails), lambda: step.sleep("B", "1h")
            )
        except ValueError:
            return "caught"
        return "none"

    gc.collect()
    gc.disable()
    try:
        settlement = await engine.settlement(in_a_thread if sync else racing)
        assert settlement == Completed('"caught"')
        await asyncio.sleep(0.01)
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


async def test_an_event_is_free_although_the_record_of_the_loser_is_under_way(
    engine: Engine,
) -> None:
    checkpoint, recording = engine.steps.checkpoint, asyncio.Event()

    async def slow(claim: Any, step: Any) -> Any:
        if step.title == "Lost":
            recording.set()
            await asyncio.sleep(0.2)
        return await checkpoint(claim, step)

    engine.steps.checkpoint = slow  # type: ignore[method-assign]

    async def racing(ctx: Context[None]) -> str | None:
        step = ctx.step
        await step.race(
            "First",
            step.wait_for_event("Lost", NEWS, key="k"),
            step.run("Other", recording.wait),
        )
        return await step.wait_for_event("Next", NEWS, key="k", timeout=5)

    await emit(engine)
    assert await engine.settlement(racing) == Completed('"news"')
    assert {"Lost", "Next"} <= set(await engine.steps.results())


async def test_a_failure_that_ended_the_race_in_this_attempt_ends_it_again(
    engine: Engine,
) -> None:
    """As a resume finds it: what had lost was recorded all the same, and earlier."""
    other = new_step(step_id=step_id("B"), title="B", result='"b"')
    assert other.finished_at is not None
    failed = replace(
        other,
        step_id=step_id("A"),
        title="A",
        status=StepStatus.FAILED,
        result=None,
        error=ErrorInfo(type="ValueError", message="A", traceback=""),
        finished_at=other.finished_at + timedelta(seconds=5),
        attempt=1,
        error_class="builtins:ValueError",
    )
    await engine.record_step(other)
    await engine.record_step(failed)

    async def racing(ctx: Context[None]) -> str:
        step = ctx.step
        try:
            await step.race("First", step.run("B", str), step.run("A", str))
        except ValueError:
            return "failed"
        return "decided"

    assert await engine.settlement(racing) == Completed('"failed"')


async def test_what_another_race_waits_for_is_not_removed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.slot.park_for = 10
    remove, removed = engine.backend.waits.remove, list[str]()
    lost = asyncio.Event()

    async def noting(claim: Any, step_ids: Any) -> None:
        removed.extend(step_ids)
        await remove(claim, step_ids)

    monkeypatch.setattr(engine.backend.waits, "remove", noting)

    async def racing(ctx: Context[None]) -> list[Any]:
        step = ctx.step
        shared = step.options(key="all")

        async def one(number: int) -> Any:
            name, _ = await step.options(key=number).race(
                "Race",
                late=shared.sleep("Late", "1h"),
                own=step.options(key=number).run("Own", own, number),
            )
            lost.set()
            return name

        return await asyncio.gather(one(0), one(1))

    async def own(number: int) -> None:
        if number == 1:
            await lost.wait()
            # The first race has lost the sleep that this one waits for as well.
            assert removed == []

    assert await engine.settlement(racing) == Completed('["own","own"]')
    assert removed == [step_id("Late", key="all")]


async def test_the_thread_of_a_loser_is_told_to_end(engine: Engine) -> None:
    loop, began = asyncio.get_running_loop(), asyncio.Event()
    ended: asyncio.Future[bool] = loop.create_future()

    async def racing(ctx: Context[None]) -> str:
        def loser() -> None:
            loop.call_soon_threadsafe(began.set)
            limit = time.monotonic() + 10
            while not ctx.cancelled and time.monotonic() < limit:
                time.sleep(0.001)
            loop.call_soon_threadsafe(ended.set_result, time.monotonic() < limit)

        step = ctx.step
        loses, wins = step.run("Loser", loser), step.run("Other", began.wait)
        await step.race("First", loses, wins)
        return "told" if await ended else "not told"

    assert await engine.settlement(racing) == Completed('"told"')
