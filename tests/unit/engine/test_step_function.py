"""Where a step's function runs, and how it ends: plain steps of plain handlers too."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from typing_extensions import override

from tests.runtimes import ManualRuntime
from tests.unit.engine.attempts import Engine, stop
from tests.waiting import until
from worchflow import Context, Retry, SyncContext
from worchflow.definitions.middleware import Middleware
from worchflow.engine.ownership import Interrupted
from worchflow.engine.runner import ExecutionRunner
from worchflow.foundations.errors import NestedStep
from worchflow.model.settlement import Completed, Failed, Released
from worchflow.worker.lease import Lease

place: ContextVar[str] = ContextVar("place", default="nowhere")


def in_thread() -> int:
    return threading.get_ident()


async def on_loop() -> int:
    return threading.get_ident()


def gives_a_coroutine() -> Coroutine[Any, Any, int]:
    return on_loop()


# --- where it runs -------------------------------------------------------------------


async def test_a_plain_step_of_a_plain_handler_runs_in_its_thread(
    engine: Engine,
) -> None:
    def handler(ctx: SyncContext[None]) -> list[bool]:
        own = threading.get_ident()
        return [
            ctx.step.run("plain", in_thread) == own,
            ctx.step.run("made by a plain one", gives_a_coroutine) == own,
            ctx.step.run("async", on_loop) == own,
        ]

    settlement = await engine.settlement(handler)

    assert settlement == Completed(result="[true,false,false]")
    assert engine.step_threads._started == 0


async def test_a_plain_step_of_an_async_handler_runs_in_the_pool(
    engine: Engine,
) -> None:
    async def handler(ctx: Context[None]) -> bool:
        return await ctx.step.run("plain", in_thread) == threading.get_ident()

    assert await engine.settlement(handler) == Completed(result="false")
    assert engine.step_threads._started == 1


async def test_a_thread_of_the_handlers_own_runs_the_step_it_asks_for(
    engine: Engine,
) -> None:
    def handler(ctx: SyncContext[None]) -> list[bool]:
        same: list[bool] = []

        def work(key: int) -> None:
            ident = ctx.step.options(key=key).run("plain", in_thread)
            same.append(ident == threading.get_ident())

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        return same

    assert await engine.settlement(handler) == Completed(result="[true,true,true]")


async def test_a_thread_that_runs_a_loop_is_not_used(engine: Engine) -> None:
    def starts_a_loop() -> str:
        return asyncio.run(asyncio.sleep(0, "ran"))

    def handler(ctx: SyncContext[None]) -> list[str]:
        async def main() -> str:
            return ctx.step.run("inside", starts_a_loop)

        return [ctx.step.run("outside", starts_a_loop), asyncio.run(main())]

    assert await engine.settlement(handler) == Completed(result='["ran","ran"]')


async def test_plain_handlers_need_no_free_thread_of_the_pool() -> None:
    free = threading.Event()

    def handler(ctx: SyncContext[None]) -> str:
        return ctx.step.run("plain", lambda: "ran")

    async with Engine(step_threads=1) as engine:
        engine.step_threads.submit(lambda: free.wait(10))
        try:
            async with asyncio.timeout(5):
                assert await engine.settlement(handler) == Completed(result='"ran"')
        finally:
            free.set()


# --- what belongs to the step and what to the handler --------------------------------


async def test_context_variables_go_into_the_step_and_stay_in_it(
    engine: Engine,
) -> None:
    def handler(ctx: SyncContext[None]) -> list[str]:
        place.set("handler")

        def step() -> str:
            seen = place.get()
            place.set("step")
            return seen

        return [ctx.step.run("a", step), ctx.step.run("b", step), place.get()]

    place.set("loop")
    settlement = await engine.settlement(handler)

    assert settlement == Completed(result='["handler","handler","handler"]')
    assert place.get() == "loop"


async def test_middleware_is_around_it_on_the_loop() -> None:
    seen: list[tuple[str, bool]] = []
    loop_thread = threading.get_ident()

    class Noting(Middleware):
        @override
        async def wrap_step(self, ctx: Any, title: str, call_next: Any) -> Any:
            place.set("middleware")
            value = await call_next()
            seen.append((value, threading.get_ident() == loop_thread))
            return value

    def handler(ctx: SyncContext[None]) -> str:
        return ctx.step.run("plain", place.get)

    async with Engine(middleware=[Noting()]) as engine:
        assert await engine.settlement(handler) == Completed(result='"middleware"')
    assert seen == [("middleware", True)]


async def test_a_step_inside_it_is_refused(engine: Engine) -> None:
    def handler(ctx: SyncContext[None]) -> None:
        with pytest.raises(NestedStep):
            ctx.step.run("outer", lambda: ctx.step.run("inner", int))
        assert ctx.step.run("key", ctx.idempotency_key) != ctx.idempotency_key("outer")

    assert await engine.settlement(handler) == Completed(result="null")


async def test_its_retries_run_in_the_same_thread(engine: Engine) -> None:
    def handler(ctx: SyncContext[None]) -> int:
        tried_in: list[int] = []

        def fails_twice() -> int:
            tried_in.append(threading.get_ident())
            if len(tried_in) < 3:
                raise ConnectionError
            return len(tried_in)

        tries = ctx.step.options(retries=3).run("flaky", fails_twice)
        assert set(tried_in) == {threading.get_ident()}
        return tries

    async with asyncio.timeout(30):
        assert await engine.settlement(handler) == Completed(result="3")
    assert [step.attempts for step in await engine.steps.recorded()] == [3]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_child_that_it_forks_ends_with_the_step(engine: Engine) -> None:
    def handler(ctx: SyncContext[None]) -> int:
        children: list[int] = []

        def forks() -> int:
            if child := os.fork():
                children.append(child)
            return os.getpid()

        parent = ctx.step.run("forks", forks)
        assert parent == os.getpid()
        _, status = os.waitpid(children[0], 0)
        return os.waitstatus_to_exitcode(status)

    assert await engine.settlement(handler) == Completed(result="0")


# --- its end -------------------------------------------------------------------------


async def test_over_its_timeout_it_is_told_and_its_end_awaited(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(ctx: SyncContext[None]) -> str:
        heard: list[str] = []

        def busy() -> str:
            while not ctx.cancelled:
                threading.Event().wait(0.002)
            heard.append("told")
            return "too late"

        with pytest.raises(TimeoutError, match="longer than its timeout"):
            ctx.step.options(timeout=0.02).run("busy", busy)
        assert not ctx.cancelled
        return heard[0]

    assert await engine.settlement(handler) == Completed(result='"told"')
    assert await engine.steps.results() == {}
    assert "its end is awaited" in caplog.text


async def test_a_thread_of_the_pool_over_its_timeout_is_awaited_before_a_retry(
    engine: Engine,
) -> None:
    events: list[str] = []

    async def handler(ctx: Context[None]) -> list[str]:
        def busy() -> str:
            events.append("told" if ctx.cancelled else "begins")
            if len(events) > 1:
                return "in time"
            while not ctx.cancelled:
                threading.Event().wait(0.002)
            threading.Event().wait(0.05)
            events.append("ended")
            return "too late"

        step = ctx.step.options(timeout=0.02, retries=Retry(1, delay=0))
        return [await step.run("busy", busy), *events]

    settlement = await engine.settlement(handler)

    assert settlement == Completed(result='["in time","begins","ended","begins"]')


async def test_a_step_cancelled_before_a_thread_was_free_never_begins() -> None:
    free, ran = threading.Event(), list[int]()

    async def handler(ctx: Context[None]) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ctx.step.run("late", lambda: ran.append(1))
        free.set()
        await ctx.step.run("next", lambda: ran.append(2))

    async with Engine(step_threads=1) as engine:
        engine.step_threads.submit(lambda: free.wait(10))
        assert await engine.settlement(handler) == Completed(result="null")
    assert ran == [2]


class Interruptible:
    """A plain handler whose step waits for a sign."""

    def __init__(self, *, asks: bool) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        self.raised: list[type[BaseException]] = []
        self.later: list[str] = []
        self.asks = asks

    def handler(self, ctx: SyncContext[None]) -> None:
        def step() -> str:
            self.began.set()
            assert self.go_on.wait(10)
            return "told" if self.asks and ctx.cancelled else "an effect"

        try:
            ctx.step.run("first", step)
        except BaseException as error:
            self.raised.append(type(error))
            raise
        finally:
            self.later.append("cleaned up")
        self.later.append("continued")


@pytest.mark.parametrize("asks", [False, True])
async def test_what_it_returns_after_an_interruption_is_recorded(
    engine: Engine, *, asks: bool
) -> None:
    plain = Interruptible(asks=asks)
    runner = await engine.runner(plain.handler)
    running = asyncio.ensure_future(runner.run())
    await until(plain.began.is_set)
    stop(runner)
    for _ in range(20):
        await asyncio.sleep(0)
    # The thread is in the function: nothing is settled, nothing raised.
    assert not running.done()
    assert plain.raised == []
    plain.go_on.set()
    outcome = await asyncio.wait_for(running, 10)

    assert outcome is not None
    assert outcome.settlement == Released()
    # What it returns because it was told to end is not a result.
    assert await engine.steps.results() == ({} if asks else {"first": '"an effect"'})
    assert plain.raised == [Interrupted]
    assert plain.later == ["cleaned up"]


async def test_it_does_not_begin_once_the_attempt_is_over(engine: Engine) -> None:
    ran: list[int] = []
    runners: list[ExecutionRunner] = []

    def handler(ctx: SyncContext[None]) -> None:
        loop = runners[0].attempt.loop
        # It is stopped on the loop after the step was asked for, and before the
        # thread could be given the function.
        loop.call_soon_threadsafe(stop, runners[0])
        ctx.step.run("never", lambda: ran.append(1))

    runners.append(await engine.runner(handler))
    outcome = await asyncio.wait_for(runners[0].run(), 10)

    assert outcome is not None
    assert outcome.settlement == Released()
    assert (ran, await engine.steps.results()) == ([], {})


async def test_the_lease_is_asked_for_right_before_the_call(engine: Engine) -> None:
    loop_thread = threading.get_ident()
    clock = ManualRuntime()
    asked_in: list[int] = []
    regained: list[int] = []
    ran: list[int] = []

    class RunsOut(Lease):
        """Ends as a thread asks for it first; is renewed once somebody waits for it."""

        @override
        def holds(self) -> bool:
            ident = threading.get_ident()
            if ident != loop_thread:
                asked_in.append(ident)
                assert len(asked_in) <= 2, "nobody waits for it"
                if len(asked_in) == 1:
                    clock.seconds += self.ttl
            return super().holds()

        @override
        async def regain(self) -> None:
            regained.extend(ran or [0])
            self.renewed(clock.monotonic())
            await super().regain()

    engine.lease = RunsOut(engine.worker, 10.0, clock)
    engine.lease.renewed(clock.monotonic())

    def handler(ctx: SyncContext[None]) -> bool:
        ctx.step.run("careful", lambda: ran.append(1))
        return asked_in == [threading.get_ident()] * 2

    assert await engine.settlement(handler) == Completed(result="true")
    # The first time it did not hold, and the function did not run before it did.
    assert (regained, ran) == ([0], [1])


async def test_an_error_of_it_comes_out_as_it_is_and_names_the_step(
    engine: Engine,
) -> None:
    def fail() -> None:
        raise LookupError("nowhere")

    def handler(ctx: SyncContext[None]) -> None:
        ctx.step.run("look", fail)

    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert (settlement.error.type, settlement.error.step) == ("LookupError", "look")
    assert await engine.steps.results() == {}
