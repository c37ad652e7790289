"""What every use of a step that is tried once begins with."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.engine.attempts import Engine, stop
from worchflow import Context
from worchflow.definitions.calls import SleepCall
from worchflow.engine.ownership import Interrupted
from worchflow.engine.step_use import StepUse


async def nothing(_: Context[None]) -> None:
    pass


async def test_it_begins_when_its_claim_holds(engine: Engine) -> None:
    runner = await engine.runner(nothing)
    call = SleepCall("Nap", 1.0, None)
    use = StepUse(runner.attempt, call, "0" * 32, engine.step_threads)
    assert (use.call, use.step_id, use.tries) == (call, "0" * 32, 1)
    assert use.started_at is None

    await use.begin()

    assert use.started_at is not None


async def test_it_does_not_begin_once_its_attempt_is_over(engine: Engine) -> None:
    runner = await engine.runner(nothing)
    use = StepUse(
        runner.attempt, SleepCall("Nap", 1.0, None), "0" * 32, engine.step_threads
    )
    stop(runner)

    with pytest.raises(Interrupted):
        await asyncio.wait_for(use.begin(), 5)
