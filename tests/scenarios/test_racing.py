"""`step.race`: the first of several operations, and no other."""

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
    Event,
    ExecutionFailed,
    ExecutionStatus,
    InvalidInput,
    StepsFailed,
    SyncContext,
    Worchflow,
    WorkerOptions,
    event,
)

S = ExecutionStatus
AT_ONCE = WorkerOptions(park_for=0.05)
GO: Any = event("go", None)


class Approved(Event[None], name="approved", key="order"):
    order: str
    by: str = ""


class Work(Event[str], name="work"):
    seconds: float


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_the_first_counts_and_stays_the_first(
    app: Worchflow[Any], sync: bool
) -> None:
    seen: list[Any] = []

    def look(answers: list[Any]) -> None:
        seen.append(answers)
        if len(seen) == 1:
            raise ConnectionError

    if sync:

        @app.function(GO, retries=1, retry_delay=0)
        def in_a_thread(ctx: SyncContext[None]) -> None:
            step = ctx.step
            first = step.race(
                "By name",
                yes=lambda: step.wait_for_event("Yes", Approved, key="o-1"),
                late=lambda: step.sleep("Late", "1h"),
            )
            second = step.race(
                "By place",
                lambda: step.wait_for_event("Never", Approved, key="o-2"),
                lambda: step.sleep("Soon", 0.05),
            )
            third = step.race(
                "More of it",
                a=lambda: step.run("Fast", len, "abc") + 100,
                b=lambda: step.sleep("Never", "1h"),
            )
            look([first, second, third])

    else:

        @app.function(GO, retries=1, retry_delay=0)
        async def go(ctx: Context[None]) -> None:
            step = ctx.step
            first = await step.race(
                "By name",
                yes=step.wait_for_event("Yes", Approved, key="o-1"),
                late=step.sleep("Late", "1h"),
            )
            second = await step.race(
                "By place",
                step.wait_for_event("Never", Approved, key="o-2"),
                step.sleep("Soon", 0.05),
            )
            third = await step.race(
                "More of it",
                a=step.run("Fast", lambda: 103),
                b=step.sleep("Never", "1h"),
            )
            look([first, second, third])

    async with app.client() as client, app.worker(concurrency=1):
        handle = await client.send(GO(None))
        await client.emit(Approved(order="o-1", by="Ada"))
        await handle.result(timeout=30)
        steps = await client.steps(handle.id)

    assert (
        seen
        == [
            [("yes", Approved(order="o-1", by="Ada")), (1, None), ("a", 103)],
        ]
        * 2
    )
    assert {each.title: (each.kind, each.result) for each in steps} == {
        "By name": ("race", "yes"),
        "Yes": ("wait", {"order": "o-1", "by": "Ada"}),
        "By place": ("race", 1),
        "Soon": ("sleep", None),
        "More of it": ("race", "a"),
        "Fast": ("run", 3 if sync else 103),
    }


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_a_race_that_only_waits_leaves_its_worker(
    app: Worchflow[Any], sync: bool
) -> None:
    if sync:

        @app.function(GO)
        def in_a_thread(ctx: SyncContext[None]) -> Any:
            step = ctx.step
            return step.race(
                "First",
                yes=lambda: step.wait_for_event("Yes", Approved, key="o"),
                late=lambda: step.sleep("Late", "1h"),
            )[0]

    else:

        @app.function(GO)
        async def go(ctx: Context[None]) -> Any:
            step = ctx.step
            name, _ = await step.race(
                "First",
                yes=step.wait_for_event("Yes", Approved, key="o"),
                late=step.sleep("Late", "1h"),
            )
            return name

    async with app.client() as client, app.worker(options=AT_ONCE):
        handle = await client.send(GO(None))

        async def is_suspended() -> bool:
            return (await client.get(handle.id)).status == S.WAITING

        await until(is_suspended)
        assert len(await client.waits(handle.id)) == 2
        await client.emit(Approved(order="o"))
        assert await handle.result(timeout=30) == "yes"


