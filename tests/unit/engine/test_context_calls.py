"""Where a step may be started, and under which key its effect is idempotent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.engine.attempts import Engine
from worchflow import Context, StepError, SyncContext
from worchflow.engine import context_calls, scope
from worchflow.foundations.ids import step_id
from worchflow.model.settlement import Completed, Failed


async def one() -> int:
    return 1


async def in_a_thread(ctx: Context[None]) -> None:
    def start() -> Any:
        return ctx.step.run("Step", one)

    await asyncio.to_thread(start)


async def inside_a_step(ctx: Context[None]) -> None:
    async def outer() -> int:
        return await ctx.step.run("Inner", one)

    await ctx.step.run("Outer", outer)


async def blocking_on_the_loop(ctx: Context[None]) -> None:
    blocking = SyncContext(
        event=ctx.event,
        runner=ctx._runner,
        attempt=1,
        token=1,
        headers={},
    )
    blocking.step.run("Step", one)


@pytest.mark.parametrize(
    ("handler", "type_", "message"),
    [
        (in_a_thread, "StepError", "outside the handler's event loop"),
        (inside_a_step, "NestedStep", 'was started inside step "Outer"'),
        (blocking_on_the_loop, "StepError", "from the event loop"),
    ],
)
async def test_a_step_is_refused_where_it_cannot_run(
    engine: Engine, handler: Any, type_: str, message: str
) -> None:
    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == type_
    assert message in settlement.error.message
    assert await engine.steps.recorded() == []


async def test_there_is_a_bound_of_unfinished_steps(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "MAX_UNFINISHED", 3)
    monkeypatch.setattr(context_calls, "MAX_UNFINISHED", 3)
    asked: list[int] = []

    async def handler(ctx: Context[None]) -> str:
        waiting = []
        try:
            for number in range(9):
                asked.append(number)
                step = ctx.step.run(f"Step {number}", one)
                waiting.append(asyncio.ensure_future(step))
        except StepError as error:
            await asyncio.gather(*waiting)
            return str(error)
        return "no bound"

    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Completed)
    assert "is one too many" in settlement.result
    assert len(asked) <= 4


async def test_a_key_is_that_of_the_running_step_or_of_the_one_named(
    engine: Engine,
) -> None:
    async def handler(ctx: Context[None]) -> list[str]:
        async def charge() -> str:
            return ctx.idempotency_key()

        return [await ctx.step.run("Charge", charge), ctx.idempotency_key("Charge")]

    settlement = await engine.settlement(handler)

    key = f'"e-1:{step_id("Charge")}"'
    assert settlement == Completed(f"[{key},{key}]")


async def test_a_key_without_a_running_step_needs_a_title(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> str:
        return ctx.idempotency_key()

    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert "pass the title of the step" in settlement.error.message
