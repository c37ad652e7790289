"""From an error to what the user reads and to the exit code."""

from __future__ import annotations

import sys
import traceback
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer

from ..foundations.errors import (
    ConfigurationError,
    EventConflict,
    ExecutionCancelled,
    ExecutionConflict,
    ExecutionFailed,
    ExecutionNotFound,
    InvalidInput,
    StoreUnavailable,
    WorchflowError,
    WrongState,
)
from .output import print_to_stderr
from .streams import NotWritten, not_written

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""Click's `UsageError`, which typer has beside it or inside, as its version likes."""
INTERNAL = 70
"""A bug of the library; `EX_SOFTWARE` of sysexits.h."""
NO_OUTPUT = 74
"""Stdout takes nothing; `EX_IOERR` of sysexits.h."""
TIMED_OUT = 124
INTERRUPTED = 130

EXIT_CODES: tuple[tuple[type[WorchflowError], int], ...] = (
    (ExecutionFailed, 1),
    (ExecutionCancelled, 1),
    (ConfigurationError, USAGE),
    (InvalidInput, USAGE),
    (StoreUnavailable, 3),
    (ExecutionNotFound, 4),
    (WrongState, 5),
    (ExecutionConflict, 5),
    (EventConflict, 5),
    (NotWritten, NO_OUTPUT),
)


class WaitTimedOut(WorchflowError):
    """A command waited as long as it was allowed to."""

    code = "WF3006"


class AmbiguousId(InvalidInput):
    """The beginning of an id fits several executions."""

    code = "WF4007"


class AppFailed(ConfigurationError):
    """The app's module or lifespan raised; `traceback` is its own."""

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


def exit_code(error: WorchflowError) -> int:
    """The documented exit code of a command that ended with this error."""
    if isinstance(error, WaitTimedOut):
        return TIMED_OUT
    for kind, code in EXIT_CODES:
        if isinstance(error, kind):
            return code
    return INTERNAL


def report(error: WorchflowError) -> None:
    """Tell on stderr what happened, the way out, and the error's stable code."""
    trace = getattr(error, "traceback", "")
    if trace:
        print_to_stderr(trace.rstrip("\n"))
    place = f" {error.place}" if isinstance(error, ExecutionNotFound) else ""
    print_to_stderr(f"{error}{place} [{error.code}]", label="error: ")
    if isinstance(error, WaitTimedOut) and error.execution_id:
        quoted = quote(error.execution_id)
        print_to_stderr(
            f"why it waits: worchflow executions show {quoted}\n"
            f"wait longer: worchflow executions result {quoted} --wait"
        )
    if isinstance(error, ExecutionFailed) and error.execution_id:
        print_to_stderr(
            f"its steps: worchflow executions show {error.execution_id}\n"
            f"run it again: worchflow executions retry {error.execution_id}"
        )


def exit_on_errors(command: Callable[[], object]) -> None:
    """Run the command line; every error ends it with its code, told in one style."""
    try:
        code = command()
    except WorchflowError as error:
        report(error)
        sys.exit(exit_code(error))
    except USAGE_ERROR as error:
        _report_usage(error)
        sys.exit(USAGE)
    except typer.Abort:
        print_to_stderr("aborted")
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last one to see it
        sys.exit(_report_unforeseen(error))
    sys.exit(code if isinstance(code, int) else 0)


def _report_unforeseen(error: Exception) -> int:
    """A bug, unless typer could not print what it prints itself, such as help."""
    innermost = traceback.extract_tb(error.__traceback__)[-1].name
    if isinstance(error, OSError) and innermost == "echo":
        report(not_written(error))
        return NO_OUTPUT
    print_to_stderr(traceback.format_exc())
    print_to_stderr(
        "this is a bug of Worchflow: please report it [WF1000]", label="error: "
    )
    return INTERNAL


def _report_usage(error: Any) -> None:
    """What typer found wrong, as everything else is told."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    path = error.ctx.command_path if error.ctx else "worchflow"
    message = error.format_message()
    print_to_stderr(
        f"{message.rstrip('.')}. See {path} --help [{ConfigurationError.code}]",
        label="error: ",
    )
