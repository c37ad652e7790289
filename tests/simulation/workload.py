"""What is run: functions of several kinds, and the workers of a fleet."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, TypeAlias

from tests.simulation.drivers import backend_on
from tests.simulation.families import FAMILY, FUNCTIONS_OF_FAMILIES
from tests.simulation.fanning_out import FAN_OUT, FUNCTIONS_OF_FAN_OUT
from tests.simulation.handling import Declined, Handling
from tests.simulation.limited import FUNCTIONS_WITH_LIMITS, WITH_LIMITS
from tests.simulation.network import LoopBinding, Network
from tests.simulation.plans import CLERK, MANAGER, NAP, Plan
from tests.simulation.processes import Process
from worchflow import (
    Context,
    Event,
    NonRetryable,
    Retry,
    StepFailed,
    Worcher,
    function,
)
from worchflow.model.options import BackendOptions, WorkerOptions

RETRY = Retry(max_retries=5, delay=0.4, max_delay=2.0)


class Sequence(Event[list[str]], name="sequence"):
    failures: int
    seconds: float


class Parallel(Event[list[str]], name="parallel"):
    failures: int
    seconds: float


class Compensated(Event[list[str]], name="compensated"):
    failures: int
    seconds: float
    nap: float


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


class Asked(Event[list[str | None]], name="asked"):
    failures: int
    seconds: float
    nap: float
    order: list[list[str]]


EVENTS: dict[str, Any] = {
    "sequence": Sequence,
    "parallel": Parallel,
    "compensated": Compensated,
    "hopeless": Hopeless,
    "threaded": Threaded,
    "slept": Slept,
    "told": Told,
    "asked": Asked,
    **FAMILY,
    **FAN_OUT,
    **WITH_LIMITS,
}


def message_of(plan: Plan) -> Any:
    """What is sent to run a plan."""
    own: dict[str, Any] = {"nap": plan.nap} if plan.kind in NAP else {}
    if plan.kind == "asked":
        own["order"] = plan.order
    return EVENTS[plan.kind](failures=plan.failures, seconds=plan.seconds, **own)


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


@function(Asked, retries=RETRY)
async def asked(ctx: Context[Asked]) -> list[str | None]:
    with Handling(ctx) as handling:
        tokens = await handling.tokens({MANAGER: None, CLERK: ctx.data.nap})
        mail = await handling.mail(tokens)
        answers: dict[str, str | None] = {}
        for titles in ctx.data.order:
            answers |= await handling.answers({each: tokens[each] for each in titles})
        if handling.fails:
            raise Declined
        after = await handling.step("after")
        return [mail, answers[MANAGER], answers[CLERK], after]


Functions: TypeAlias = tuple[Any, ...]
FUNCTIONS: Functions = (
    *(sequence, parallel, compensated, hopeless, threaded, slept, told, asked),
    *FUNCTIONS_OF_FAMILIES,
    *FUNCTIONS_OF_FAN_OUT,
    *FUNCTIONS_WITH_LIMITS,
)


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
