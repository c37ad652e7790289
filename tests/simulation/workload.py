"""What is run: functions of several kinds, the workers and the senders of a fleet."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from random import Random
from typing import Any, ClassVar, Self, TypeAlias

from tests.simulation.drivers import backend_on
from tests.simulation.network import LoopBinding, Network
from tests.simulation.oracle import KINDS, Oracle, Plan
from tests.simulation.processes import Process, current_process
from worchflow import (
    Context,
    Event,
    NonRetryable,
    Retry,
    StepFailed,
    Worcher,
    WorchflowClient,
    event,
    function,
)
from worchflow.foundations.errors import (
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionNotFound,
    StoreUnavailable,
    WrongState,
)
from worchflow.foundations.json_text import json_text
from worchflow.model.events import NewEvent
from worchflow.model.options import BackendOptions, WorkerOptions
from worchflow.model.records import ExecutionStatus

WAIT = frozenset({"slept", "told"})
"""The kinds of executions that wait."""
SUSPENDED_AS = {
    "slept": ExecutionStatus.SLEEPING,
    "told": ExecutionStatus.WAITING,
}
MOST_NEWS_SECONDS = 5.0
"""Seconds after its acceptance within which the events of an execution are emitted."""
DIE_SHARE = 0.25
"""Of the events those whose client dies once they are accepted."""
LOOKS = 4
LOOKS_BEFORE_A_CANCEL = 40
RETRY = Retry(max_retries=5, delay=0.4, max_delay=2.0)


class Declined(Exception):
    """Planned."""


class Sequence(Event[list[str]], name="sequence"):
    failures: int
    seconds: float


class Parallel(Event[list[str]], name="parallel"):
    failures: int
    seconds: float


class Compensated(Event[list[str]], name="compensated"):
    failures: int
    seconds: float


class Hopeless(Event[list[str]], name="hopeless"):
    failures: int
    seconds: float


class Threaded(Event[list[str]], name="threaded"):
    failures: int
    seconds: float


class Slept(Event[list[str]], name="slept"):
    failures: int
    seconds: float
    nap: float


class Told(Event[list[str]], name="told"):
    failures: int
    seconds: float
    nap: float


NEWS = event("news", str)
"""What is told: of which execution is its key."""


EVENTS: dict[str, Any] = {
    "sequence": Sequence,
    "parallel": Parallel,
    "compensated": Compensated,
    "hopeless": Hopeless,
    "threaded": Threaded,
    "slept": Slept,
    "told": Told,
}


def news(plan: Plan, number: int) -> tuple[str, str]:
    """The text and the id of an event of an execution."""
    return f"news {number} of {plan.id}", f"{plan.id}-{number}"


class Handling:
    """One run of a handler, as the oracle is told of it."""

    oracle: ClassVar[Oracle]
    """Of the run that is going on: the functions are made once."""

    def __init__(self, ctx: Context[Any]) -> None:
        self.ctx = ctx
        self.process = current_process()
        self.fails = ctx.attempt <= ctx.data.failures
        self._runs = False

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    async def sleep(self, title: str, seconds: float) -> None:
        """Sleep, meanwhile without a slot."""
        self._end()
        # What ends it early has no slot to unwind in.
        await self.ctx.step.sleep(title, seconds)
        self._begin()

    async def news(self, *titles: str, timeout: float | None = None) -> list[str]:
        """Wait for an event with each title, side by side, without a slot."""
        self._end()
        # Whatever ends it early has no slot to unwind in.
        waits = [self._wait(title, timeout) for title in titles]
        values: list[str] = await asyncio.gather(*waits)
        self._begin()
        return values

    async def _wait(self, title: str, timeout: float | None) -> str | None:
        id_ = self.ctx.execution_id
        value = await self.ctx.step.wait_for_event(
            title, NEWS, key=id_, timeout=timeout
        )
        self.oracle.took(id_, title, value)
        return value

    async def step(self, title: str, *, fails: bool = False) -> str:
        """Run a step; every call of its function has another value."""
        value = await self.ctx.step.run(title, self._effect, title, fails=fails)
        self.oracle.saw(self.ctx.execution_id, title, value)
        return value

    async def step_with_retries(self, title: str) -> str:
        """Run a step that fails, and once more."""
        options = self.ctx.step.options(retries=Retry(max_retries=1, delay=0.1))
        try:
            return await options.run(title, self._effect, title, fails=True)
        except StepFailed:
            self.oracle.saw_failure(self.ctx.execution_id, title)
            raise

    async def step_in_thread(self, title: str) -> str:
        """Run a step in a thread."""
        value = await self.ctx.step.run(title, self._blocking_effect, title)
        self.oracle.saw(self.ctx.execution_id, title, value)
        return value

    def _begin(self) -> None:
        self._runs = True
        self.oracle.began(self.process)

    def _end(self) -> None:
        if self._runs:
            self._runs = False
            self.oracle.ended(self.process)

    async def _effect(self, title: str, *, fails: bool) -> str:
        ctx = self.ctx
        start = self.oracle.starts(self.process, ctx.execution_id, title, ctx.token)
        try:
            await asyncio.sleep(self._duration())
        finally:
            self.oracle.stops(start)
        if fails:
            raise Declined(title)
        return start.value

    def _blocking_effect(self, title: str) -> str:
        ctx = self.ctx
        start = self.oracle.starts(self.process, ctx.execution_id, title, ctx.token)
        time.sleep(self._duration())
        self.oracle.stops(start)
        return start.value

    def _duration(self) -> float:
        return float(self.oracle.world.random.uniform(0, 2) * self.ctx.data.seconds)


@function(Sequence, retries=RETRY)
async def sequence(ctx: Context[Sequence]) -> list[str]:
    with Handling(ctx) as handling:
        values = [await handling.step("first"), await handling.step("second")]
        if handling.fails:
            raise Declined
        return [*values, await handling.step("third")]


@function(Parallel, retries=RETRY)
async def parallel(ctx: Context[Parallel]) -> list[str]:
    with Handling(ctx) as handling:
        return list(
            await asyncio.gather(
                handling.step("left"),
                handling.step("middle", fails=handling.fails),
                handling.step("right"),
            )
        )


@function(Compensated, retries=RETRY)
async def compensated(ctx: Context[Compensated]) -> list[str]:
    with Handling(ctx) as handling:
        try:
            await handling.step_with_retries("charge")
        except StepFailed:
            if handling.fails:
                raise Declined from None
            return [await handling.step("refund")]
        raise NonRetryable("a step that fails has not failed")


@function(Hopeless, retries=RETRY)
async def hopeless(ctx: Context[Hopeless]) -> list[str]:
    with Handling(ctx) as handling:
        value = await handling.step("only")
        if handling.fails:
            raise Declined
        raise NonRetryable(value)


@function(Threaded, retries=RETRY)
async def threaded(ctx: Context[Threaded]) -> list[str]:
    with Handling(ctx) as handling:
        values = [await handling.step("before")]
        if handling.fails:
            raise Declined
        return [*values, await handling.step_in_thread("in a thread")]


@function(Slept, retries=RETRY)
async def slept(ctx: Context[Slept]) -> list[str]:
    with Handling(ctx) as handling:
        before = await handling.step("before")
        with contextlib.suppress(Declined):
            # Recorded before a suspension, for this attempt alone.
            await handling.step("in vain", fails=True)
        await handling.sleep("nap", ctx.data.nap)
        if handling.fails:
            raise Declined
        return [before, await handling.step("after")]


@function(Told, retries=RETRY)
async def told(ctx: Context[Told]) -> list[str]:
    with Handling(ctx) as handling:
        both = await handling.news("one", "other")
        await handling.news("late", timeout=ctx.data.nap)
        if handling.fails:
            raise Declined
        return [*both, await handling.step("after")]


Functions: TypeAlias = tuple[Any, ...]
FUNCTIONS: Functions = (
    *(sequence, parallel, compensated, hopeless, threaded, slept, told),
)


def make_plans(random: Random, count: int) -> list[Plan]:
    """Executions of all kinds, most of them short."""
    return [
        Plan(
            id=f"e{number:02d}",
            kind=(kind := random.choice(list(KINDS))),
            failures=random.choice((0, 0, 0, 1, 2)),
            delay=random.choice((0.0, 0.0, 0.0, random.uniform(0.1, 3.0))),
            seconds=random.choice((0.02, 0.1, 0.5, 1.0, 2.0)),
            nap=random.choice((0.3, 1.5, 4.0)),
            news=random.choice((2, 2, 3, 4)) if kind == "told" else 0,
        )
        for number in range(count)
    ]


def make_worker(
    process: Process,
    network: Network,
    options: BackendOptions,
    slots: int,
    functions: Functions = FUNCTIONS,
) -> Worcher:
    """The real worker, on this process's connections."""
    return Worcher(
        functions,
        backend=backend_on(LoopBinding(process, network), options),
        options=WorkerOptions(
            concurrency=slots,
            heartbeat=1.0,
            upkeep_interval=2.0,
            # Its thread looks four times in this time, and nothing blocks here.
            blocked_loop_after=10_000.0,
        ),
    )


