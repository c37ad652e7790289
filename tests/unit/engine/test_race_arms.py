"""Functions of blocking arms: asked for their call, and given its value."""

from __future__ import annotations

from typing import Any

import pytest

from worchflow import InvalidInput
from worchflow.definitions.calls import RaceCall, StepCall
from worchflow.engine.parts import PartOutcome
from worchflow.engine.race_arms import CURRENT_ARM, BlockingArm, asked_arms


class Asked:
    """An operation as far as arms have to do with one."""

    def __init__(self, name: str) -> None:
        self.call = StepCall(name, print)


class Calls:
    """The calls of a plain handler, as far as arms have to do with them."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def call(self, name: str) -> str:
        arm = CURRENT_ARM.get()
        if arm is not None:
            if (outcome := arm.take_outcome()) is not None:
                value: str = outcome.unwrap()
                return value
            operation: Any = Asked(name)
            arm.note(operation)
        self.done.append(name)
        return name


def test_a_function_ends_with_its_first_call_and_is_called_again_with_its_value() -> (
    None
):
    calls, before = Calls(), list[str]()

    def function() -> str:
        before.append("called")
        return calls.call("first") + calls.call("second")

    arm = BlockingArm(function)
    operation = arm.ask()
    assert operation is not None
    assert operation.call.title == "first"
    assert calls.done == []

    # What else it calls is done as anywhere.
    assert arm.result(PartOutcome("value, ")) == "value, second"
    assert calls.done == ["second"]
    assert before == ["called", "called"]
    assert CURRENT_ARM.get() is None


def test_an_error_of_its_call_is_raised_in_it() -> None:
    calls = Calls()

    def function() -> str:
        try:
            return calls.call("first")
        except KeyError:
            return "caught"

    arm = BlockingArm(function)
    arm.ask()

    assert arm.result(PartOutcome(error=KeyError())) == "caught"


def test_what_a_function_raises_before_its_call_comes_out() -> None:
    def function() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        BlockingArm(function).ask()
    assert CURRENT_ARM.get() is None


def test_a_second_call_while_the_first_ends_the_function_is_refused() -> None:
    calls = Calls()

    def function() -> None:
        try:
            calls.call("first")
        finally:
            calls.call("cleanup")

    with pytest.raises(InvalidInput, match='calls step "cleanup" while its first'):
        BlockingArm(function).ask()
    assert calls.done == []


def test_a_function_without_a_call_is_named() -> None:
    call = RaceCall("First", ("one", "two"))

    with pytest.raises(InvalidInput, match="arm 'one' of race \"First\" must be"):
        asked_arms(call, [BlockingArm(lambda: 3)])
