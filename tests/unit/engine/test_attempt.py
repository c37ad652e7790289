"""What the parts of an attempt share, and which step an error came out of."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.unit.engine.attempts import Engine
from worchflow import Context, SyncContext
from worchflow.engine.attempt import MAX_FAILURES
from worchflow.model.records import ErrorInfo, StepStatus
from worchflow.model.settlement import Failed


async def fails() -> None:
    raise ValueError("bad")


async def again(ctx: Context[None]) -> None:
    await ctx.step.run("Fetch", fails)


async def from_another(ctx: Context[None]) -> None:
    try:
        await ctx.step.run("Fetch", fails)
    except ValueError as error:
        raise RuntimeError("worse") from error


async def of_the_handler(ctx: Context[None]) -> None:
    with contextlib.suppress(ValueError):
        await ctx.step.run("Fetch", fails)
    raise RuntimeError("its own")


async def many(ctx: Context[None]) -> list[ValueError]:
    errors: list[ValueError] = []
    for number in range(MAX_FAILURES + 1):
        try:
            await ctx.step.run(f"Fetch {number}", fails)
        except ValueError as error:
            errors.append(error)
    return errors


async def the_newest_of_many(ctx: Context[None]) -> None:
    raise (await many(ctx))[-1]


async def the_oldest_of_too_many(ctx: Context[None]) -> None:
    raise (await many(ctx))[0]


@pytest.mark.parametrize(
    ("handler", "step"),
    [
        (again, "Fetch"),
        (from_another, "Fetch"),
        (of_the_handler, None),
        (the_newest_of_many, f"Fetch {MAX_FAILURES}"),
        (the_oldest_of_too_many, None),
    ],
)
async def test_an_error_names_the_step_that_it_came_out_of(
    engine: Engine, handler: Any, step: str | None
) -> None:
    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert settlement.error.step == step


async def test_a_recorded_failure_in_a_plain_handler_names_its_step(
    engine: Engine,
) -> None:
    error = ErrorInfo(type="ValueError", message="no", traceback="")
    await engine.record("failure", status=StepStatus.FAILED, error=error)

    def handler(ctx: SyncContext[None]) -> None:
        ctx.step.run("failure", lambda: 0)

    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert settlement.error.step == "failure"


async def test_a_timeout_names_the_step_that_ran(engine: Engine) -> None:
    async def slow() -> None:
        await asyncio.sleep(600)

    async def handler(ctx: Context[None]) -> None:
        await ctx.step.run("Wait", slow)

    settlement = await engine.settlement(handler, timeout=0.01)

    assert isinstance(settlement, Failed)
    assert (settlement.error.type, settlement.error.step) == ("TimeoutError", "Wait")


async def test_an_attempt_says_what_its_log_lines_are_about(engine: Engine) -> None:
    attempt = await engine.attempt(again)

    assert attempt.number == 1
    assert attempt.fields == {"execution_id": "e-1", "function": "name", "attempt": 1}
