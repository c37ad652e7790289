"""An execution as a person reads it in a terminal."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..foundations.durations import format_duration
from ..model.records import StepStatus
from ..model.step_kind import StepKind
from .output import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ..model.records import AttemptRecord, Execution, StepRecord, WaitRecord
    from .output import Output

MAX_VALUE_LENGTH = 2000
"""Characters of a payload; the whole of it is in `-o json`."""
MAX_RESULT_LENGTH = 100
MAX_PARTS = 20
"""Steps of one title and status that are shown, of those that a key tells apart; and
waits of one title."""
PARTS = frozenset({StepKind.RUN, StepKind.INVOKE})
"""Kinds of steps of which a `step.map` or a `step.invoke_many` has many."""

HEADER = ("ID", "STATUS", "EVENT", "ATTEMPTS", "CREATED", "TOOK")
"""Of what `execution_row` gives."""
MADE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHORT_MADE_ID = 8
SHORT_OWN_ID = 20
"""Ids that a user chose often begin alike, and their beginning is read as a word."""

T = TypeVar("T")


def execution_row(execution: Execution) -> Sequence[str]:
    """Its line in the listing; the attempts include the one that runs."""
    return (
        execution.id,
        execution.status.value,
        execution.event_name,
        str(_attempts(execution)),
        _moment(execution.created_at) or "",
        _took(execution.started_at, execution.finished_at),
    )


def short_rows(
    executions: Sequence[Execution], now: datetime
) -> Iterable[Sequence[str]]:
    """The same lines for a terminal: short ids, and how long ago instead of when.

    A short id is the beginning of an id that no other one in the listing has.
    """
    ids = {each.id for each in executions}
    for each in executions:
        full = execution_row(each)
        age = _age((now - each.created_at).total_seconds())
        yield (_short_id(each.id, ids), *full[1:4], f"{age} ago", *full[5:])


def _age(seconds: float) -> str:
    """In one unit: `4 s`, `12 min`, `3 h`, `20 d`."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else " ".join(format_duration(whole).split()[:2])


def _short_id(id: str, ids: Iterable[str]) -> str:
    length = SHORT_MADE_ID if MADE_ID.fullmatch(id) else SHORT_OWN_ID
    others = [other for other in ids if other != id]
    while any(other.startswith(id[:length]) for other in others) and length < len(id):
        length += 1
    return id[:length]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """An execution with what is recorded of it, and why it waits."""

    execution: Execution
    steps: Sequence[StepRecord]
    waits: Sequence[WaitRecord]
    children: Sequence[Execution]
    """The newest."""
    has_more_children: bool
    reason: str | None


def print_execution(out: Output, shown: Shown) -> None:
    """Everything about one execution; the answer to "why does it wait?" first."""
    execution = shown.execution
    out.fields(_facts(execution, shown.reason))
    out.line("")
    if shown.steps:
        rows, left_out = _step_rows(shown.steps)
        out.table(("", "STEP", "STATUS", "TRIES", "TOOK", "RESULT"), rows)
        for line in _more_steps(left_out):
            out.line(line)
    else:
        out.line("No step is recorded.")
    if shown.waits:
        out.line("")
        rows, more = _wait_rows(shown.waits)
        out.table(("WAITS AT", "FOR", "UNTIL"), rows)
        for title, count in more.items():
            out.line(f'… and {count:,} more at "{title}"; all are in -o json')
    if shown.children:
        out.line("")
        rows = [execution_row(each) for each in shown.children]
        out.table(("CHILD", *HEADER[1:]), rows)
    if shown.has_more_children:
        out.line(f"There are more: worchflow executions list --parent {execution.id}")
    if len(execution.attempts) > 1:
        out.line("")
        out.table(
            ("ATTEMPT", "OUTCOME", "STARTED", "TOOK", "WORKER", "ERROR"),
            [_attempt_row(each) for each in execution.attempts],
        )
    if execution.error is not None:
        out.text(f"\n{_traceback(execution)}")


def _facts(
    execution: Execution, reason: str | None
) -> Iterable[tuple[str, str | None]]:
    yield "id", execution.id
    yield "status", execution.status.value
    yield "waiting", reason
    if execution.status.is_terminal and execution.reason is not None:
        yield "reason", execution.reason
    yield "event", execution.event_name
    yield "function", execution.function_id
    yield "parent", execution.parent
    yield "data", _short(execution.data, MAX_VALUE_LENGTH)
    if execution.headers:
        yield "headers", _short(dict(execution.headers), MAX_VALUE_LENGTH)
    if execution.tags:
        yield "tags", ", ".join(execution.tags)
    if execution.status == "completed":
        yield "result", _short(execution.result, MAX_VALUE_LENGTH)
    yield "attempts", f"{_attempts(execution)} ({execution.attempt_count} failed)"
    if execution.error is not None and execution.error.step is not None:
        yield "failed in", f"step {execution.error.step}"
    if execution.recoveries:
        deaths = "death" if execution.recoveries == 1 else "deaths"
        yield "recoveries", f"survived {execution.recoveries} worker {deaths}"
    yield "created", _moment(execution.created_at)
    yield "due", _moment(execution.run_at)
    yield "deadline", _moment(execution.deadline_at)
    yield "started", _moment(execution.started_at)
    yield "finished", _moment(execution.finished_at)
    yield "took", _took(execution.started_at, execution.finished_at) or None
    yield "worker", execution.worker


