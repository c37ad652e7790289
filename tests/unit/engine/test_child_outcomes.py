"""How a child ended, in the record of its parent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.stores import new_step
from tests.unit.engine.attempts import Engine
from worchflow import Context, ExecutionFailed, StepResultChanged
from worchflow.engine.child_outcomes import CANCELLED, FAILED, TIMED_OUT
from worchflow.foundations.ids import step_id
from worchflow.model.records import ErrorInfo, StepStatus
from worchflow.model.settlement import Failed
from worchflow.model.step_kind import StepKind

ERROR = ErrorInfo(type="ValueError", message="no", traceback="line 1")


async def invokes(ctx: Context[None]) -> str:
    return str(await ctx.step.invoke("Child", {"name": "child", "data": 1}))


def recorded(error_class: str | None, **fields: Any) -> Any:
    step = new_step(step_id=step_id("Child"), title="Child", result=None)
    values: dict[str, Any] = {
        "kind": StepKind.INVOKE,
        "status": StepStatus.FAILED,
        "error": ERROR,
        "error_class": error_class,
    }
    return replace(step, **values | fields)


@pytest.mark.parametrize(
    ("error_class", "kind"),
    [
        (FAILED, "ExecutionFailed"),
        (CANCELLED, "ExecutionCancelled"),
        (TIMED_OUT, "TimeoutError"),
        # A class that this release does not know.
        ("worchflow:Other", "ExecutionFailed"),
    ],
)
async def test_a_record_is_raised_as_what_it_was(
    engine: Engine, error_class: str, kind: str
) -> None:
    await engine.record_step(recorded(error_class))

    ended = await engine.settlement(invokes, retries=3)

    assert isinstance(ended, Failed)
    assert ended.error.type == kind
    assert "no" in ended.error.message
    assert ended.error.step == "Child"


async def test_a_failure_has_what_the_child_failed_with(engine: Engine) -> None:
    await engine.record_step(recorded(FAILED))
    caught: list[ExecutionFailed] = []

    async def handler(ctx: Context[None]) -> None:
        try:
            await invokes(ctx)
        except ExecutionFailed as error:
            caught.append(error)

    await engine.settlement(handler)

    (error,) = caught
    assert (error.error_type, error.message, error.traceback) == (
        *("ValueError", "no", "line 1"),
    )


async def test_a_record_of_another_kind_fails_at_once(engine: Engine) -> None:
    await engine.record_step(recorded(FAILED, kind=StepKind.RUN))

    ended = await engine.settlement(invokes, retries=3)

    assert isinstance(ended, Failed)
    assert ended.error.type == StepResultChanged.__name__
