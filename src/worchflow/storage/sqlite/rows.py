"""Rows of the database as records, and records as rows."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ...foundations.errors import WorchflowError
from ...foundations.json_text import json_text
from ...foundations.milliseconds import from_milliseconds, to_milliseconds
from ...model.records import (
    AttemptOutcome,
    AttemptRecord,
    ErrorInfo,
    ExecutionStatus,
    Parent,
    StepStatus,
    StoredExecution,
    StoredStep,
)
from ...model.settlement import only_attempt
from ...model.step_kind import StepKind
from .times import due_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from ...foundations.types import T
    from ...model.records import NewExecution

Row = tuple[Any, ...]
Parameters: TypeAlias = "Sequence[Any] | Mapping[str, Any]"


class NewExecutionRow(NamedTuple):
    """What an insert writes of an execution, under the names of the columns."""

    id: str
    event_name: str
    event_data: str
    nonce: str
    created_at: int
    due_at: int
    run_at: int | None
    headers: str | None
    tags: str | None
    parent: str | None
    parent_nonce: str | None
    parent_step: str | None
    parent_token: int | None
    leaves: int | None
    depth: int | None


class ExecutionRow(NamedTuple):
    """What is read of an execution, under the names of the columns."""

    id: Any
    event_name: Any
    event_data: Any
    status: Any
    created_at: Any
    updated_at: Any
    function_id: Any
    result: Any
    error_type: Any
    error_message: Any
    error_traceback: Any
    error_step: Any
    attempt_count: Any
    recoveries: Any
    started_at: Any
    finished_at: Any
    run_at: Any
    owner: Any
    reason: Any
    token: Any
    cancel_requested: Any
    cancel_reason: Any
    nonce: Any
    deaths: Any
    headers: Any
    tags: Any
    attempts: Any
    done_by: Any
    wakeups: Any
    has_waits: Any
    attempt_started_at: Any
    parent: Any
    parent_nonce: Any
    parent_step: Any
    parent_token: Any
    leaves: Any
    depth: Any
    has_children: Any
    retry_token: Any
    eligible_at: Any
    deadline_at: Any


class StepRow(NamedTuple):
    """What is written and read of a step, under the names of the columns."""

    step_id: Any
    title: Any
    status: Any
    result: Any
    error_type: Any
    error_message: Any
    error_traceback: Any
    error_step: Any
    attempts: Any
    started_at: Any
    finished_at: Any
    key: Any
    kind: Any
    attempt: Any
    error_class: Any


NEW_EXECUTION_COLUMNS = ", ".join(NewExecutionRow._fields)
NEW_EXECUTION_VALUES = ", ".join(
    f"ifnull({each}, 0)" if each in {"leaves", "depth"} else each
    for each in NewExecutionRow._fields
)
"""Those of a row; what most have none of is not given as 0, for that takes longer."""
EXECUTION_COLUMNS = ", ".join(ExecutionRow._fields)
STEP_COLUMNS = ", ".join(StepRow._fields)

BAD_ROW = (ValueError, TypeError, AttributeError, LookupError, OverflowError, OSError)
"""What reading a row that was damaged or written by somebody else raises."""


class UnreadableRowError(WorchflowError):
    """A row of the database does not hold what this release writes there."""


def one_of(statuses: Iterable[ExecutionStatus]) -> str:
    """The condition that an execution has one of these statuses.

    For more than two, `IN` would fill a table with them in each run of a statement.
    """
    words = [f"status = '{status.value}'" for status in sorted(statuses)]
    return f"({' OR '.join(words)})"


def fetch(
    connection: sqlite3.Connection, statement: str, parameters: Parameters = ()
) -> list[Row]:
    """All rows of a query; text that is not UTF-8 comes as bytes."""
    return read_rows(connection, statement, parameters, sqlite3.Cursor.fetchall)


def read_rows(
    connection: sqlite3.Connection,
    statement: str,
    parameters: Parameters,
    read: Callable[[sqlite3.Cursor], T],
) -> T:
    """What `read` makes of a query's rows; text that is not UTF-8 comes as bytes.

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


def new_execution_row(execution: NewExecution, now: int) -> NewExecutionRow:
    """The row of an accepted execution; `now` is the store's."""
    run_at: int | None = None
    if execution.run_at is not None:
        run_at = to_milliseconds(execution.run_at)
    elif execution.delay is not None and execution.delay > 0:
        run_at = due_after(now, execution.delay)
    return NewExecutionRow(  # by place, like `step_row`
        execution.id,
        execution.event_name,
        execution.event_data,
        execution.nonce,
        to_milliseconds(execution.created_at),
        # A moment that has passed does not jump the queue.
        now if run_at is None else max(now, run_at),
        run_at,
        json_text(dict(execution.headers)) if execution.headers else None,
        json_text(list(execution.tags)) if execution.tags else None,
        *_parent_row(execution.parent),
        execution.depth or None,
    )