async def test_what_lost_is_cancelled_and_waits_no_more(app: Worchflow[Any]) -> None:
    ended: list[str] = []
    waits: list[list[str]] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("slow")

    @app.function(GO)
    async def go(ctx: Context[None]) -> str:
        step = ctx.step
        started = await step.start("Mine", Work(seconds=0.2))
        name, _ = await step.race(
            "First",
            child=step.invoke("Child", Work(seconds=30), timeout="1h"),
            many=step.invoke_many("Many", [Work(seconds=30), Work(seconds=31)]),
            mine=started.result(),
            function=step.run("Slow", slow),
            event=step.wait_for_event("Event", Approved, key="o"),
            short=step.sleep("Short", 0.1),
        )
        waits.append([each.title for each in await client.waits(ctx.execution_id)])
        # The handler has it: it goes on.
        return f"{name} {await started.result()}"

    @app.function(Work)
    async def work(ctx: Context[Work]) -> str:
        await asyncio.sleep(ctx.data.seconds)
        return "done"

    async with app.client() as client, app.worker(concurrency=10):
        handle = await client.send(GO(None))
        assert await handle.result(timeout=30) == "short done"
        children = (await client.list(parent=handle.id)).items

        async def are_cancelled() -> bool:
            found = (await client.list(parent=handle.id)).items
            return Counter(each.status for each in found) == {
                S.CANCELLED: 3,
                S.COMPLETED: 1,
            }

        await until(are_cancelled)
        reasons = [each.reason for each in children if each.reason]
    assert ended == ["slow"]
    assert waits == [[]]
    assert len(reasons) == 3
    assert all("was first in race" in each for each in reasons)


async def test_an_event_that_a_loser_took_is_free_again(app: Worchflow[Any]) -> None:
    # Both arms have ended; the sleep is recorded first.
    @app.function(GO, retries=0)
    async def go(ctx: Context[None]) -> Any:
        step = ctx.step
        name, _ = await step.race(
            "First",
            nap=step.sleep("Nap", 0),
            event=step.wait_for_event("Event", Approved, key="o"),
        )
        found = await step.wait_for_event("Again", Approved, key="o", timeout=5)
        return [name, found and found.by]

    async with app.client() as client:
        handle = await client.send(GO(None))
        await client.emit(Approved(order="o", by="Ada"))
        async with app.worker():
            assert await handle.result(timeout=30) in (["nap", "Ada"], ["event", None])


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_what_the_first_raises_is_raised(app: Worchflow[Any], sync: bool) -> None:
    ran: list[str] = []
    raised: list[str] = []

    def broken() -> None:
        ran.append("broken")
        if len(ran) == 1:
            raise KeyError("x")

    if sync:

        @app.function(GO, retries=2, retry_delay=0)
        def in_a_thread(ctx: SyncContext[None]) -> Any:
            step = ctx.step
            try:
                return step.race(
                    "First",
                    run=lambda: step.run("Broken", broken),
                    nap=lambda: step.sleep("Nap", "1h"),
                )[0]
            except KeyError as error:
                raised.append(type(error).__name__)
                raise

    else:

        @app.function(GO, retries=2, retry_delay=0)
        async def go(ctx: Context[None]) -> Any:
            step = ctx.step
            try:
                name, _ = await step.race(
                    "First", run=step.run("Broken", broken), nap=step.sleep("Nap", "1h")
                )
            except KeyError as error:
                raised.append(type(error).__name__)
                raise
            return name

    async with app.client() as client, app.worker():
        handle = await client.send(GO(None))
        # The next attempt ran it again: a failure that is not recorded decides nothing.
        assert await handle.result(timeout=30) == "run"
        attempts = (await client.get(handle.id)).attempts
    assert (ran, raised) == (["broken", "broken"], ["KeyError"])
    assert attempts[0].error is not None
    assert attempts[0].error.step == "Broken"


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "never ends"])
async def test_a_recorded_failure_decides_and_a_retry_races_anew(
    app: Worchflow[Any], ends: bool
) -> None:
    broken = [True]

    @app.function(GO, retries=2, retry_delay=0)
    async def go(ctx: Context[None]) -> Any:
        step = ctx.step
        first = await step.race(
            "First",
            child=step.invoke("Child", Work(seconds=0 if ends else 1)),
            nap=step.sleep("Nap", "1h" if ends or broken else 0.2),
        )
        return list(first)

    @app.function(Work, retries=0)
    async def work(ctx: Context[Work]) -> str:
        if broken:
            raise ValueError("broken")
        if ctx.data.seconds:
            await ctx.step.sleep("Long", "1h")
        return "done"

    async with app.client() as client, app.worker():
        handle = await client.send(GO(None))
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=30)
        assert failed.value.error_type == "ExecutionFailed"
        assert (await client.get(handle.id)).attempt_count == 1
        steps = await client.steps(handle.id)
        (race,) = [each for each in steps if each.kind == "race"]
        assert race.error is not None
        assert (race.error.type, race.error.step) == ("ExecutionFailed", "child")
        broken.clear()
        await client.retry(handle.id)
        expected = ["child", "done"] if ends else ["nap", None]
        assert await handle.result(timeout=30) == expected