class Sender:
    """A client: sends its share of the plans, cancels some, waits for some."""

    def __init__(
        self, process: Process, network: Network, options: BackendOptions
    ) -> None:
        self._accepted: dict[str, asyncio.Event] = {}
        self._backend = backend_on(LoopBinding(process, network), options)
        self._client = WorchflowClient[Any](backend=self._backend)

    async def run(self, plans: list[Plan], random: Random) -> None:
        """Do everything; ends once every execution has been accepted."""
        oracle = Handling.oracle
        self._accepted = {plan.id: asyncio.Event() for plan in plans}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look(plans, Random(random.getrandbits(64))))
            for plan in plans:
                await asyncio.sleep(random.uniform(0.0, 0.4))
                oracle.plans[plan.id] = plan
                tasks.create_task(self._send(plan))
                if random.random() < 0.15:
                    own = Random(random.getrandbits(64))
                    tasks.create_task(self._cancel(plan, own))
                elif random.random() < 0.5:
                    tasks.create_task(self._follow(plan))
                if plan.kind in WAIT:
                    own = Random(random.getrandbits(64))
                    tasks.create_task(self._wake(plan, own))
                for number in range(plan.news):
                    pause = random.uniform(0.0, MOST_NEWS_SECONDS)
                    dies = random.random() < DIE_SHARE
                    tasks.create_task(self._tell(plan, number, pause, dies=dies))

    async def _send(self, plan: Plan) -> None:
        oracle = Handling.oracle
        own = {"nap": plan.nap} if plan.kind in WAIT else {}
        message = EVENTS[plan.kind](failures=plan.failures, seconds=plan.seconds, **own)
        tries = 0
        while True:
            tries += 1
            try:
                handle = await self._client.send(message, id=plan.id, delay=plan.delay)
            except StoreUnavailable:
                await asyncio.sleep(0.3)
                continue
            if handle.duplicate and tries == 1:
                oracle.violated("a first send is called a duplicate", plan.id)
            oracle.accepted.add(plan.id)
            self._accepted[plan.id].set()
            return

    async def _cancel(self, plan: Plan, random: Random) -> None:
        """Cancel it at some moment, and retry some of what was cancelled."""
        oracle = Handling.oracle
        if plan.kind in WAIT and random.random() < 0.7:
            await self._becomes(plan, SUSPENDED_AS[plan.kind])
        elif plan.failures and random.random() < 0.5:
            await self._becomes(plan, ExecutionStatus.RETRYING)
        else:
            await asyncio.sleep(random.uniform(0.0, 4.0))
        oracle.cancelled.add(plan.id)
        while True:
            try:
                await self._client.cancel(plan.id)
            except StoreUnavailable:
                await asyncio.sleep(0.3)
            except (ExecutionNotFound, WrongState):
                return
            else:
                break
        if random.random() < 0.4:
            await asyncio.sleep(random.uniform(0.0, 2.0))
            oracle.retried.add(plan.id)
            await self._retry(plan)

    async def _wake(self, plan: Plan, random: Random) -> None:
        """Wake it for nothing now and then, which harms nobody."""
        for _ in range(random.choice((0, 1, 3))):
            await asyncio.sleep(random.uniform(0.0, 3.0))
            with contextlib.suppress(StoreUnavailable):
                await self._backend.waits.wake([plan.id])

    async def _tell(self, plan: Plan, number: int, pause: float, *, dies: bool) -> None:
        """Emit one of its events, once it was accepted.

        Who `dies` is gone before anybody is woken.
        """
        await self._accepted[plan.id].wait()
        await asyncio.sleep(pause)
        if not dies:
            await self._emit(plan, number)
            return
        text, id_ = news(plan, number)
        new = NewEvent(id=id_, name=NEWS.name, data=json_text(text), key=plan.id)
        with contextlib.suppress(StoreUnavailable):
            await self._backend.events.append(new)
            Handling.oracle.was_emitted(plan.id, text)

    async def _emit(self, plan: Plan, number: int) -> None:
        oracle = Handling.oracle
        text, id_ = news(plan, number)
        while True:
            try:
                await self._client.emit(NEWS(text), key=plan.id, id=id_)
            except StoreUnavailable:
                await asyncio.sleep(0.3)
                continue
            oracle.was_emitted(plan.id, text)
            return

    async def tell_the_rest(self, is_over: Callable[[], bool]) -> None:
        """Emit what clients that were killed have left, until nothing is sent."""
        await asyncio.sleep(MOST_NEWS_SECONDS)
        plans = Handling.oracle.plans
        done: set[str] = set()
        while True:
            over = is_over()
            for id_ in sorted(Handling.oracle.accepted - done):
                done.add(id_)
                for number in range(plans[id_].news):
                    if not Handling.oracle.has_event(id_, number):
                        await self._emit(plans[id_], number)
            if over:
                return
            await asyncio.sleep(0.5)

    async def _becomes(self, plan: Plan, status: ExecutionStatus) -> None:
        """Wait until it has a status, though not for long."""
        for _ in range(LOOKS_BEFORE_A_CANCEL):
            await asyncio.sleep(0.1)
            with contextlib.suppress(StoreUnavailable, ExecutionNotFound):
                execution = await self._client.get(plan.id)
                if execution.status is status:
                    return

    async def _follow(self, plan: Plan) -> None:
        """Wait for the result; a failed one is tried again, once."""
        oracle = Handling.oracle
        await self._accepted[plan.id].wait()
        handle = self._client.handle(plan.id)
        while True:
            try:
                oracle.was_told(plan.id, await handle.result())
                oracle.saw_end(plan.id)
            except StoreUnavailable:
                await asyncio.sleep(0.3)
                continue
            except ExecutionFailed:
                oracle.saw_end(plan.id)
                if plan.id not in oracle.retried:
                    oracle.retried.add(plan.id)
                    await self._retry(plan)
                    continue
            except ExecutionCancelled:
                if plan.id not in oracle.cancelled:
                    oracle.violated("a client is told of a cancellation", plan.id)
            return

    async def _look(self, plans: list[Plan], random: Random) -> None:
        """Look at executions now and then, for as long as things go wrong."""
        for _ in range(LOOKS):
            await asyncio.sleep(random.uniform(0.0, 0.5))
            plan = random.choice(plans)
            try:
                execution = await self._client.get(plan.id)
            except (StoreUnavailable, ExecutionNotFound):
                continue
            if execution.status.is_terminal:
                Handling.oracle.saw_end(plan.id)

    async def _retry(self, plan: Plan) -> None:
        while True:
            with contextlib.suppress(WrongState):
                try:
                    await self._client.retry(plan.id)
                except StoreUnavailable:
                    await asyncio.sleep(0.3)
                    continue
            return
