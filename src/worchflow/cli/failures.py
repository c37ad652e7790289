"""From an error to what the user reads and to the exit code."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from ..errors import (
    ConfigurationError,
    ExecutionCancelled,
    ExecutionConflict,
    ExecutionFailed,
    ExecutionNotFound,
    InvalidInput,
    StoreUnavailable,
    WorchflowError,
    WrongState,
)
from .output import talk

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2
INTERNAL = 70
"""A bug of the library; `EX_SOFTWARE` of sysexits.h."""
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
)


class WaitTimedOut(WorchflowError):
    """A command waited as long as it was allowed to."""

    code = "WF3006"


class AmbiguousId(InvalidInput):
    """The beginning of an id fits several executions."""

    code = "WF4007"


class AppImportError(ConfigurationError):
    """The user's module raised while it was imported; `traceback` is its own."""

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
        talk(trace.rstrip("\n"))
    talk(f"{error} [{error.code}]", label="error: ")
    if isinstance(error, ExecutionFailed) and error.execution_id:
        talk(
            f"its steps: worchflow executions show {error.execution_id}\n"
            f"run it again: worchflow executions retry {error.execution_id}"
        )


def exit_on_errors(command: Callable[[], object]) -> None:
    """Run the command line; every error of the library ends it with its code."""
    try:
        command()
    except WorchflowError as error:
        report(error)
        sys.exit(exit_code(error))
    except Exception:  # noqa: BLE001 - the last one to see it
        talk(traceback.format_exc())
        talk("this is a bug of Worchflow: please report it [WF1000]", label="error: ")
        sys.exit(INTERNAL)
