"""What the parts of an attempt share, and which step an error came out of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.engine.attempts import Engine
from worchflow import Context
from worchflow.engine.attempt import MAX_FAILURES
from worchflow.model.settlement import Failed


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


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


async def test_a_timeout_names_the_step_that_ran(engine: Engine) -> None:
    async def slow() -> None:
        await asyncio.sleep(600)

    async def handler(ctx: Context[None]) -> None:
        await ctx.step.run("Wait", slow)

    settlement = await engine.settlement(handler, timeout=0.01)

    assert isinstance(settlement, Failed)
    assert (settlement.error.type, settlement.error.step) == ("TimeoutError", "Wait")


async def test_an_attempt_says_what_its_log_lines_are_about(engine: Engine) -> None:
    attempt = engine.attempt(again)

    assert attempt.number == 1
    assert attempt.fields == {"execution_id": "e-1", "function": "name", "attempt": 1}