def _attempt_row(attempt: AttemptRecord) -> Sequence[str]:
    error = attempt.error
    failure = "" if error is None else f"{error.type}: {error.message}"
    if error is not None and error.step is not None:
        failure = f"step {error.step}: {failure}"
    return (
        str(attempt.number),
        attempt.outcome.value,
        _moment(attempt.started_at) or "",
        _took(attempt.started_at, attempt.ended_at),
        attempt.worker,
        failure[:MAX_RESULT_LENGTH],
    )


def _wait_rows(
    waits: Sequence[WaitRecord],
) -> tuple[list[Sequence[str]], Counter[str]]:
    """The first of each title, and how many are left out of it."""
    seen: Counter[str] = Counter()
    rows: list[Sequence[str]] = []
    for wait in waits:
        seen[wait.title] += 1
        if seen[wait.title] <= MAX_PARTS:
            rows.append(_wait_row(wait))
    return rows, _above_most(seen)


def _wait_row(wait: WaitRecord) -> Sequence[str]:
    if wait.token is not None:
        what = f"an answer to token {wait.token}"
    elif wait.event is not None:
        key = "" if wait.key is None else f" (key {wait.key})"
        what = f"event {wait.event}{key}"
    elif wait.kind is StepKind.INVOKE:
        what = "the end of a child"
    elif wait.kind is StepKind.RUN:
        what = f"try {wait.tries + 1}, after {wait.tries} failed"
    else:
        what = "the end of a sleep"
    return wait.title, what, _moment(wait.deadline) or "it comes"


def _step_rows(
    steps: Sequence[StepRecord],
) -> tuple[list[Sequence[str]], Counter[tuple[str, StepStatus]]]:
    """A line a step, by its number, and how many parts of a title are left out."""
    seen: Counter[tuple[str, StepStatus]] = Counter()
    rows: list[Sequence[str]] = []
    for number, step in enumerate(steps, 1):
        if step.kind in PARTS and step.key is not None:
            parts = step.title, step.status
            seen[parts] += 1
            if seen[parts] > MAX_PARTS:
                continue
        rows.append(_step_row(number, step))
    return rows, _above_most(seen)


def _step_row(number: int, step: StepRecord) -> Sequence[str]:
    return (
        str(number),
        step.title if step.key is None else f"{step.title} ({step.key})",
        step.status.value,
        str(step.attempts),
        # Of others it would be the time since the execution last continued.
        _took(step.started_at, step.finished_at) if step.kind is StepKind.RUN else "",
        _step_result(step),
    )


def _more_steps(left_out: Counter[tuple[str, StepStatus]]) -> Iterable[str]:
    for (title, status), count in left_out.items():
        what = f'{count:,} more of "{title}" {status.value}'
        yield f"… and {what}; all are in -o json"


def _above_most(seen: Counter[T]) -> Counter[T]:
    """How many are left out, of what something is."""
    return seen - Counter(dict.fromkeys(seen, MAX_PARTS))


def _step_result(step: StepRecord) -> str:
    if step.status is StepStatus.FAILED and step.error is not None:
        return f"{step.error.type}: {step.error.message}"[:MAX_RESULT_LENGTH]
    if step.kind is StepKind.SLEEP:
        return "slept"
    return _short(step.result, MAX_RESULT_LENGTH)


def _attempts(execution: Execution) -> int:
    """Failed ones, and the one that runs, waits, was cancelled or has completed."""
    is_under_way = execution.status == "processing" or execution.status.is_suspended
    others = is_under_way or execution.status == "completed"
    begun = execution.started_at is not None
    return max(execution.attempt_count + others, int(begun))


def _traceback(execution: Execution) -> str:
    error = execution.error
    if error is None:
        return ""
    last_line = f"{error.type}: {error.message}"
    return error.traceback.rstrip("\n") or last_line


def _short(value: object, longest: int) -> str:
    text = json_text(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _took(started: datetime | None, finished: datetime | None) -> str:
    if started is None or finished is None:
        return ""
    return format_duration((finished - started).total_seconds())
