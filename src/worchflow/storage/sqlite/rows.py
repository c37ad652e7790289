"""Rows of the database as records, and records as rows."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, TypeAlias

from ...foundations.clock import from_milliseconds, to_milliseconds
from ...foundations.errors import WorchflowError
from ...model.records import (
    ErrorInfo,
    ExecutionStatus,
    StepStatus,
    StoredExecution,
    StoredStep,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from ...foundations.types import T

Row = tuple[Any, ...]
Parameters: TypeAlias = "Sequence[Any] | Mapping[str, Any]"

EXECUTION_COLUMNS = (
    "id, event_name, event_data, status, created_at, updated_at, function_id, result, "
    "error_type, error_message, error_traceback, attempt_count, recoveries, "
    "started_at, finished_at, run_at, owner, reason, token, "
    "cancel_requested, cancel_reason, nonce, deaths, error_step"
)
STEP_COLUMNS = (
    "step_id, title, status, result, error_type, error_message, error_traceback, "
    "error_step, attempts, started_at, finished_at, key"
)

BAD_ROW = (ValueError, TypeError, OverflowError, OSError)
"""What reading a row that was damaged or written by somebody else raises."""


class UnreadableRowError(WorchflowError):
    """A row of the database does not hold what this release writes there."""


def fetch(
    connection: sqlite3.Connection, statement: str, parameters: Parameters = ()
) -> list[Row]:
    """All rows of a query; text that is no UTF-8 comes as bytes."""
    return read_rows(connection, statement, parameters, sqlite3.Cursor.fetchall)


def read_rows(
    connection: sqlite3.Connection,
    statement: str,
    parameters: Parameters,
    read: Callable[[sqlite3.Cursor], T],
) -> T:
    """What `read` makes of a query's rows; text that is no UTF-8 comes as bytes.

    It is called once more, from the first row on, where there is such text.
    """
    try:
        return read(connection.execute(statement, parameters))
    except sqlite3.OperationalError as error:
        # Python's own complaint about bad text has no code of SQLite.
        if getattr(error, "sqlite_errorcode", None) is not None:
            raise
    connection.text_factory = _decode
    try:
        return read(connection.execute(statement, parameters))
    finally:
        connection.text_factory = str


def read_execution(row: Row) -> StoredExecution:
    """The execution in a row of `EXECUTION_COLUMNS`, or `UnreadableRowError`."""
    try:
        return StoredExecution(
            id=_text(row[0]),
            event_name=_text(row[1]),
            event_data=_text(row[2]),
            status=ExecutionStatus(row[3]),
            created_at=from_milliseconds(row[4]),
            updated_at=from_milliseconds(row[5]),
            function_id=_text_or_none(row[6]),
            result=_text_or_none(row[7]),
            error=_error(row[8], row[9], row[10], row[23]),
            attempt_count=_number(row[11]),
            recoveries=_number(row[12]),
            started_at=_moment(row[13]),
            finished_at=_moment(row[14]),
            run_at=_moment(row[15]),
            worker=_text_or_none(row[16]),
            reason=_text_or_none(row[17]),
            token=_number(row[18]),
            cancel_requested=bool(row[19]),
            cancel_reason=_text_or_none(row[20]),
            nonce=_text(row[21]),
            deaths=max(0, _number(row[22])),
        )
    except BAD_ROW as error:
        raise UnreadableRowError(
            f"the row of execution {row[0]!r} cannot be read: {error}",
            execution_id=str(row[0]),
        ) from error


def read_step(row: Row) -> StoredStep:
    """The step in a row of `STEP_COLUMNS`, or `UnreadableRowError`."""
    try:
        return StoredStep(
            step_id=_text(row[0]),
            title=_text(row[1]),
            status=StepStatus(row[2]),
            result=_text_or_none(row[3]),
            error=_error(row[4], row[5], row[6], row[7]),
            attempts=_number(row[8]),
            started_at=_moment(row[9]),
            finished_at=_moment(row[10]),
            key=_text_or_none(row[11]),
        )
    except BAD_ROW as error:
        raise UnreadableRowError(
            f"the row of step {row[1]!r} cannot be read: {error}"
        ) from error


def step_row(step: StoredStep) -> Row:
    """The values of `STEP_COLUMNS`."""
    return (
        step.step_id,
        step.title,
        step.status.value,
        step.result,
        *error_row(step.error),
        step.attempts,
        milliseconds_or_none(step.started_at),
        milliseconds_or_none(step.finished_at),
        step.key,
    )


def error_row(error: ErrorInfo | None) -> tuple[str | None, ...]:
    """The values of the error columns: type, message, traceback and step."""
    if error is None:
        return (None, None, None, None)
    return (error.type, error.message, error.traceback, error.step)


def milliseconds_or_none(moment: datetime | None) -> int | None:
    """Integer milliseconds of a moment that may be unknown."""
    return None if moment is None else to_milliseconds(moment)


def json_list(values: Sequence[object]) -> str:
    """Numbers and texts as one parameter, for `json_each`."""
    return json.dumps(values, ensure_ascii=False)


def _decode(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _error(type_: Any, message: Any, traceback: Any, step: Any) -> ErrorInfo | None:
    if type_ is None:
        return None
    return ErrorInfo(
        type=_text(type_),
        message=_text(message),
        traceback=_text(traceback),
        step=_text_or_none(step),
    )


def _moment(value: Any) -> datetime | None:
    return None if value is None else from_milliseconds(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r:.80} is no text")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.80} is no whole number")
    return value