def read_execution(row: Row) -> StoredExecution:
    """The execution in a row of `EXECUTION_COLUMNS`, or `UnreadableRowError`."""
    columns = ExecutionRow._make(row)
    try:
        return StoredExecution(
            id=_text(columns.id),
            event_name=_text(columns.event_name),
            event_data=_text(columns.event_data),
            status=ExecutionStatus(columns.status),
            created_at=from_milliseconds(columns.created_at),
            updated_at=from_milliseconds(columns.updated_at),
            function_id=_text_or_none(columns.function_id),
            result=_text_or_none(columns.result),
            error=_error(columns),
            attempt_count=_number(columns.attempt_count),
            recoveries=_number(columns.recoveries),
            started_at=moment_or_none(columns.started_at),
            finished_at=moment_or_none(columns.finished_at),
            run_at=moment_or_none(columns.run_at),
            worker=_text_or_none(columns.owner),
            reason=_text_or_none(columns.reason),
            token=_number(columns.token),
            cancel_requested=bool(columns.cancel_requested),
            cancel_reason=_text_or_none(columns.cancel_reason),
            nonce=_text(columns.nonce),
            deaths=max(0, _number(columns.deaths)),
            headers=_headers(columns.headers),
            tags=_tags(columns.tags),
            attempts=_attempts(columns),
            wakeups=_number(columns.wakeups),
            has_waits=bool(columns.has_waits),
            attempt_started_at=moment_or_none(columns.attempt_started_at),
            parent=_parent(columns),
            depth=_number(columns.depth),
            has_children=bool(columns.has_children),
            retry_token=_number(columns.retry_token),
            eligible_at=moment_or_none(columns.eligible_at),
            deadline_at=moment_or_none(columns.deadline_at),
        )
    except BAD_ROW as error:
        raise UnreadableRowError(
            f"the row of execution {columns.id!r} cannot be read: {error}",
            execution_id=str(columns.id),
        ) from error


def read_step(row: Row) -> StoredStep:
    """The step in a row of `STEP_COLUMNS`, or `UnreadableRowError`."""
    columns = StepRow._make(row)
    try:
        return StoredStep(
            step_id=_text(columns.step_id),
            title=_text(columns.title),
            status=StepStatus(columns.status),
            result=_text_or_none(columns.result),
            error=_error(columns),
            attempts=_number(columns.attempts),
            started_at=moment_or_none(columns.started_at),
            finished_at=moment_or_none(columns.finished_at),
            key=_text_or_none(columns.key),
            kind=StepKind.of(columns.kind),
            attempt=None if columns.attempt is None else _number(columns.attempt),
            error_class=_text_or_none(columns.error_class),
        )
    except BAD_ROW as error:
        raise UnreadableRowError(
            f"the row of step {columns.title!r} cannot be read: {error}"
        ) from error


def step_row(step: StoredStep) -> StepRow:
    """The values of `STEP_COLUMNS`."""
    return StepRow(  # by place: names take three times as long, and this is each step
        step.step_id,
        step.title,
        step.status.value,
        step.result,
        *error_row(step.error),
        step.attempts,
        milliseconds_or_none(step.started_at),
        milliseconds_or_none(step.finished_at),
        step.key,
        None if step.kind is StepKind.RUN else step.kind.value,
        step.attempt,
        step.error_class,
    )


ErrorRow: TypeAlias = tuple[str | None, str | None, str | None, str | None]


def error_row(error: ErrorInfo | None) -> ErrorRow:
    """The values of the error columns: type, message, traceback and step."""
    if error is None:
        return (None, None, None, None)
    return (error.type, error.message, error.traceback, error.step)


def milliseconds_or_none(moment: datetime | None) -> int | None:
    """Integer milliseconds of a moment that may be unknown."""
    return None if moment is None else to_milliseconds(moment)


def _attempts(columns: ExecutionRow) -> tuple[AttemptRecord, ...]:
    if columns.attempts is None:
        if columns.status != ExecutionStatus.COMPLETED:
            return ()
        return only_attempt(
            _number(columns.token),
            _text_or_none(columns.done_by),
            moment_or_none(columns.started_at),
            moment_or_none(columns.finished_at),
        )
    return tuple(
        AttemptRecord(
            number=_number(each["number"]),
            worker=_text(each["worker"]),
            started_at=from_milliseconds(each["started_at"]),
            ended_at=from_milliseconds(each["ended_at"]),
            outcome=AttemptOutcome(each["outcome"]),
            error=ErrorInfo(**each["error"]) if each["error"] else None,
        )
        for each in json.loads(columns.attempts)
    )


def _parent_row(
    parent: Parent | None,
) -> tuple[str | None, str | None, str | None, int | None, int | None]:
    if parent is None:
        return (None, None, None, None, None)
    leaves = int(parent.leaves)
    return (parent.id, parent.nonce, parent.step_id, parent.token, leaves)


def _parent(columns: ExecutionRow) -> Parent | None:
    if columns.parent is None:
        return None
    return Parent(
        id=_text(columns.parent),
        nonce=_text(columns.parent_nonce),
        step_id=_text(columns.parent_step),
        token=_number(columns.parent_token),
        leaves=bool(columns.leaves),
    )


def _decode(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _error(columns: ExecutionRow | StepRow) -> ErrorInfo | None:
    if columns.error_type is None:
        return None
    return ErrorInfo(
        type=_text(columns.error_type),
        message=_text(columns.error_message),
        traceback=_text(columns.error_traceback),
        step=_text_or_none(columns.error_step),
    )


def moment_or_none(value: Any) -> datetime | None:
    """The moment of milliseconds in a column that may hold none."""
    return None if value is None else from_milliseconds(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r:.80} is not a text")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _headers(text: Any) -> dict[str, str]:
    if text is None:
        return {}
    pairs: list[tuple[str, Any]] = list(json.loads(text).items())
    return {name: _text(value) for name, value in pairs}


def _tags(text: Any) -> tuple[str, ...]:
    return () if text is None else tuple(map(_text, json.loads(text)))


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.80} is not a whole number")
    return value