async def test_a_token_that_lost_is_asked_for_again(app: Worchflow[Any]) -> None:
    reminders: list[int] = []
    token_ids: list[str] = []

    @app.function(GO)
    async def go(ctx: Context[None]) -> str:
        step = ctx.step
        token = await step.token("Manager", str)
        token_ids.append(token.id)
        while True:
            match await step.race("Answer or a day", token, step.sleep("A day", 0.05)):
                case (0, answer):
                    return answer
                case (1, _):
                    await step.run("Remind", lambda: reminders.append(1))

    async with app.client() as client, app.worker():
        handle = await client.send(GO(None))
        await until(lambda: len(reminders) >= 3)
        await client.complete(token_ids[0], "yes")
        assert await handle.result(timeout=30) == "yes"


async def test_plain_functions_of_arms_run_side_by_side(app: Worchflow[Any]) -> None:
    barrier = threading.Barrier(2, timeout=10)

    def both() -> str:
        barrier.wait()
        return "both"

    @app.function(GO)
    def go(ctx: SyncContext[None]) -> Any:
        step = ctx.step
        return step.race(
            "First",
            lambda: step.run("One", both),
            lambda: step.run("Two", both),
        )[1]

    async with app.client() as client, app.worker():
        handle = await client.send(GO(None))
        assert await handle.result(timeout=30) == "both"


async def test_what_is_no_arm_is_refused(app: Worchflow[Any]) -> None:
    errors: dict[str, str] = {}

    async def other() -> None:
        """Nothing of a step."""

    @app.function(GO, retries=0)
    async def go(ctx: Context[None]) -> None:
        step: Any = ctx.step
        nap = step.sleep

        async def began() -> Any:
            task = asyncio.ensure_future(nap("Began", "1h"))
            await asyncio.sleep(0)
            try:
                return await step.race("R", task, nap("Nap", 1))
            finally:
                task.cancel()

        calls: dict[str, Any] = {
            "nobody": lambda: step.race("R"),
            "both": lambda: step.race("R", nap("a", 1), b=nap("b", 1)),
            "other": lambda: step.race("R", x=other(), y=nap("c", 1)),
            "text": lambda: step.race("R", "text"),
            "began": began,
            "token": lambda: step.race("R", step.token("T", str), nap("d", 1)),
            "race": lambda: step.race("R", step.race("S", nap("e", 1)), nap("f", 1)),
            "title": lambda: step.race(nap("g", 1), nap("h", 1)),
        }
        for name, call in calls.items():
            with pytest.raises(InvalidInput) as error:
                await call()
            errors[name] = str(error.value)
        with pytest.raises(ConfigurationError):
            await step.options(retries=1).race("R", nap("i", 1))

    @app.function("plain", retries=0)
    def plain(ctx: SyncContext[None]) -> None:
        step: Any = ctx.step
        for name, arm in (("nothing", lambda: 3), ("value", 3)):
            with pytest.raises(InvalidInput) as error:
                step.race("R", arm, lambda: step.sleep("Nap", 1))
            errors[name] = str(error.value)

    async with app.client() as client, app.worker():
        handle = await client.send(GO(None))
        await handle.result(timeout=30)
        await (await client.send({"name": "plain", "data": None})).result(timeout=30)
    assert "has 0 arms" in errors["nobody"]
    assert "arm 'x'" in errors["other"]
    assert "arm 0" in errors["text"]
    assert "make the token before" in errors["token"]
    assert "one race" in errors["race"]
    assert "a function that makes a call" in errors["nothing"]


