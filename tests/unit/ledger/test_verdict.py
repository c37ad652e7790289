"""The judge of the chaos runs: each way to break a promise is seen, each empty run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from worchflow.ledger import Kind, Line, Plan, check

FIRST, SECOND, HARNESS = 11, 22, 1
PLAN = Plan(
    executions=1, faults={"kill": 1}, mid_step=1, slots=1, width=1, drained_within=60
)


def written(*told: dict[str, Any]) -> list[Line]:
    """Lines a second apart; an entry may set its own time."""
    return [
        Line(**{"time": float(second), "pid": HARNESS, "execution": "e", **fields})
        for second, fields in enumerate(told, 1)
    ]


def plan(planned: Plan = PLAN) -> dict[str, Any]:
    fields = {name: getattr(planned, name) for name in Plan.__slots__}
    return {"kind": Kind.PLAN, "value": fields}


def work(kind: Kind, step: str, pid: int, token: int, value: Any = None) -> Any:
    return {"kind": kind, "step": step, "pid": pid, "token": token, "value": value}


def killed(pid: int, at: float, fault: str = "kill") -> dict[str, Any]:
    return {"kind": Kind.FAULT, "fault": fault, "target": pid, "asked": at}


def kept() -> list[Line]:
    """A worker is killed inside its second step; another continues from there."""
    return written(
        plan(),
        {"kind": Kind.ACCEPTED, "value": 5, "status": "completed"},
        work(Kind.START, "a", FIRST, 1),
        work(Kind.DONE, "a", FIRST, 1, "run 1"),
        work(Kind.ACKED, "a", FIRST, 1, "run 1"),
        work(Kind.START, "b", FIRST, 1),
        killed(FIRST, at=6.5),
        work(Kind.ACKED, "a", SECOND, 2, "run 1"),
        work(Kind.START, "b", SECOND, 2),
        work(Kind.DONE, "b", SECOND, 2, "run 2"),
        work(Kind.ACKED, "b", SECOND, 2, "run 2"),
        {"kind": Kind.CALM},
        {"kind": Kind.DRAINED},
        {"kind": Kind.ENDED, "status": "completed", "value": 5},
        {"kind": Kind.STORED, "step": "b", "value": "run 2"},
    )


def place(lines: Sequence[Line], kind: Kind, step: str = "", pid: int = 0) -> int:
    """Where the first such line is."""
    for number, line in enumerate(lines):
        fits = line.kind is kind and (not step or line.step == step)
        if fits and (not pid or line.pid == pid):
            return number
    raise LookupError(kind)


def without(kind: Kind) -> list[Line]:
    return [line for line in kept() if line.kind is not kind]


def changed(kind: Kind, *, step: str = "", pid: int = 0, **fields: Any) -> list[Line]:
    """The kept story with one line told differently."""
    lines = kept()
    number = place(lines, kind, step, pid)
    lines[number] = replace(lines[number], **fields)
    return lines


def after(kind: Kind, step: str, *told: dict[str, Any]) -> list[Line]:
    """The kept story with more lines after the last such one, a moment later."""
    lines = kept()
    last = max(
        n for n, line in enumerate(lines) if (line.kind, line.step) == (kind, step)
    )
    base = lines[last].time
    more = [replace(line, time=base + line.time / 100) for line in written(*told)]
    return [*lines[: last + 1], *more, *lines[last + 1 :]]


def test_a_run_that_kept_every_promise_passes() -> None:
    report = check(kept())

    assert report.passed, str(report)
    assert report.figures["steps started again"] == 1
    assert report.figures["processes hit inside a step"] == 1
    assert report.figures["seconds to drain"] == 1
    assert str(report).endswith("passed")


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("accepted and lost", without(Kind.ENDED)),
        ("accepted and lost", changed(Kind.ENDED, status="missing")),
        ("accepted and lost", changed(Kind.ENDED, status="retrying")),
        ("wrong end", changed(Kind.ENDED, status="failed")),
        ("wrong end", changed(Kind.ACCEPTED, status="failed")),
        ("wrong result", changed(Kind.ENDED, value=6)),
        (
            "recorded step started again",
            after(Kind.ACKED, "a", work(Kind.START, "a", SECOND, 2)),
        ),
        ("recorded value changed", changed(Kind.ACKED, pid=SECOND, value="x")),
        ("recorded value changed", changed(Kind.STORED, value="run 1")),
        (
            "two processes under one token",
            after(Kind.DONE, "b", work(Kind.START, "c", 33, 2)),
        ),
        (
            "step started after a takeover",
            after(Kind.DONE, "b", work(Kind.START, "c", FIRST, 1)),
        ),
        ("taken from a live owner", changed(Kind.FAULT, target=33)),
        ("taken from a live owner", changed(Kind.FAULT, asked=100.0, time=101.0)),
        ("step repeated without a cause", changed(Kind.FAULT, target=33)),
        (
            "step repeated without a cause",
            after(Kind.DONE, "b", work(Kind.START, "b", SECOND, 2)),
        ),
        ("too many repeats", [*written(plan(replace(PLAN, slots=0))), *kept()[1:]]),
        ("not drained", without(Kind.DRAINED)),
        ("not drained", changed(Kind.DRAINED, time=200.0)),
    ],
)
def test_a_broken_promise_is_named(kind: str, lines: list[Line]) -> None:
    report = check(lines)

    assert kind in {violation.kind for violation in report.violations}, str(report)
    assert not report.passed
    assert f"VIOLATION: {kind}" in str(report)


@pytest.mark.parametrize(
    ("doubt", "lines"),
    [
        ("0 plans", without(Kind.PLAN)),
        ("2 plans", [kept()[0], *kept()]),
        ("no end", without(Kind.CALM)),
        ("0 executions accepted of 1", without(Kind.ACCEPTED)),
        ("no step started", without(Kind.START)),
        ("kill: 0 hit work in progress of 1", without(Kind.FAULT)),
        ("kill: 0 hit work in progress of 1", changed(Kind.FAULT, fault="term")),
        ("kill: 0 hit work in progress of 1", changed(Kind.FAULT, target=33)),
        ("0 process(es) hit inside a step", changed(Kind.FAULT, time=2.0)),
    ],
)
def test_a_run_in_which_too_little_happened_proves_nothing(
    doubt: str, lines: list[Line]
) -> None:
    report = check(lines)

    assert not report.passed
    assert any(doubt in each for each in report.doubts), str(report)
    assert "PROVES NOTHING" in str(report)


def test_lines_that_cannot_be_read_prove_nothing() -> None:
    assert not check(kept(), torn=1).passed


def test_what_a_dead_process_left_undone_is_not_its_successors_of_the_same_id() -> None:
    lines = kept()
    again = written(
        work(Kind.START, "c", FIRST, 3),
        work(Kind.DONE, "c", FIRST, 3, "run 3"),
        killed(FIRST, at=22.5),
    )
    later = [replace(line, time=line.time + 20) for line in again]

    assert check([*lines, *later]).figures["processes hit inside a step"] == 1


def store_fault(at: float) -> list[Line]:
    """The kept story with a fault of a store at a time, and planned."""
    lines = kept()
    planned = replace(PLAN, faults={"flushall": 1})
    lines[0] = written(plan(planned))[0]
    fault = {"kind": Kind.FAULT, "fault": "flushall", "asked": at, "time": at}
    return [*lines, *written(fault)]


def test_a_fault_of_a_store_counts_if_work_was_in_progress() -> None:
    assert check(store_fault(8.5)).passed
    assert check(store_fault(1.5)).doubts, "nothing was accepted yet"
    assert check(store_fault(11.5)).doubts, "everything was done"


@pytest.mark.parametrize("step", ["b", ""])
def test_a_step_may_run_again_after_it_failed_on_purpose(step: str) -> None:
    lines = written(
        plan(Plan(executions=1)),
        {"kind": Kind.ACCEPTED, "value": 5},
        work(Kind.START, "b", FIRST, 1),
        work(Kind.FAILED, step, FIRST, 1),
        work(Kind.START, "b", FIRST, 1 if step else 2),
        {"kind": Kind.CALM},
        {"kind": Kind.DRAINED},
        {"kind": Kind.ENDED, "status": "completed", "value": 5},
    )

    assert check(lines).passed, str(check(lines))


def frozen(*, late: Callable[[], list[dict[str, Any]]]) -> list[Line]:
    """A worker freezes inside its first step, is taken over, and is resumed."""
    planned = Plan(executions=1, faults={"stop": 1}, mid_step=1)
    return written(
        plan(planned),
        {"kind": Kind.ACCEPTED, "value": 5},
        work(Kind.START, "a", FIRST, 1),
        killed(FIRST, at=3.5, fault="stop"),
        work(Kind.START, "a", SECOND, 2),
        work(Kind.DONE, "a", SECOND, 2, "run 2"),
        work(Kind.ACKED, "a", SECOND, 2, "run 2"),
        killed(FIRST, at=7.5, fault="cont"),
        *late(),
        {"kind": Kind.CALM},
        {"kind": Kind.DRAINED},
        {"kind": Kind.ENDED, "status": "completed", "value": 5},
    )


def test_one_start_after_a_freeze_before_the_call_is_counted_apart() -> None:
    lines = frozen(late=lambda: [work(Kind.START, "b", FIRST, 1)])
    report = check(lines)

    assert report.passed, str(report)
    assert report.figures["starts by a process that was frozen before the call"] == 1


def test_a_second_start_by_a_zombie_is_a_violation() -> None:
    lines = frozen(
        late=lambda: [
            work(Kind.START, "b", FIRST, 1),
            work(Kind.START, "c", FIRST, 1),
        ]
    )

    kinds = {violation.kind for violation in check(lines).violations}
    assert kinds == {"step started after a takeover"}


def test_a_start_by_a_zombie_that_had_looked_around_is_a_violation() -> None:
    lines = frozen(
        late=lambda: [
            work(Kind.DONE, "a", FIRST, 1, "run 1"),
            work(Kind.START, "b", FIRST, 1),
        ]
    )

    kinds = {violation.kind for violation in check(lines).violations}
    assert kinds == {"step started after a takeover"}


def test_a_try_beside_the_late_record_of_a_zombie_is_counted_apart() -> None:
    told: list[dict[str, Any]] = [
        work(Kind.START, "b", FIRST, 1),
        killed(FIRST, at=3.5, fault="stop"),
        work(Kind.START, "b", SECOND, 2),
        killed(FIRST, at=5.5, fault="cont"),
        work(Kind.ACKED, "b", FIRST, 1, "run 1"),
        work(Kind.FAILED, "b", SECOND, 2),
        work(Kind.START, "b", SECOND, 2),
        work(Kind.ACKED, "b", SECOND, 2, "run 1"),
    ]
    before: list[dict[str, Any]] = [
        plan(Plan(executions=1)),
        {"kind": Kind.ACCEPTED, "value": 5},
    ]
    after: list[dict[str, Any]] = [
        {"kind": Kind.CALM},
        {"kind": Kind.DRAINED},
        {"kind": Kind.ENDED, "status": "completed", "value": 5},
    ]
    report = check(written(*before, *told, *after))

    assert report.passed, str(report)
    figure = "tries beside the late record of a process that was frozen"
    assert report.figures[figure] == 1

    knowing = [*told[:5], work(Kind.START, "c", SECOND, 2), *told[5:]]
    del knowing[2]
    kinds = {v.kind for v in check(written(*before, *knowing, *after)).violations}
    assert kinds == {"recorded step started again"}


def test_long_lists_of_violations_are_cut() -> None:
    plan_line, accepted, *_ = kept()
    many = [replace(accepted, execution=f"e{number}") for number in range(25)]

    assert "and 15 more" in str(check([plan_line, *many]))


def test_any_end_will_do_where_none_was_told() -> None:
    any_end = changed(Kind.ACCEPTED, status="", value=None)
    number = place(any_end, Kind.ENDED)
    for status in ("failed", "cancelled", "completed"):
        any_end[number] = replace(any_end[number], status=status, value=None)
        assert check(any_end).passed
    any_end[number] = replace(any_end[number], status="retrying")
    assert not check(any_end).passed


def test_a_plan_that_is_given_stands_in_for_the_ledgers() -> None:
    demanding = replace(PLAN, faults={"kill": 2})

    assert check(kept(), plan=PLAN).passed
    assert not check(kept(), plan=demanding).passed
    assert check(without(Kind.PLAN), plan=PLAN).passed


def test_a_run_that_need_not_drain_in_time_may_take_its_time() -> None:
    assert check(without(Kind.DRAINED), plan=replace(PLAN, drained_within=None)).passed
