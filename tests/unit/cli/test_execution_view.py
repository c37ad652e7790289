"""An execution in a terminal: short, and nothing of it lost or invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worchflow.cli.execution_view import (
    MAX_PARTS,
    MAX_RESULT_LENGTH,
    MAX_VALUE_LENGTH,
    Shown,
    execution_row,
    print_execution,
    short_rows,
)
from worchflow.cli.output import Output, OutputFormat
from worchflow.model.records import (
    ErrorInfo,
    Execution,
    ExecutionStatus,
    StepRecord,
    StepStatus,
    WaitRecord,
)
from worchflow.model.step_kind import StepKind

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ERROR = ErrorInfo(type="ValueError", message="no\x1b[2J", traceback="", step="Charge")
MADE = "443be08a-6165-4b39-a69c-072ea4e58c5d"
QUEUED = Execution(
    id=MADE,
    event_name="pay",
    function_id=None,
    data={"amount": 5},
    status=ExecutionStatus.QUEUED,
    result=None,
    error=None,
    attempt_count=0,
    recoveries=0,
    created_at=NOW,
    updated_at=NOW,
    started_at=None,
    finished_at=None,
    run_at=None,
    worker=None,
    reason=None,
    cancel_requested=False,
)
DONE = replace(
    QUEUED,
    status=ExecutionStatus.COMPLETED,
    attempt_count=2,
    started_at=NOW,
    finished_at=NOW + timedelta(seconds=90),
)
STEP = StepRecord(
    execution_id=MADE,
    step_id="s",
    title="Charge",
    key="7",
    status=StepStatus.COMPLETED,
    result="x" * 200,
    error=None,
    attempts=1,
    started_at=NOW,
    finished_at=NOW,
)


def shown(
    capsys: pytest.CaptureFixture[str],
    execution: Execution,
    *steps: StepRecord,
    waits: Sequence[WaitRecord] = (),
    reason: str | None = None,
    children: Sequence[Execution] = (),
    has_more_children: bool = False,
) -> str:
    shown = Shown(
        execution=execution,
        steps=steps,
        waits=waits,
        children=children,
        has_more_children=has_more_children,
        reason=reason,
    )
    print_execution(Output(OutputFormat.TABLE), shown)
    return capsys.readouterr().out


def wait(title: str, kind: StepKind, **fields: Any) -> WaitRecord:
    values = dict.fromkeys(("deadline", "event", "key", "token"))
    own = {"execution_id": MADE, "step_id": title, "title": title, "kind": kind}
    return WaitRecord(**values | own | fields)


def facts(text: str) -> dict[str, str]:
    """The named values above the steps."""
    lines = text.partition("\n\n")[0].splitlines()
    pairs = (line.split(maxsplit=1) for line in lines)
    return {name: value.strip() for name, value in pairs}


def test_a_line_counts_the_attempt_that_runs_or_has_completed() -> None:
    assert execution_row(QUEUED)[1:4] == ("queued", "pay", "0")
    assert execution_row(DONE)[3:] == ("3", "2026-01-01 12:00:00Z", "1 min 30 s")
    failed = replace(DONE, status=ExecutionStatus.FAILED)
    assert execution_row(failed)[3] == "2"


@pytest.mark.parametrize(
    ("ids", "short"),
    [
        ([MADE], ["443be08a"]),
        ([MADE, MADE[:9] + "7" + MADE[10:]], [MADE[:10], MADE[:9] + "7"]),
        (["order-of-ada-lovelace-1"], ["order-of-ada-lovelac"]),
        (["order-of-ada-lovelace-1", "order-of-ada-lovelace-12"], None),
        (["order", "order-1"], ["order", "order-1"]),
    ],
)
def test_a_short_id_is_the_beginning_of_no_other(
    ids: list[str], short: list[str] | None
) -> None:
    rows = short_rows([replace(QUEUED, id=id_) for id_ in ids], NOW)

    assert [row[0] for row in rows] == (short or ids)


@pytest.mark.parametrize(
    ("later", "age"),
    [(-5, "0 s ago"), (59, "59 s ago"), (3599, "59 min ago"), (90_000, "1 d ago")],
)
def test_an_age_has_one_unit_and_is_never_negative(later: float, age: str) -> None:
    [row] = short_rows([QUEUED], NOW + timedelta(seconds=later))

    assert row[4] == age


def test_what_there_is_not_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, replace(QUEUED, reason="internal"), reason="for a worker")

    assert list(facts(text)) == [
        *("id", "status", "waiting", "event", "data", "attempts", "created")
    ]
    assert facts(text)["waiting"] == "for a worker"
    assert text.endswith("No step is recorded.\n")


def test_a_deadline_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    limited = replace(QUEUED, deadline_at=datetime(2030, 1, 31, 9, tzinfo=UTC))

    assert facts(shown(capsys, limited))["deadline"] == "2030-01-31 09:00:00Z"


def test_a_result_of_null_is_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert facts(shown(capsys, DONE))["result"] == "null"
    assert "result" not in facts(shown(capsys, QUEUED))


def test_an_end_is_told_with_its_reason_and_its_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended: Any = {"status": ExecutionStatus.CANCELLED, "reason": "asked"}
    text = shown(capsys, replace(DONE, error=ERROR, recoveries=2, **ended))

    told = facts(text)
    assert (told["reason"], told["attempts"]) == ("asked", "2 (2 failed)")
    assert "failed in   step Charge" in text
    assert told["recoveries"] == "survived 2 worker deaths"
    assert text.endswith("\n\nValueError: no\\x1b[2J\n")


@pytest.mark.parametrize(
    ("status", "begun", "failed", "attempts"),
    [
        ("queued", False, 0, "0 (0 failed)"),
        ("waiting", True, 0, "1 (0 failed)"),
        ("sleeping", True, 2, "3 (2 failed)"),
        ("retrying", True, 1, "1 (1 failed)"),
        ("cancelled", True, 0, "1 (0 failed)"),
        ("cancelled", False, 0, "0 (0 failed)"),
        ("completed", True, 0, "1 (0 failed)"),
    ],
)
def test_an_attempt_that_waits_or_was_cancelled_is_one(
    capsys: pytest.CaptureFixture[str],
    status: str,
    begun: bool,
    failed: int,
    attempts: str,
) -> None:
    execution = replace(
        QUEUED,
        status=ExecutionStatus(status),
        started_at=NOW if begun else None,
        attempt_count=failed,
    )

    assert facts(shown(capsys, execution))["attempts"] == attempts


def test_what_was_waited_for_does_not_tell_how_long_its_last_replay_took(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered = replace(STEP, kind=StepKind.TOKEN, title="Manager", key=None, result=1)

    [line] = step_lines(shown(capsys, QUEUED, answered))

    assert line.split() == ["1", "Manager", "completed", "1", "1"]


def test_payloads_are_cut_and_a_failed_step_shows_its_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = replace(STEP, status=StepStatus.FAILED, error=ERROR, key=None)
    large = replace(QUEUED, data="y" * MAX_VALUE_LENGTH)

    text = shown(capsys, large, STEP, failed)

    assert "y" * (MAX_VALUE_LENGTH - 2) + "…" in text
    first, second = text.splitlines()[-2:]
    assert first.split() == [
        *("1", "Charge", "(7)", "completed", "1", "0", "ms"),
        '"' + "x" * (MAX_RESULT_LENGTH - 2) + "…",
    ]
    assert second.split(maxsplit=6)[1:3] == ["Charge", "failed"]
    assert second.endswith("ValueError: no\\x1b[2J")


def test_what_it_waits_for_is_shown_with_its_deadline(
    capsys: pytest.CaptureFixture[str],
) -> None:
    waits = [
        wait("Nap", StepKind.SLEEP, deadline=NOW),
        wait("Approval", StepKind.WAIT, event="approved", key="o-1"),
        wait("News", StepKind.WAIT, event="news", deadline=NOW),
        wait("Manager", StepKind.TOKEN, token="0" * 32),
        wait("Ship", StepKind.RUN, tries=2, deadline=NOW),
    ]

    text = shown(capsys, QUEUED, waits=waits)

    table = [line.split("  ") for line in text.splitlines()[-6:]]
    assert [[cell.strip() for cell in row if cell] for row in table] == [
        ["WAITS AT", "FOR", "UNTIL"],
        ["Nap", "the end of a sleep", "2026-01-01 12:00:00Z"],
        ["Approval", "event approved (key o-1)", "it comes"],
        ["News", "event news", "2026-01-01 12:00:00Z"],
        ["Manager", f"an answer to token {'0' * 32}", "it comes"],
        ["Ship", "try 3, after 2 failed", "2026-01-01 12:00:00Z"],
    ]


def items(count: int, status: StepStatus, title: str = "Resize") -> list[StepRecord]:
    fields: Any = {"title": title, "status": status, "result": None}
    if status is StepStatus.FAILED:
        fields["error"] = ERROR
    return [replace(STEP, key=f"[{n}]", **fields) for n in range(count)]


def step_lines(text: str) -> list[str]:
    """What is printed below the heading of the steps."""
    _, _, below = text.partition("RESULT\n")
    return below.splitlines()


def test_of_many_items_some_are_shown_and_the_rest_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    resized = items(10_000, StepStatus.COMPLETED)
    resized[7_000:7_002] = items(2, StepStatus.FAILED)
    own = replace(STEP, title="Resize", key=None, result=10_000, kind=StepKind.MAP)
    last = replace(STEP, title="Tell", key=None)

    lines = step_lines(shown(capsys, DONE, *resized, own, last))

    *first, failed, also_failed, the_own, told, more = lines
    assert len(first) == MAX_PARTS
    assert first[-1].split()[:4] == ["20", "Resize", "([19])", "completed"]
    # The number of a step is that of its place in the whole list.
    assert failed.split()[:4] == ["7001", "Resize", "([0])", "failed"]
    assert also_failed.split()[:4] == ["7002", "Resize", "([1])", "failed"]
    assert the_own.split()[:3] == ["10001", "Resize", "completed"]
    assert told.split()[:2] == ["10002", "Tell"]
    assert more == '… and 9,978 more of "Resize" completed; all are in -o json'


def test_of_many_failures_some_are_shown_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    children = [
        replace(each, kind=StepKind.INVOKE) for each in items(120, StepStatus.FAILED)
    ]

    lines = step_lines(shown(capsys, DONE, *children))

    assert len(lines) == MAX_PARTS + 1
    assert lines[-1] == '… and 100 more of "Resize" failed; all are in -o json'


def test_a_few_items_and_steps_without_a_key_are_all_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = items(MAX_PARTS, StepStatus.COMPLETED)
    loop = [replace(STEP, key=None)] * 50
    naps = [replace(STEP, key=str(n), kind=StepKind.SLEEP) for n in range(50)]

    lines = step_lines(shown(capsys, DONE, *few, *loop, *naps))

    assert len(lines) == MAX_PARTS + 100
    assert not any("more of" in line for line in lines)


def test_of_many_waits_the_first_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    waits = [
        *(wait("Page", StepKind.INVOKE, step_id=str(n)) for n in range(1_000)),
        wait("Approval", StepKind.WAIT, event="approved", key="o-1"),
    ]

    text = shown(capsys, QUEUED, waits=waits)

    lines = text.partition("UNTIL\n")[2].splitlines()
    assert len(lines) == MAX_PARTS + 2
    assert lines[0].startswith("Page ")
    assert lines[-2].startswith("Approval ")
    assert lines[-1] == '… and 980 more at "Page"; all are in -o json'