async def test_arms_that_changed_fail_the_execution(app: Worchflow[Any]) -> None:
    @app.function(GO, retries=2, retry_delay=0)
    async def go(ctx: Context[None]) -> None:
        step = ctx.step
        name = f"soon{ctx.attempt}"
        await step.race("R", **{name: step.sleep("Nap", 0)})
        raise ConnectionError

    async with app.client() as client, app.worker():
        handle = await client.send(GO(None))
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=30)
    assert failed.value.error_type == "StepResultChanged"
    assert "'soon1'" in failed.value.message


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_a_resume_repeats_no_failure_that_was_caught(
    app: Worchflow[Any], sync: bool
) -> None:
    ran: list[str] = []

    def broken(name: str) -> str:
        ran.append(name)
        if name != "fine":
            raise KeyError(name)
        return name

    if sync:

        @app.function(GO)
        def in_a_thread(ctx: SyncContext[None]) -> list[str]:
            step, caught = ctx.step, list[str]()
            try:
                step.race(
                    "First",
                    lambda: step.run("Broken", broken, "arm"),
                    lambda: step.sleep("Nap", "1h"),
                )
            except KeyError as error:
                caught.append(type(error).__name__)
            try:
                step.map("Item", broken, ["fine", "item"])
            except StepsFailed as error:
                caught.append(type(error.exceptions[0]).__name__)
            step.sleep("Pause", 0.3)
            return caught

    else:

        @app.function(GO)
        async def go(ctx: Context[None]) -> list[str]:
            step, caught = ctx.step, list[str]()
            try:
                await step.race(
                    "First",
                    step.run("Broken", broken, "arm"),
                    step.sleep("Nap", "1h"),
                )
            except KeyError as error:
                caught.append(type(error).__name__)
            try:
                await step.map("Item", broken, ["fine", "item"])
            except StepsFailed as error:
                caught.append(type(error.exceptions[0]).__name__)
            await step.sleep("Pause", 0.3)
            return caught

    async with app.client() as client, app.worker(options=AT_ONCE) as worker:
        handle = await client.send(GO(None))
        assert await handle.result(timeout=30) == ["KeyError", "KeyError"]
        assert worker.parking.replayed == 1
    assert sorted(ran) == ["arm", "fine", "item"]


async def test_lines_that_follow_a_race_are_logged_once(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    @app.function(GO, retries=1, retry_delay=0)
    async def go(ctx: Context[None]) -> None:
        step = ctx.step
        await step.race("First", step.run("Fast", int), step.sleep("Nap", "1h"))
        ctx.log.info("after the race")
        await step.run("Last", int)
        if ctx.attempt == 1:
            raise ConnectionError

    caplog.set_level("INFO", "worchflow.execution")
    async with app.client() as client, app.worker():
        await (await client.send(GO(None))).result(timeout=30)
    assert caplog.messages.count("after the race") == 1
