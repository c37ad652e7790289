"""Errors become exit codes and lines on stderr, each with its stable code."""

from __future__ import annotations

import pytest
import typer

from worchflow.cli.failures import (
    AmbiguousId,
    AppFailed,
    WaitTimedOut,
    exit_code,
    exit_on_errors,
    report,
)
from worchflow.foundations.errors import (
    ConfigurationError,
    ExecutionConflict,
    ExecutionNotFound,
    StoreUnavailable,
    WorchflowError,
)


def raising(error: BaseException) -> None:
    raise error


def ended_with(error: BaseException) -> object:
    with pytest.raises(SystemExit) as caught:
        exit_on_errors(lambda: raising(error))
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 2),
        (AppFailed("x"), 2),
        (AmbiguousId("x", field="id"), 2),
        (StoreUnavailable("x"), 3),
        (ExecutionNotFound("x"), 4),
        (ExecutionConflict("x"), 5),
        (WaitTimedOut("x"), 124),
        (WorchflowError("x"), 70),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: WorchflowError, code: int) -> None:
    assert exit_code(error) == code
    assert ended_with(error) == code


def test_an_error_is_told_with_its_code_and_obeys_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report(AppFailed("broken\x1b[2J", traceback="own trace\n\n"))

    out, err = capsys.readouterr()
    assert out == ""
    assert err == (f"own trace\nerror: broken\\x1b[2J [{ConfigurationError.code}]\n")


def test_after_a_wait_the_next_commands_are_told_for_a_shell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report(WaitTimedOut("not yet", execution_id="a b"))

    assert capsys.readouterr().err.splitlines() == [
        "error: not yet [WF3006]",
        "why it waits: worchflow executions show 'a b'",
        "wait longer: worchflow executions result 'a b' --wait",
    ]


def test_a_bug_is_told_as_one_with_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended_with(ZeroDivisionError("x")) == 70
    err = capsys.readouterr().err
    assert "ZeroDivisionError: x" in err
    assert err.endswith("please report it [WF1000]\n")


def test_usage_and_abort_end_as_a_shell_expects(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended_with(typer.BadParameter("no such thing.")) == 2
    assert "no such thing. See worchflow --help" in capsys.readouterr().err
    assert ended_with(typer.Abort()) == 1


@pytest.mark.parametrize(("result", "code"), [(None, 0), ("x", 0), (3, 3)])
def test_a_command_that_raises_nothing_ends_with_its_number(
    result: object, code: int
) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_on_errors(lambda: result)
    assert caught.value.code == code
