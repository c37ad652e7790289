"""One claim's attempt, from the event to an outcome."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.engine.attempts import Engine, stop
from tests.waiting import until
from worchflow import Context, SyncContext
from worchflow.engine.execution_deadline import ExecutionDeadline
from worchflow.model.settlement import Completed, Failed, Released, Suspended


async def nothing(ctx: Context[None]) -> None: ...


async def test_a_handler_gives_the_result(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> dict[str, int]:
        return {"attempt": ctx.attempt, "token": ctx.token}

    assert await engine.settlement(handler) == Completed('{"attempt":1,"token":1}')


async def raises(ctx: Context[None]) -> None:
    raise ValueError("bad")


async def exits(ctx: Context[None]) -> None:
    raise SystemExit(3)


async def cancels_itself(ctx: Context[None]) -> None:
    raise asyncio.CancelledError


async def returns_what_is_not_json(ctx: Context[None]) -> Any:
    return object()


def plain_gives_a_coroutine(ctx: SyncContext[None]) -> Any:
    return nothing(ctx)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("handler", "type_", "message"),
    [
        (raises, "ValueError", "bad"),
        (exits, "RuntimeError", "the handler called sys.exit(3)"),
        (cancels_itself, "RuntimeError", "the handler was cancelled from inside"),
        (returns_what_is_not_json, "SerializationError", "not plain JSON"),
        (plain_gives_a_coroutine, "NonRetryable", "returned an awaitable"),
    ],
)
async def test_what_is_not_a_result_fails(
    engine: Engine, handler: Any, type_: str, message: str
) -> None:
    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == type_
    assert message in settlement.error.message


async def test_data_that_does_not_fit_fails_before_the_handler_runs(
    engine: Engine,
) -> None:
    ran: list[Any] = []

    async def handler(ctx: Context[int]) -> None:
        ran.append(ctx.data)

    settlement = await engine.settlement(handler)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == "EventValidationError"
    assert ran == []


async def test_a_handler_past_its_timeout_is_interrupted_and_fails(
    engine: Engine,
) -> None:
    async def handler(ctx: Context[None]) -> str:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            return "what it makes of it does not count"
        return "late"

    settlement = await engine.settlement(handler, timeout=0.01)

    assert isinstance(settlement, Failed)
    assert settlement.error.type == "TimeoutError"


async def test_a_handler_at_its_deadline_is_interrupted_and_fails_for_good(
    engine: Engine,
) -> None:
    async def handler(ctx: Context[None]) -> str:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            return "what it makes of it does not count"
        return "late"

    runner = await engine.runner(handler, retries=3)
    at, ends = datetime.now(UTC), runner.attempt.loop.time() + 0.01
    runner.attempt.deadline = ExecutionDeadline(at, ends)
    outcome = await runner.run()

    assert outcome is not None
    assert isinstance(outcome.settlement, Failed)
    assert outcome.settlement.error.type == "DeadlineExceeded"


async def test_a_deadline_bounds_a_suspension(engine: Engine) -> None:
    async def handler(ctx: Context[None]) -> None:
        await ctx.step.sleep("Nap", "2h")

    runner = await engine.runner(handler)
    deadline = datetime.now(UTC) + timedelta(hours=1)
    ends = runner.attempt.loop.time() + 3600
    runner.attempt.deadline = ExecutionDeadline(deadline, ends)
    outcome = await runner.run()

    assert outcome is not None
    assert isinstance(outcome.settlement, Suspended)
    assert outcome.settlement.until == deadline


async def test_an_attempt_that_a_stop_ends_is_handed_back(engine: Engine) -> None:
    begun = asyncio.Event()

    async def handler(ctx: Context[None]) -> None:
        begun.set()
        await asyncio.sleep(600)

    runner = await engine.runner(handler)
    running = asyncio.ensure_future(runner.run())
    await until(begun.is_set)
    stop(runner)
    outcome = await running

    assert outcome is not None
    assert outcome.settlement == Released()
