"""An exception as text: bounded, whatever the exception is."""

from __future__ import annotations

from typing import Any

import pytest
from typing_extensions import override

from worchflow.foundations.errors import SerializationError, WorchflowError
from worchflow.foundations.steps_failed import StepsFailed
from worchflow.serialization.exception_text import (
    MAX_MESSAGE_BYTES,
    MAX_TRACEBACK_BYTES,
    describe,
    with_few_members,
)
from worchflow.serialization.payloads import Payloads

LONE = "\ud800"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:  # noqa: BLE001
        return caught


def test_an_error_is_kept_as_class_name_message_and_traceback() -> None:
    error = raised(KeyError("order"), raised(ValueError("the first cause")))

    info = describe(error)

    assert (info.type, info.message) == ("KeyError", "'order'")
    assert "the first cause" in info.traceback
    assert "direct cause" in info.traceback
    assert "test_exception_text.py" in info.traceback
    assert info.traceback.endswith("KeyError: 'order'\n")


def test_frames_of_the_library_are_left_out_of_tracebacks_also_of_causes() -> None:
    try:
        try:
            Payloads(serializer=object)  # type: ignore[arg-type]
        except WorchflowError as error:
            raise LookupError from error
    except LookupError as error:
        info = describe(error)

    assert "is a class" in info.traceback
    assert "src/worchflow" not in info.traceback
    assert info.traceback.count("test_exception_text.py") == 2


def test_a_group_keeps_its_members() -> None:
    members = [raised(ValueError("first")), raised(KeyError("second"))]
    try:
        Payloads().encode({1}, Any, kind="step", where="here")
    except SerializationError as error:
        members.append(error)

    info = describe(raised(ExceptionGroup("several", members)))

    assert info.type == "ExceptionGroup"
    assert "ValueError: first" in info.traceback
    assert "KeyError: 'second'" in info.traceback
    assert "not plain JSON" in info.traceback
    assert "src/worchflow" not in info.traceback


@pytest.mark.parametrize("character", ["x", "é", "😀", LONE])
def test_long_messages_and_tracebacks_lose_their_middle_visibly(
    character: str,
) -> None:
    error = raised(ValueError("begin" + character * 100_000 + "end"))

    info = describe(error)

    assert len(info.message.encode()) <= MAX_MESSAGE_BYTES
    assert info.message.startswith("begin")
    assert info.message.endswith("end")
    assert "bytes left out" in info.message
    assert len(info.traceback.encode()) <= MAX_TRACEBACK_BYTES
    assert info.traceback.startswith("Traceback")
    assert "bytes left out" in info.traceback


def test_a_message_at_the_limit_is_kept_whole() -> None:
    assert describe(ValueError("x" * MAX_MESSAGE_BYTES)).message == (
        "x" * MAX_MESSAGE_BYTES
    )


def test_an_error_that_cannot_be_shown_is_kept_all_the_same() -> None:
    info = describe(raised(Mute()))

    assert info.type == "Mute"
    assert "str() raised RuntimeError" in info.message
    assert "Mute" in info.traceback


def test_surrogates_and_long_class_names_in_errors_become_text() -> None:
    long = type("Odd" + "x" * 1000, (Exception,), {})

    info = describe(raised(long(f"a{LONE}b")))

    assert info.message == r"a\ud800b"
    assert info.type == "Odd" + "x" * 197
    (info.message + info.traceback).encode()


def test_an_endless_recursion_is_kept_short() -> None:
    def again() -> None:
        again()

    try:
        again()
    except RecursionError as error:
        info = describe(error)

    assert "repeated" in info.traceback
    assert len(info.traceback) < 2000


def test_a_group_of_many_shows_as_many_as_python_does_and_counts_the_others() -> None:
    errors: list[Exception] = []
    for number in range(5000):
        try:
            raise ValueError(f"number {number}.")
        except ValueError as error:
            errors.append(error)
    cause = KeyError("cause")
    try:
        group = StepsFailed("many", errors, places=range(5000))
        group.add_note("a note of the user's")
        raise group from cause
    except StepsFailed as error:
        described, shown = describe(error), with_few_members(error)
        members = len(error.exceptions)

    assert described.type == "StepsFailed"
    assert described.message == "many (5000 sub-exceptions)"
    assert "number 14." in described.traceback
    assert "number 15." not in described.traceback
    assert "... and 4985 more exceptions" in described.traceback
    assert "a note of the user's" in described.traceback
    assert "KeyError: 'cause'" in described.traceback
    assert members == 5000
    assert isinstance(shown, StepsFailed)
    assert (shown.__traceback__, shown.__cause__) == (group.__traceback__, cause)
    assert shown.places == tuple(range(15))


def test_a_group_that_cannot_be_shortened_is_shown_as_it_is() -> None:
    class Stubborn(ExceptionGroup[Exception]):
        @override
        def derive(self, excs: Any, /) -> Any:
            raise TypeError

    few = ExceptionGroup("few", [ValueError(n) for n in range(15)])
    stubborn = Stubborn("many", [ValueError(n) for n in range(16)])

    assert with_few_members(few) is few
    assert with_few_members(stubborn) is stubborn
    assert "and 1 more exception" in describe(stubborn).traceback
