"""What is recorded of a step, and what its record gives back."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

from tests.unit.engine.attempts import Engine
from worchflow import Context, StepFailed, SyncContext
from worchflow.model.records import ErrorInfo, StepStatus
from worchflow.model.settlement import Completed, Failed


async def never() -> int:
    raise AssertionError("it is recorded")


async def recorded(ctx: Context[None]) -> int:
    return await ctx.step.run("Fetch", never)


async def test_a_record_is_given_in_place_of_a_call(engine: Engine) -> None:
    await engine.record("Fetch", "7")

    assert await engine.settlement(recorded) == Completed("7")
    assert engine.steps.asked == 0


async def test_a_recorded_failure_is_raised_with_what_it_was(engine: Engine) -> None:
    error = ErrorInfo(type="ValueError", message="bad", traceback="the trace")
    await engine.record("Fetch", None, status=StepStatus.FAILED, error=error)
    caught: list[StepFailed] = []

    async def handler(ctx: Context[None]) -> None:
        try:
            await ctx.step.run("Fetch", never)
        except StepFailed as failure:
            caught.append(failure)

    await engine.settlement(handler)

    (failure,) = caught
    assert (failure.title, failure.error_type) == ("Fetch", "ValueError")
    assert (failure.error_message, failure.traceback) == ("bad", "the trace")


async def test_a_replay_is_decoded_in_the_handlers_thread(engine: Engine) -> None:
    await engine.record("value", "7")
    await engine.record(
        "failure",
        status=StepStatus.FAILED,
        error=ErrorInfo(type="ValueError", message="no", traceback=""),
    )
    decoded_in: list[int] = []
    decode = engine.runtime.payloads.decode_step

    def noted(*args: Any, **options: Any) -> Any:
        decoded_in.append(threading.get_ident())
        return decode(*args, **options)

    engine.runtime.payloads.decode_step = noted  # type: ignore[method-assign]

    def handler(ctx: SyncContext[None]) -> bool:
        assert ctx.step.run("value", lambda: 0) == 7
        with pytest.raises(StepFailed, match="ValueError: no"):
            ctx.step.run("failure", lambda: 0)
        return decoded_in == [threading.get_ident()]

    assert await engine.settlement(handler) == Completed(result="true")


async def test_a_record_of_another_type_fails_the_execution_at_once(
    engine: Engine,
) -> None:
    await engine.record("Fetch", '"text"')

    async def handler(ctx: Context[None]) -> str:
        # What a handler makes of it does not count.
        with contextlib.suppress(Exception):
            await ctx.step.run("Fetch", never)
        return "as if nothing had happened"

    settlement = await engine.settlement(handler, retries=3)

    assert isinstance(settlement, Failed)
    assert settlement.error.step == "Fetch"
    assert 'step "Fetch"' in settlement.error.message


async def test_the_first_record_counts_though_another_value_was_computed(
    engine: Engine,
) -> None:
    stored: Any = engine.steps.checkpoint

    async def late(claim: Any, step: Any) -> Any:
        await engine.record("Fetch", "1")  # by another attempt, meanwhile
        return await stored(claim, step)

    engine.steps.checkpoint = late  # type: ignore[method-assign]

    async def two() -> int:
        return 2

    async def handler(ctx: Context[None]) -> int:
        return await ctx.step.run("Fetch", two)

    assert await engine.settlement(handler) == Completed("1")
