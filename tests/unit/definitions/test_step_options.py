"""One call of a step: its options and arguments are checked before anything runs."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.unit.definitions.recorder import Recorder, charge
from worchflow.definitions.calls import MISSING
from worchflow.definitions.steps import Step
from worchflow.definitions.sync_steps import SyncStep
from worchflow.foundations.errors import ConfigurationError, InvalidInput


@pytest.fixture
def runner() -> Recorder:
    return Recorder()


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
        (("t", 5), "fn", "step 't': an object of type int is not a function"),
        (("t", None), "fn", "is not a function"),
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
