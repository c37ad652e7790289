"""Many items as one step, many children as one, and the first of several."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulation.families import RETRY, Parenting, message_of_child
from tests.simulation.handling import NEWS, Declined, Tokens
from tests.simulation.oracle_of_fan_out import (
    AGAIN,
    ARMS,
    EARLY,
    FAILED,
    FIRST,
    IDLE,
    LEFT,
    MAP,
    MOST_REMINDERS,
    NAP,
    RIGHT,
    TOO_SLOW,
    WORK,
    item_title,
)
from tests.simulation.plans import CROWD, MANAGER
from worchflow import (
    Context,
    Event,
    ExecutionCancelled,
    ExecutionFailed,
    StepFailed,
    StepsFailed,
    function,
)


class Mapped(Event[list[str]], name="mapped"):
    failures: int
    seconds: float


class Crowd(Event[list[Any]], name="crowd"):
    failures: int
    seconds: float


class Raced(Event[list[Any]], name="raced"):
    failures: int
    seconds: float
    nap: float


class Hasty(Event[list[Any]], name="hasty"):
    failures: int
    seconds: float
    nap: float


class Reminded(Event[list[str]], name="reminded"):
    failures: int
    seconds: float
    nap: float


MOST_SECONDS_OF_A_QUICK_ARM = 0.05
MOST_CLEANUP_SECONDS = 0.8
FAN_OUT: dict[str, Any] = {
    "mapped": Mapped,
    "crowd": Crowd,
    "raced": Raced,
    "hasty": Hasty,
    "reminded": Reminded,
}
"""Their events, by kind."""


class FanningOut(Parenting):
    """One run of a handler that does several things side by side."""

    async def map(self) -> list[str]:
        """What the items give, by the items."""
        plan, execution_id = self._plan, self.ctx.execution_id
        items = list(range(plan.items))
        if plan.is_keyed:
            # Other places each time: the keys say which is which.
            turn = self.ctx.token % plan.items
            items = items[turn:] + items[:turn]
        given = await self.ctx.step.map(
            MAP,
            self._item,
            items,
            key=str if plan.is_keyed else None,
            concurrency=plan.concurrency,
            return_exceptions=plan.catches,
        )
        values: dict[int, str] = {}
        for item, value in zip(items, given, strict=True):
            if isinstance(value, StepFailed):
                self.oracle.saw_failure(execution_id, item_title(item))
            values[item] = FAILED if isinstance(value, StepFailed) else str(value)
        self.oracle.fan_out.was_mapped(plan, values)
        return [values[item] for item in sorted(items)]

    async def _item(self, item: int) -> str:
        plan, title = self._plan, item_title(item)
        fails = item in plan.unlucky and (self.fails or plan.catches)
        if fails and not plan.catches:
            self.oracle.fan_out.item_fails(plan.id, title)
        return await self._effect(title, fails=fails)

    async def crowd(self) -> list[Any]:
        """What children give that one step invokes, without a slot."""
        plan = self._plan
        (group,) = plan.children
        self._end()
        self.oracle.children.waits(self.process, self.ctx)
        # Whatever ends it early has no slot to unwind in.
        try:
            given = await self.ctx.step.invoke_many(
                CROWD,
                [message_of_child(child) for child in group],
                concurrency=plan.concurrency,
                timeout=group[0].timeout,
                return_exceptions=plan.catches,
            )
        except StepsFailed as failed:
            for place, error in zip(failed.places, failed.exceptions, strict=True):
                self._word(group[place], error)
            raise
        self.oracle.children.goes_on(self.ctx)
        self._begin()
        return [
            self._word(child, value)
            if isinstance(value, Exception)
            else self._value(child, value)
            for child, value in zip(group, given, strict=True)
        ]

    async def work(self) -> str:
        """What the first of three steps gives; the others are cancelled."""
        step = self.ctx.step
        place, value = await step.race(
            WORK,
            step.run(LEFT, self._quick_arm, LEFT),
            step.run(RIGHT, self._quick_arm, RIGHT),
            step.run(IDLE, self._idle_arm, IDLE),
        )
        self.oracle.fan_out.was_won(self.ctx.execution_id, WORK, place)
        self.oracle.saw(self.ctx.execution_id, ARMS[place], value)
        return value

    async def _quick_arm(self, title: str) -> str:
        # Two of them often end while the record of one is on its way.
        most = self.oracle.world.random.uniform(0, MOST_SECONDS_OF_A_QUICK_ARM)
        return await self._effect(title, fails=False, most=most)

    async def _idle_arm(self, title: str) -> str:
        try:
            return await self._effect(title, fails=False)
        except asyncio.CancelledError:
            # It cleans up: until it has, others are recorded and the race is not.
            longest = MOST_CLEANUP_SECONDS
            await asyncio.sleep(self.oracle.world.random.uniform(0, longest))
            raise

    async def early(self) -> str | None:
        """An event that comes before a sleep is over, or after all."""
        step, id_, nap = self.ctx.step, self.ctx.execution_id, self.ctx.data.nap
        self._end()
        self.oracle.fan_out.begins(id_)
        # Whatever ends it early has no slot to unwind in.
        name, value = await step.race(
            FIRST,
            **{
                EARLY: step.wait_for_event(EARLY, NEWS, key=id_),
                NAP: step.sleep(NAP, nap),
            },
        )
        self._begin()
        self.oracle.fan_out.was_won(id_, FIRST, name)
        if name == NAP:
            timeout = nap if self._plan.catches else None
            (value,) = await self.news(AGAIN, timeout=timeout)
            return value
        self.oracle.events.was_taken(id_, EARLY, value)
        return value

    async def child_in_time(self) -> Any:
        """What a child gives that ends before a sleep is over, without a slot."""
        step, id_, fan_out = self.ctx.step, self.ctx.execution_id, self.oracle.fan_out
        ((child,),) = self._plan.children
        self._end()
        self.oracle.children.waits(self.process, self.ctx)
        invoked = step.invoke(
            child.title, message_of_child(child), timeout=child.timeout
        )
        # Whatever ends it early has no slot to unwind in.
        try:
            name, value = await step.race(
                FIRST, child=invoked, **{NAP: step.sleep(NAP, self.ctx.data.nap)}
            )
        except (ExecutionFailed, ExecutionCancelled, TimeoutError) as error:
            # A retry takes back that it has failed, and races anew.
            life = self.oracle.life_of_claim(id_, self.ctx.token)
            fan_out.was_won(id_, f"{FIRST} of life {life}", "child")
            word = self._word(child, error)
            if not self._plan.catches:
                raise
            self._begin()
            return word
        fan_out.was_won(id_, FIRST, name)
        self.oracle.children.goes_on(self.ctx)
        self._begin()
        return TOO_SLOW if name == NAP else self._value(child, value)

    async def answer_after_reminders(self, tokens: Tokens) -> str | None:
        """The answer to a token; whoever is asked is reminded some times."""
        step, id_ = self.ctx.step, self.ctx.execution_id
        token = tokens[MANAGER]
        for number in range(1, MOST_REMINDERS + 1):
            self._end()
            # Whatever ends it early has no slot to unwind in.
            name, answer = await step.race(
                FIRST, answer=token, **{NAP: step.sleep(NAP, self.ctx.data.nap)}
            )
            self._begin()
            self.oracle.fan_out.was_won(id_, f"{FIRST} {number}", name)
            if name != NAP:
                text: str | None = answer
                self.oracle.tokens.was_given(id_, MANAGER, token.id, text)
                return text
            await self.step(f"remind {number}")
        return (await self.answers(tokens))[MANAGER]


@function(Mapped, retries=RETRY)
async def mapped(ctx: Context[Mapped]) -> list[str]:
    with FanningOut(ctx) as fanning_out:
        values = await fanning_out.map()
        if fanning_out.fails:
            raise Declined
        return [*values, await fanning_out.step("after")]


@function(Crowd, retries=RETRY)
async def crowd(ctx: Context[Crowd]) -> list[Any]:
    with FanningOut(ctx) as fanning_out:
        before = await fanning_out.step("before")
        values = await fanning_out.crowd()
        if fanning_out.fails:
            raise Declined
        return [before, *values, await fanning_out.step("after")]


@function(Raced, retries=RETRY)
async def raced(ctx: Context[Raced]) -> list[Any]:
    with FanningOut(ctx) as fanning_out:
        values = [await fanning_out.work(), await fanning_out.early()]
        if fanning_out.fails:
            raise Declined
        return [*values, await fanning_out.step("after")]


@function(Hasty, retries=RETRY)
async def hasty(ctx: Context[Hasty]) -> list[Any]:
    with FanningOut(ctx) as fanning_out:
        before = await fanning_out.step("before")
        value = await fanning_out.child_in_time()
        if fanning_out.fails:
            raise Declined
        return [before, value, await fanning_out.step("after")]


@function(Reminded, retries=RETRY)
async def reminded(ctx: Context[Reminded]) -> list[Any]:
    with FanningOut(ctx) as fanning_out:
        tokens = await fanning_out.tokens({MANAGER: None})
        mail = await fanning_out.mail(tokens)
        answer = await fanning_out.answer_after_reminders(tokens)
        if fanning_out.fails:
            raise Declined
        return [mail, answer, await fanning_out.step("after")]


FUNCTIONS_OF_FAN_OUT: tuple[Any, ...] = (mapped, crowd, raced, hasty, reminded)
