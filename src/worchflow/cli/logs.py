"""How the worker's log lines look: for people, or one JSON object a line."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..foundations.errors import WorchflowError
from ..serialization.exception_text import describe, is_from_here
from .output import json_text, printable, wants_color

if TYPE_CHECKING:
    from typing import TextIO

FIELDS = ("execution_id", "function", "step", "attempt")
SHORT_ID = 8
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
COLORS = {"DEBUG": 2, "WARNING": 33, "ERROR": 31, "CRITICAL": 31}


def set_up_logging(
    output_format: str, level: str, stream: TextIO | None = None
) -> None:
    """Send the log lines of the library and of the app to `stream`, else to stderr."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(
        JSONFormatter()
        if output_format == "json"
        else PrettyFormatter(wants_color(handler.stream))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Other libraries have a lot to say at "debug", and none of it is about the app.
    root.setLevel(max(logging.INFO, _number(level)))
    logging.getLogger("worchflow").setLevel(_number(level))


def tell_warnings() -> None:
    """Tell the library's warnings on stderr, for commands that keep no log."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(WarningFormatter())
    logging.getLogger().addHandler(handler)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


class WarningFormatter(logging.Formatter):
    """Level and message."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """The record as a person reads it."""
        text = printable(record.getMessage(), lines=True)
        return f"{record.levelname.lower()}: {text}"


class PrettyFormatter(logging.Formatter):
    """Time, level, message; what follows the first line is indented."""

    def __init__(self, color: bool) -> None:  # noqa: FBT001
        super().__init__()
        self._color = color

    @override
    def format(self, record: logging.LogRecord) -> str:
        """The record as one entry that cannot look like two."""
        moment = datetime.fromtimestamp(record.created).astimezone()
        text = _whose(record) + record.getMessage()
        if record.exc_info:
            text += "\n" + _traceback(self, record.exc_info)
        text = printable(text, lines=True).replace("\n", "\n    ")
        level = f"{record.levelname:<8}"
        if self._color and record.levelname in COLORS:
            level = f"\x1b[{COLORS[record.levelname]}m{level}\x1b[0m"
        return f"{moment:%H:%M:%S} {level} {text}"


def _traceback(output_format: logging.Formatter, exc_info: Any) -> str:
    """The traceback, bounded and without our frames; with them for a fault of ours."""
    error: BaseException | None = exc_info[1]
    if error is None or _is_fault(error):
        return output_format.formatException(exc_info)
    return describe(error).traceback.rstrip("\n")


def _is_fault(error: BaseException) -> bool:
    """Whether the library failed; a `TimeoutError` with a message is a step's."""
    meant = isinstance(error, WorchflowError) or (
        isinstance(error, TimeoutError) and bool(error.args)
    )
    return is_from_here(error) and not meant


def _whose(record: logging.LogRecord) -> str:
    """Execution and step of a line of `ctx.log`; the others name them themselves."""
    if record.name != "worchflow.execution":
        return ""
    fields = vars(record)
    words = [str(fields.get("execution_id", ""))[:SHORT_ID], fields.get("step")]
    if fields.get("replay"):
        words.append("replay")
    return f"[{' '.join(str(word) for word in words if word)}] "


class JSONFormatter(logging.Formatter):
    """One object: time, level, logger, message, then what the line is about."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        moment = datetime.fromtimestamp(record.created, UTC)
        entry: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extras = {
            name: value
            for name, value in vars(record).items()
            if name not in STANDARD and name not in entry
        }
        entry |= {name: extras.pop(name) for name in FIELDS if extras.get(name)}
        entry |= {name: value for name, value in extras.items() if value is not None}
        if record.exc_info:
            entry["traceback"] = _traceback(self, record.exc_info)
        return json_text(entry)
