"""Functions with a deadline or a start timeout, which do all kinds of things."""

from __future__ import annotations

from typing import Any

from tests.simulation.families import FAMILY, Parenting, Started
from tests.simulation.handling import Declined
from tests.simulation.limits import (
    BOUNDED_DEADLINE,
    BOUNDED_START,
    BRIEF_DEADLINE,
    CHILD,
    MAX_RETRIES,
    MOST_DELAY,
    NEWS,
    PATIENT_DEADLINE,
    PUNCTUAL_START,
    SLEEP,
    THREAD,
)
from tests.simulation.plans import Offspring
from worchflow import Context, Event, Retry, function

RETRY = Retry(max_retries=MAX_RETRIES, delay=0.4, max_delay=MOST_DELAY)


class Brief(Event[list[Any]], name="brief"):
    failures: int
    seconds: float


class Bounded(Event[list[Any]], name="bounded"):
    failures: int
    seconds: float


class Patient(Event[list[Any]], name="patient"):
    failures: int
    seconds: float


class Punctual(Event[list[Any]], name="punctual"):
    failures: int
    seconds: float


WITH_LIMITS: dict[str, Any] = {
    "brief": Brief,
    "bounded": Bounded,
    "patient": Patient,
    "punctual": Punctual,
}
"""Their events, by kind."""


class Limited(Parenting):
    """One run of a handler whose execution has only so much time."""

    def __init__(self, ctx: Context[Any]) -> None:
        super().__init__(ctx)
        self.oracle.deadlines.begins(self.process, ctx.execution_id, ctx.token)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.oracle.deadlines.ends(self.process, self.ctx.execution_id, self.ctx.token)

    async def act(self) -> list[Any]:
        """What it does between its two steps; what its children gave."""
        act = self._plan.act
        if act == THREAD:
            await self.step_in_thread("in a thread")
        elif act == SLEEP:
            await self.sleep("nap", self._plan.nap)
        elif act == NEWS:
            await self.news("one")
        return await self.children() if act == CHILD else []

    async def _result(self, child: Offspring, started: Started) -> Any:
        plan = child.plan
        message = (FAMILY | WITH_LIMITS)[plan.kind](
            failures=plan.failures, seconds=plan.seconds
        )
        return await self.ctx.step.invoke(child.title, message, timeout=child.timeout)


async def _limited(ctx: Context[Any]) -> list[Any]:
    with Limited(ctx) as limited:
        before = await limited.step("before")
        values = await limited.act()
        if limited.fails:
            raise Declined
        return [before, *values, await limited.step("after")]


@function(Brief, retries=RETRY, deadline=BRIEF_DEADLINE)
async def brief(ctx: Context[Brief]) -> list[Any]:
    return await _limited(ctx)


@function(
    Bounded,
    retries=RETRY,
    deadline=BOUNDED_DEADLINE,
    start_timeout=BOUNDED_START,
)
async def bounded(ctx: Context[Bounded]) -> list[Any]:
    return await _limited(ctx)


@function(Patient, retries=RETRY, deadline=PATIENT_DEADLINE)
async def patient(ctx: Context[Patient]) -> list[Any]:
    return await _limited(ctx)


@function(Punctual, retries=RETRY, start_timeout=PUNCTUAL_START)
async def punctual(ctx: Context[Punctual]) -> list[Any]:
    return await _limited(ctx)


FUNCTIONS_WITH_LIMITS: tuple[Any, ...] = (brief, bounded, patient, punctual)
