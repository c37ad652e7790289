"""The clients of a fleet: they send, read, cancel, emit and answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from math import inf
from random import Random
from typing import Any
from unittest import mock

from tests.simulation.answering import Answering
from tests.simulation.drivers import backend_on
from tests.simulation.handling import NEWS, Handling
from tests.simulation.network import LoopBinding, Network
from tests.simulation.plans import (
    CLIENTS,
    DIE_SHARE,
    LIMITED,
    MOST_ANSWER_SECONDS,
    PARENTS,
    WAIT,
    Plan,
)
from tests.simulation.processes import Process
from tests.simulation.workload import message_of
from worchflow import WorchflowClient
from worchflow.foundations.errors import (
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionNotFound,
    StoreUnavailable,
    WrongState,
)
from worchflow.foundations.json_text import json_text
from worchflow.model.events import NewEvent
from worchflow.model.options import BackendOptions
from worchflow.model.records import ExecutionStatus

SUSPENDED_AS = {
    "slept": ExecutionStatus.SLEEPING,
    "compensated": ExecutionStatus.SLEEPING,
    "told": ExecutionStatus.WAITING,
    "asked": ExecutionStatus.WAITING,
    "parent": ExecutionStatus.WAITING,
    "crowd": ExecutionStatus.WAITING,
    "raced": ExecutionStatus.WAITING,
    "hasty": ExecutionStatus.WAITING,
    "reminded": ExecutionStatus.WAITING,
    **dict.fromkeys(LIMITED, ExecutionStatus.WAITING),
}
MOST_NEWS_SECONDS = 5.0
"""Seconds after its acceptance within which the events of an execution are emitted."""
MOST_DELIVERY_SECONDS = 0.01
"""Few calls of the stores: those that wake whoever waits for an event."""
CANCEL_SHARE_OF_PARENTS = 0.4
ALONE_SHARE = 0.6
"""Of the cancelled parents those whose client does not follow that up at once."""
MOST_LATE_SECONDS = 3.0
FOLLOW_SHARE_OF_PARENTS = 0.9
"""Of the others; what follows one retries it if it fails."""
LOOKS = 4
LOOKS_BEFORE_A_CANCEL = 40


def _seconds_left(random: Random) -> float:
    """Until a client that dies is gone, once what it emits is accepted."""
    return max(0.0, random.uniform(-0.5, 1.0) * MOST_DELIVERY_SECONDS)


def news(plan: Plan, number: int) -> tuple[str, str]:
    """The text and the id of an event of an execution."""
    return f"news {number} of {plan.id}", f"{plan.id}-{number}"


class Sender:
    """A client: sends its share of the plans, cancels some, waits for some."""

    def __init__(
        self, process: Process, network: Network, options: BackendOptions
    ) -> None:
        self._accepted: dict[str, asyncio.Event] = {}
        self._backend = backend_on(LoopBinding(process, network), options)
        self._client = WorchflowClient[Any](backend=self._backend)
        self._late: list[asyncio.Task[None]] = []
        """What follows up ends late."""
        self._answering = Answering(self._client, self._backend, Handling.oracle)

    async def run(
        self, client: int, everything: Sequence[Plan], random: Random
    ) -> None:
        """Do everything; ends once every execution has been accepted.

        It sends its share of the plans, and answers tokens of all of them.
        """
        plans = everything[client::CLIENTS]
        oracle = Handling.oracle
        self._accepted = {plan.id: asyncio.Event() for plan in plans}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look(plans, Random(random.getrandbits(64))))
            for plan in everything:
                for answer in plan.answers:
                    if answer.client == client:
                        tasks.create_task(self._answering.answer(plan, answer))
            for plan in plans:
                await asyncio.sleep(random.uniform(0.0, 0.4))
                oracle.plans[plan.id] = plan
                tasks.create_task(self._send(plan))
                is_parent = plan.kind in PARENTS
                if random.random() < (CANCEL_SHARE_OF_PARENTS if is_parent else 0.15):
                    own = Random(random.getrandbits(64))
                    tasks.create_task(self._cancel(plan, own))
                elif random.random() < (
                    FOLLOW_SHARE_OF_PARENTS
                    if is_parent or plan.kind in LIMITED
                    else 0.5
                ):
                    tasks.create_task(self._follow(plan))
                if plan.kind in WAIT:
                    own = Random(random.getrandbits(64))
                    tasks.create_task(self._wake(plan, own))
                if is_parent:
                    own = Random(random.getrandbits(64))
                    tasks.create_task(self._meddle(plan, own))
                for number in range(plan.news):
                    pause = random.uniform(0.0, MOST_NEWS_SECONDS)
                    dies = random.random() < DIE_SHARE
                    left = _seconds_left(random) if dies else None
                    tasks.create_task(self._tell(plan, number, pause, left))

    async def _send(self, plan: Plan) -> None:
        oracle = Handling.oracle
        message = message_of(plan)
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
        if plan.kind in WAIT and random.random() < 0.7:
            await self._becomes(plan, SUSPENDED_AS[plan.kind])
        elif plan.failures and random.random() < 0.5:
            await self._becomes(plan, ExecutionStatus.RETRYING)
        else:
            await asyncio.sleep(random.uniform(0.0, 4.0))
        if plan.kind in PARENTS and random.random() < ALONE_SHARE:
            late = random.choice((None, random.uniform(0.3, MOST_LATE_SECONDS)))
            await self._cancel_alone(plan.id, late)
        elif not await self._have_cancelled(plan.id):
            return
        if random.random() < (0.7 if plan.kind in PARENTS else 0.4):
            await asyncio.sleep(random.uniform(0.0, 2.0))
            await self._retry(plan.id)

    async def _cancel_alone(self, id: str, late: float | None) -> None:
        """Cancel an execution, and follow that up late, or be gone: not at all."""
        Handling.oracle.cancelled.add(id)
        with contextlib.suppress(StoreUnavailable):
            await self._backend.open()
            executions = self._backend._open_parts.executions
            real = executions._follow_ups.begin

            async def follow_up(ended: list[Any], pause: float) -> None:
                await asyncio.sleep(pause)
                await real(ended)

            async def begin(ended: Iterable[Any]) -> None:
                if late is not None:
                    self._late.append(asyncio.create_task(follow_up([*ended], late)))

            with mock.patch.object(executions._follow_ups, "begin", begin):
                await executions.cancel(id, None)

    async def _have_cancelled(self, id: str) -> bool:
        """Cancel an execution; False if that could not be."""
        Handling.oracle.cancelled.add(id)
        while True:
            try:
                await self._client.cancel(id)
            except StoreUnavailable:
                await asyncio.sleep(0.3)
            except (ExecutionNotFound, WrongState):
                return False
            else:
                return True

    async def _meddle(self, plan: Plan, random: Random) -> None:
        """Cancel and retry some children of an execution."""
        await self._accepted[plan.id].wait()
        oracle = Handling.oracle
        for _ in range(random.choice((0, 0, 1, 2))):
            await asyncio.sleep(random.uniform(0.0, 3.0))
            children = oracle.children.of(plan.id)
            if not children:
                continue
            child = random.choice(children)
            if random.random() < 0.5:
                await self._have_cancelled(child)
            elif oracle.plans[child].kind != "deaf":
                # That would never end, once its parent has.
                await self._retry(child)

    async def _wake(self, plan: Plan, random: Random) -> None:
        """Wake it for nothing now and then, which harms nobody."""
        await self._accepted[plan.id].wait()
        for _ in range(random.choice((0, 1, 3))):
            await asyncio.sleep(random.uniform(0.0, 3.0))
            with contextlib.suppress(StoreUnavailable):
                await self._backend.waits.wake([plan.id])

    async def _tell(
        self, plan: Plan, number: int, pause: float, left: float | None
    ) -> None:
        """Emit one of its events, once it was accepted.

        With some seconds `left`, who emits it is gone so long after the event is
        accepted: before anybody is woken, or in the middle of that.
        """
        await self._accepted[plan.id].wait()
        if plan.kind == "raced" and number == 0:
            pause = await self._pause_before_first_news(plan)
        await asyncio.sleep(pause)
        if left is None:
            await self._emit(plan, number)
            return
        text, id_ = news(plan, number)
        new = NewEvent(id=id_, name=NEWS.name, data=json_text(text), key=plan.id)
        with contextlib.suppress(StoreUnavailable):
            stored = await self._backend.events.append(new)
            Handling.oracle.events.was_emitted(plan.id, text)
            if left:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._backend.events.deliver_all(stored)

    async def _pause_before_first_news(self, plan: Plan) -> float:
        """Seconds until the moment at which it matters most."""
        if plan.moment == -inf:
            return 0.0
        for _ in range(LOOKS_BEFORE_A_CANCEL):
            pause = Handling.oracle.fan_out.seconds_until(plan)
            if pause is not None:
                return pause
            await asyncio.sleep(0.1)
        return 0.0

    async def _emit(self, plan: Plan, number: int) -> None:
        oracle = Handling.oracle
        text, id_ = news(plan, number)
        while True:
            try:
                await self._client.emit(NEWS(text), key=plan.id, id=id_)
            except StoreUnavailable:
                await asyncio.sleep(0.3)
                continue
            oracle.events.was_emitted(plan.id, text)
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
                    if not Handling.oracle.events.has_event(id_, number):
                        await self._emit(plans[id_], number)
            if over:
                return
            await asyncio.sleep(0.5)

    async def answer_the_rest(self) -> None:
        """Answer what nobody else answers; it never ends."""
        await asyncio.sleep(MOST_ANSWER_SECONDS)
        await self._answering.answer_the_rest()

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
                    await self._retry(plan.id)
                    continue
            except ExecutionCancelled:
                if plan.id not in oracle.cancelled:
                    oracle.violated("a client is told of a cancellation", plan.id)
            return

    async def _look(self, plans: Sequence[Plan], random: Random) -> None:
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

    async def _retry(self, id: str) -> None:
        Handling.oracle.retried.add(id)
        while True:
            with contextlib.suppress(WrongState, ExecutionNotFound):
                try:
                    await self._client.retry(id)
                except StoreUnavailable:
                    await asyncio.sleep(0.3)
                    continue
            return
