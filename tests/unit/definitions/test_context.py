"""What handlers get: contexts and the facades that pass on their steps."""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.definitions.recorder import Recorder, charge
from worchflow.definitions.calls import MISSING, StepCall
from worchflow.definitions.context import Context, ReceivedEvent, SyncContext
from worchflow.definitions.retry import Retry
from worchflow.definitions.steps import Step, TypedStep
from worchflow.definitions.sync_steps import SyncStep, SyncTypedStep
from worchflow.foundations.errors import InvalidInput

WHEN = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def runner() -> Recorder:
    return Recorder()


def make(kind: type, runner: Recorder, data: Any = None) -> Any:
    event = ReceivedEvent(name="pay", data=data, id="exec-1", timestamp=WHEN)
    return kind(event=event, runner=runner, attempt=2, token=7)


@pytest.mark.parametrize("kind", [Context, SyncContext])
def test_a_context_tells_event_and_attempt(kind: Any, runner: Recorder) -> None:
    ctx = make(kind, runner, data={"amount": 1})
    assert ctx.event.name == "pay"
    assert ctx.event.timestamp == WHEN
    assert ctx.data is ctx.event.data
    assert ctx.execution_id == ctx.event.id == "exec-1"
    assert (ctx.attempt, ctx.token) == (2, 7)
    assert ctx.log is runner.log


def test_a_context_asks_its_runner_whether_it_is_cancelled(runner: Recorder) -> None:
    ctx = make(Context, runner)
    assert ctx.cancelled is False
    runner.cancelled = True
    assert ctx.cancelled is True


def test_idempotency_keys_are_asked_for_with_checked_names(runner: Recorder) -> None:
    ctx = make(Context, runner)
    assert ctx.idempotency_key() == "stable"
    ctx.idempotency_key("Charge")
    ctx.idempotency_key("Charge", key=5)
    assert runner.keys == [(None, None), ("Charge", None), ("Charge", "5")]


@pytest.mark.parametrize(
    ("titles", "key", "field"),
    [
        ([], "k", "title"),
        ([""], None, "title"),
        ([3], None, "title"),
        (["t"], 1.5, "key"),
    ],
)
def test_an_idempotency_key_of_nothing_is_refused(
    titles: Any, key: Any, field: Any, runner: Recorder
) -> None:
    with pytest.raises(InvalidInput) as caught:
        make(Context, runner).idempotency_key(*titles, key=key)
    assert caught.value.field == field
    assert runner.keys == []


async def test_a_step_call_is_passed_on_with_its_arguments(runner: Recorder) -> None:
    ctx = make(Context, runner)
    result = await ctx.step.run("Charge", charge, 1, currency="EUR")
    assert result == "Charge"
    assert runner.calls == [
        StepCall(
            title="Charge",
            function=charge,
            args=(1,),
            kwargs={"currency": "EUR"},
            key=None,
            retries=None,
            timeout=None,
            as_type=MISSING,
        )
    ]


async def test_a_step_is_handed_over_when_run_is_called_and_not_when_awaited(
    runner: Recorder,
) -> None:
    step = Step(runner)
    first, second = step.run("a", charge), step.run("b", charge)
    assert [call.title for call in runner.calls] == ["a", "b"]
    assert await asyncio.gather(second, first) == ["b", "a"]


async def test_names_of_options_never_clash_with_arguments(runner: Recorder) -> None:
    arguments = {"title": 1, "fn": 2, "key": 3, "retries": 4, "as_type": 5, "self": 6}
    await Step(runner).run("t", charge, **arguments)
    assert runner.calls[0].kwargs == arguments
    assert runner.calls[0].key is None
    SyncStep(runner).options(as_type=int).run("t", charge, **arguments)
    assert runner.calls[1].kwargs == arguments


def test_a_step_of_a_plain_handler_blocks(runner: Recorder) -> None:
    ctx = make(SyncContext, runner)
    assert ctx.step.run("Charge", charge, 1) == "Charge"
    assert ctx.step.options(as_type=str).run("Typed", charge, 1) == "Typed"
    assert [call.as_type for call in runner.calls] == [MISSING, str]


@pytest.mark.parametrize("kind", [Step, SyncStep])
async def test_options_are_checked_and_passed_on(kind: Any, runner: Recorder) -> None:
    options = {"key": 7, "retries": 2, "timeout": "1m", "as_type": list[int]}
    result = kind(runner).options(**options).run("t", charge)
    assert result == "t" or await result == "t"
    call = runner.calls[0]
    assert (call.key, call.retries, call.timeout, call.as_type) == (
        *("7", Retry(max_retries=2)),
        *(60.0, list[int]),
    )


@pytest.mark.parametrize("kind", [Step, SyncStep])
async def test_later_options_join_earlier_ones(kind: Any, runner: Recorder) -> None:
    step = kind(runner).options(key="a", timeout=5).options(key="b", retries=0)
    typed = step.options(as_type=None).options(timeout=timedelta(seconds=9))
    for one in (step, typed, kind(runner)):
        result = one.run("t", charge)
        assert result == "t" or await result == "t"
    shown = [(c.key, c.timeout, c.retries, c.as_type) for c in runner.calls]
    none = Retry(max_retries=0)
    assert shown == [
        ("b", 5.0, none, MISSING),
        ("b", 9.0, none, type(None)),
        (None, None, None, MISSING),
    ]


def test_a_type_makes_typed_steps_and_other_options_do_not(runner: Recorder) -> None:
    assert type(Step(runner).options(key="k")) is Step
    assert type(Step(runner).options(as_type=int)) is TypedStep
    assert type(SyncStep(runner).options(key="k")) is SyncStep
    assert type(SyncStep(runner).options(as_type=int)) is SyncTypedStep


def test_no_repr_shows_data_or_arguments(runner: Recorder) -> None:
    secret = "s3cret"
    ctx = make(Context, runner, data=secret)
    call = StepCall(title="t", function=charge, args=(secret,), kwargs={"k": secret})
    assert repr(ctx) == "Context(event='pay', execution_id='exec-1', attempt=2)"
    assert secret not in repr((ctx, ctx.event, call))


def test_what_was_received_cannot_be_changed(runner: Recorder) -> None:
    ctx = make(Context, runner)
    with pytest.raises(FrozenInstanceError):
        ctx.event.name = "other"
    with pytest.raises(AttributeError):
        ctx.data = 3
