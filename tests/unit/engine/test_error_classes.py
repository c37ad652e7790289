"""A failure that a resume repeats is caught by what had caught it at first."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from worchflow import RetryAfter, StepFailed
from worchflow.engine.error_classes import as_instance, class_path

FAILURE = StepFailed("no funds", title="Charge", error_type="Declined")


class DeclinedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"declined with {code}")
        self.code = code


class WithSlotsError(Exception):
    __slots__ = ("code",)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        DeclinedError(7),
        WithSlotsError(),
        OSError(2, "no such file"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
        asyncio.QueueFull(),
        RetryAfter("3s"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_it_is_an_instance_of_the_class_that_was_recorded(error: Exception) -> None:
    failure = as_instance(FAILURE, class_path(error))

    assert isinstance(failure, StepFailed)
    assert isinstance(failure, type(error))
    assert str(failure) == str(FAILURE) or isinstance(error, UnicodeDecodeError)
    assert (failure.title, failure.error_type) == ("Charge", "Declined")
    assert failure.counts_for_attempt


def local_class() -> type[Exception]:
    class LocalError(Exception):
        pass

    return LocalError


class RefusingError(Exception):
    def __new__(cls, *args: Any) -> Self:
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "nowhere:Nothing",
        "builtins:len",
        "builtins:SystemExit",
        "builtins:ValueError.args.x",
        class_path(local_class()()),
        f"{__name__}:RefusingError",
        f"{__name__}:FAILURE",
    ],
)
def test_what_is_no_such_class_is_left_out(path: str | None) -> None:
    failure = as_instance(FAILURE, path)

    assert type(failure) is StepFailed
    assert failure.counts_for_attempt


def test_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("it is imported")

    monkeypatch.setattr("builtins.__import__", refuse)

    assert type(as_instance(FAILURE, "antigravity:Error")) is StepFailed
