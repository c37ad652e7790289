"""Parents and children: their events, and what they do."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

from tests.simulation.handling import Declined, Handling
from tests.simulation.oracle_of_children import LATE, word_for
from tests.simulation.plans import Offspring, Plan
from worchflow import (
    Context,
    Event,
    ExecutionCancelled,
    ExecutionFailed,
    NonRetryable,
    Retry,
    function,
)
from worchflow.definitions.children import ChildHandle

RETRY = Retry(max_retries=5, delay=0.4, max_delay=2.0)


class Parent(Event[list[Any]], name="parent"):
    failures: int
    seconds: float


class Quick(Event[list[str]], name="quick"):
    failures: int
    seconds: float


class Bad(Event[list[str]], name="bad"):
    failures: int
    seconds: float


class Flaky(Event[list[str]], name="flaky"):
    failures: int
    seconds: float


class Deaf(Event[list[str]], name="deaf"):
    failures: int
    seconds: float


FAMILY: dict[str, Any] = {
    "parent": Parent,
    "quick": Quick,
    "bad": Bad,
    "flaky": Flaky,
    "deaf": Deaf,
}
"""Their events, by kind."""

Started: TypeAlias = dict[str, ChildHandle[Any]]
"""By their titles."""


class Parenting(Handling):
    """One run of the handler of a parent."""

    def __init__(self, ctx: Context[Any]) -> None:
        super().__init__(ctx)
        self._plan: Plan = self.oracle.plans[ctx.execution_id]

    async def children(self) -> list[Any]:
        """Start some children, then await or invoke them, a group after the other."""
        started: Started = {}
        for child in self._plan.offspring():
            if child.is_started:
                started[child.title] = await self._start(child)
        values: list[Any] = []
        for group in self._plan.children:
            awaited = [child for child in group if child.is_awaited]
            values += await self._group(awaited, started)
        return values

    async def _start(self, child: Offspring) -> ChildHandle[Any]:
        handle = await self.ctx.step.start(
            child.title,
            message_of_child(child),
            on_parent_end="leave" if child.leaves else "cancel",
        )
        self.oracle.children.was_started(self.ctx.execution_id, child, handle.id)
        return handle

    async def _group(self, group: list[Offspring], started: Started) -> list[Any]:
        """What children gave, side by side, without a slot."""
        self._end()
        self.oracle.children.waits(self.process, self.ctx)
        # Whatever ends it early has no slot to unwind in.
        values = await asyncio.gather(*(self._given(each, started) for each in group))
        self.oracle.children.goes_on(self.ctx)
        self._begin()
        return values

    async def _given(self, child: Offspring, started: Started) -> Any:
        try:
            value = await self._result(child, started)
        except (ExecutionFailed, ExecutionCancelled, TimeoutError) as error:
            word = self._word(child, error)
            if not self._plan.catches:
                raise
            return word
        return self._value(child, value)

    def _value(self, child: Offspring, value: Any) -> Any:
        """What a child gave."""
        self.oracle.children.was_given(self.ctx, child, value)
        return value

    def _word(self, child: Offspring, error: Exception) -> str:
        """What is said of a child that gave nothing."""
        late = isinstance(error, TimeoutError)
        word = LATE if late else word_for(isinstance(error, ExecutionFailed))
        self.oracle.children.was_refused(self.ctx, child, word)
        return word

    async def _result(self, child: Offspring, started: Started) -> Any:
        if child.is_started:
            return await started[child.title].result(timeout=child.timeout)
        step, message = self.ctx.step, message_of_child(child)
        return await step.invoke(child.title, message, timeout=child.timeout)


def message_of_child(child: Offspring) -> Any:
    """What starts a child."""
    plan = child.plan
    return FAMILY[plan.kind](failures=plan.failures, seconds=plan.seconds)


@function(Parent, retries=RETRY)
async def parent(ctx: Context[Parent]) -> list[Any]:
    with Parenting(ctx) as parenting:
        before = await parenting.step("before")
        values = await parenting.children()
        if parenting.fails:
            raise Declined
        return [before, *values, await parenting.step("after")]


@function(Quick, retries=RETRY)
async def quick(ctx: Context[Quick]) -> list[str]:
    with Handling(ctx) as handling:
        work = await handling.step("work")
        if handling.fails:
            raise Declined
        return [work, await handling.step("finish")]


@function(Bad, retries=RETRY)
async def bad(ctx: Context[Bad]) -> list[str]:
    with Handling(ctx) as handling:
        raise NonRetryable(await handling.step("work"))


@function(Flaky, retries=RETRY)
async def flaky(ctx: Context[Flaky]) -> list[str]:
    with Handling(ctx) as handling:
        work = await handling.step("work")
        if not handling.oracle.children.is_retried(ctx.execution_id):
            raise NonRetryable(work)
        return [work, await handling.step("finish")]


@function(Deaf, retries=RETRY)
async def deaf(ctx: Context[Deaf]) -> list[str]:
    with Handling(ctx) as handling:
        work = await handling.step("work")
        # Nobody tells it: it ends when it is cancelled.
        return [work, *await handling.news("never")]


FUNCTIONS_OF_FAMILIES: tuple[Any, ...] = (parent, quick, bad, flaky, deaf)
