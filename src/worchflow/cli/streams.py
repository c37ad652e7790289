"""The standard streams: there from the beginning, and what comes when one fails."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from ..foundations.errors import WorchflowError

if TYPE_CHECKING:
    from typing import TextIO


class NotWritten(WorchflowError):
    """The system does not take what a command prints, as on a full disk."""

    code = "WF9001"


def prepare_streams() -> None:
    """Open streams that are missing, and let no terminal's encoding end the command."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It gets this very number, which nothing else may: libuv refuses it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(text: str) -> None:
    """Data for stdout; `NotWritten` where that takes no more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise not_written(error) from None


def write_if_possible(text: str) -> None:
    """Talk for stderr; where that takes no more, nobody can be told so."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def not_written(error: OSError) -> NotWritten:
    """What stdout refused; ends the command where its reader has enough."""
    _discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        sys.exit(128 + signal.SIGPIPE)
    return NotWritten(f"the output could not be written: {error.strerror}")


def _discard(stream: TextIO) -> None:
    # Python flushes it at the end, and would complain once more.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
