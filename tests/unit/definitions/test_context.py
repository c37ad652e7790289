"""What handlers get: contexts and the facades that pass on their steps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from worchflow.definitions.context import (
    MISSING,
    Context,
    ReceivedEvent,
    Step,
    StepCall,
    SyncContext,
    SyncStep,
    SyncTypedStep,
    TypedStep,
)
from worchflow.definitions.retry import Retry
from worchflow.foundations.errors import ConfigurationError, InvalidInput

WHEN = datetime(2024, 5, 1, tzinfo=UTC)


class Recorder:
    """A runner that keeps the calls and answers with a step's title."""

    def __init__(self) -> None:
        self.calls: list[StepCall] = []
        self.keys: list[tuple[str | None, str | None]] = []
        self.cancelled = False
        self.log = logging.LoggerAdapter(logging.getLogger("test"))

    def run(self, call: StepCall) -> Coroutine[Any, Any, Any]:
        self.calls.append(call)
        return asyncio.sleep(0, call.title)

    def run_blocking(self, call: StepCall) -> Any:
        self.calls.append(call)
        return call.title

    def idempotency_key(self, title: str | None, key: str | None) -> str:
        self.keys.append((title, key))
        return "stable"


@pytest.fixture
def runner() -> Recorder:
    return Recorder()


def make(kind: type, runner: Recorder, data: Any = None) -> Any:
    event = ReceivedEvent(name="pay", data=data, id="exec-1", timestamp=WHEN)
    return kind(event=event, runner=runner, attempt=2, token=7)


def charge(*args: Any, **kwargs: Any) -> None: ...


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


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("item", "item"),
        (-3, "-3"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
async def test_a_key_is_text_a_number_or_a_uuid(
    key: Any, text: Any, runner: Recorder
) -> None:
    await Step(runner).options(key=key).run("t", charge)
    assert runner.calls[0].key == text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kee": "x"}, 'no option "kee", did you mean "key"?'),
        ({"undo": charge}, "it takes: as_type, key, retries, timeout"),
        ({"retries": None}, "retries=None"),
        ({"retries": -1}, "retries=-1"),
        ({"retries": "3"}, "retries='3'"),
        ({"timeout": 0}, "timeout=0 must be longer than nothing"),
        ({"timeout": "soon"}, "timeout='soon'"),
        ({"timeout": None}, "timeout=None"),
        ({"as_type": 3}, "as_type=3 is not a type"),
        ({"as_type": "Receipt"}, "as_type='Receipt' is not a type"),
        ({"as_type": MISSING}, "is not a type"),
    ],
)
@pytest.mark.parametrize("kind", [Step, SyncStep])
def test_wrong_options_are_refused_by_name_and_value(
    kind: Any, options: Any, reason: Any, runner: Recorder
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(runner).options(**options)
    assert reason in caught.value.message


@pytest.mark.parametrize("key", [None, 1.5, True, "", "a\nb", b"k", "x" * 201])
def test_wrong_keys_are_refused(key: Any, runner: Recorder) -> None:
    with pytest.raises(InvalidInput) as caught:
        Step(runner).options(key=key)
    assert caught.value.field == "key"


@pytest.mark.parametrize(
    ("arguments", "field", "reason"),
    [
        (("", charge), "title", "1 to 200 printable characters"),
        ((3, charge), "title", "title=3"),
        (("a\x1fb", charge), "title", "title='a\\x1fb'"),
        ((charge, "Charge"), "title", "the title comes first"),
        (("t", 5), "fn", "step 't': an object of type int is no function"),
        (("t", None), "fn", "is no function"),
    ],
)
@pytest.mark.parametrize("kind", [Step, SyncStep])
def test_wrong_calls_are_refused_before_anything_runs(
    kind: Any, arguments: Any, field: Any, reason: Any, runner: Recorder
) -> None:
    with pytest.raises(InvalidInput) as caught:
        kind(runner).run(*arguments)
    assert caught.value.field == field
    assert reason in caught.value.message
    assert runner.calls == []


async def test_a_function_that_was_called_already_is_refused(runner: Recorder) -> None:
    async def work() -> None: ...

    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for called in (work(), future):
        with pytest.raises(InvalidInput, match="step 't': the function was called al"):
            Step(runner).run("t", called)  # type: ignore[call-overload]


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
