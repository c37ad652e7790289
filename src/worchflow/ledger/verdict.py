"""Judges a ledger: every promise held, or which was broken, or nothing was shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .book import Book, after_the_record, could_not_know, starts_again
from .lines import Kind, Line
from .report import Report, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .lines import Plan

TERMINAL = ("completed", "failed", "cancelled")


def check(lines: Sequence[Line], torn: int = 0, *, plan: Plan | None = None) -> Report:
    """Check the promises, and whether enough happened for that to mean anything.

    `torn` lines could not be read. `plan` stands in for the one in the ledger.

    - Nothing accepted is lost: each execution ends, as and with what was told when it
      was accepted.
    - A step whose result the handler had is never started again, and every reader
      sees the result of the same run of it. What a frozen process had run it may
      record when it continues; tries its successor makes meanwhile are counted apart.
    - One owner at a time: a token belongs to one process, no step starts under a
      lower token than one before, and an execution changes hands only after its
      owner was hit by a fault or its attempt failed. A process frozen between its
      last check and the call starts one step late; these are counted apart.
    - A step runs again only if the process of its last run was hit or its attempt
      failed, and no more often than hits times what a process has in the air.
    """
    book = Book(lines, plan)
    violations = [
        *_endings(book),
        *_recorded_steps(book),
        *_owners(book),
        *_repeats(book),
        *_draining(book),
    ]
    return Report(
        violations=violations,
        doubts=[*_doubts(book, torn)],
        figures=book.figures(),
    )


def _endings(book: Book) -> Iterator[Violation]:
    for execution, sent in book.accepted.items():
        ended = book.ended.get(execution)
        expected = sent.status
        if ended is None or ended.status not in TERMINAL:
            seen = ended.status if ended else "nothing"
            yield Violation("accepted and lost", execution, f"the store says {seen}")
        elif expected and ended.status != expected:
            seen = f"{ended.status} instead of {expected}: {ended.value}"
            yield Violation("wrong end", execution, seen)
        elif expected and ended.value != sent.value:
            seen = f"{ended.value!r} instead of {sent.value!r}"
            yield Violation("wrong result", execution, seen)


def _recorded_steps(book: Book) -> Iterator[Violation]:
    for execution, work in book.work.items():
        recorded: dict[str, Line] = {}
        for line in work:
            if line.kind is Kind.ACKED:
                first = recorded.setdefault(line.step, line)
                if line.value != first.value:
                    yield Violation("recorded value changed", execution, _told(line))
        for line in after_the_record(work):
            if id(line) not in book.late and not could_not_know(line, work):
                yield Violation("recorded step started again", execution, _told(line))
    for line in book.by_kind[Kind.STORED]:
        acked = [a for a in book.work[line.execution] if a.kind is Kind.ACKED]
        if any(a.step == line.step and a.value != line.value for a in acked):
            seen = f"the store has another result of {line.step} than the handler had"
            yield Violation("recorded value changed", line.execution, seen)


def _owners(book: Book) -> Iterator[Violation]:
    for execution, work in book.work.items():
        owners: dict[int, Line] = {}
        failed: set[int] = set()
        latest: Line | None = None
        for line in work:
            if line.kind is Kind.FAILED and not line.step:
                failed.add(line.token)
            if line.kind is not Kind.START or id(line) in book.late:
                continue
            owner = owners.setdefault(line.token, line)
            if owner.pid != line.pid:
                seen = f"{_told(line)}, but {_told(owner)}"
                yield Violation("two processes under one token", execution, seen)
            if latest is not None and line.token < latest.token:
                seen = f"{_told(line)} after {_told(latest)}"
                yield Violation("step started after a takeover", execution, seen)
                continue
            if latest is not None and line.token > latest.token:
                since = owners[latest.token].time
                if not (
                    latest.token in failed
                    or book.hit_between(latest.pid, since, line.time)
                ):
                    seen = (
                        f"{_told(line)}, but the owner of {_told(latest)} was not hit"
                    )
                    yield Violation("taken from a live owner", execution, seen)
            latest = line


def _repeats(book: Book) -> Iterator[Violation]:
    repeats = 0
    for before, line, meant in starts_again(book):
        if meant or id(line) in book.late:
            continue
        repeats += 1
        if not book.hit_between(before.pid, before.time, line.time):
            seen = f"{_told(line)}, but the owner of {_told(before)} was not hit"
            yield Violation("step repeated without a cause", line.execution, seen)
    hits = sum(1 for _ in book.ends())
    allowed = hits * book.plan.slots * book.plan.width
    if repeats > allowed:
        seen = f"{repeats} repeats, {hits} hits explain at most {allowed}"
        yield Violation("too many repeats", "all", seen)


def _draining(book: Book) -> Iterator[Violation]:
    calm, drained = book.by_kind[Kind.CALM], book.by_kind[Kind.DRAINED]
    if not calm:
        return
    limit = book.plan.drained_within
    if limit is None:
        return
    took = drained[-1].time - calm[-1].time if drained else None
    if took is None or took > limit:
        seen = "it never was" if took is None else f"it took {took:.1f} s"
        yield Violation("not drained", "all", f"{seen}; the limit is {limit:g} s")


def _doubts(book: Book, torn: int) -> Iterator[str]:
    plan = book.plan
    if len(book.plans) != 1:
        yield f"the ledger has {len(book.plans)} plans instead of one"
    if torn:
        yield f"{torn} line(s) cannot be read"
    if not book.by_kind[Kind.CALM]:
        yield "the chaos has no end: there is no calm line"
    if len(book.accepted) < plan.executions:
        yield f"{len(book.accepted)} executions accepted of {plan.executions} planned"
    if not plan.executions or not any(line.token for line in book.starts):
        yield "no execution was planned, or no step started"
    for fault, planned in plan.faults.items():
        hit = sum(1 for each in book.faults if each.fault == fault and _hit(each, book))
        if hit < planned:
            yield f"{fault}: {hit} hit work in progress of {planned} planned"
    inside = book.hits_inside_a_step
    if inside < plan.mid_step:
        yield f"{inside} process(es) hit inside a step of {plan.mid_step} planned"


def _hit(fault: Line, book: Book) -> bool:
    """Whether work was in progress when it came: in the process, or anywhere."""
    if fault.target:
        return fault.target in book.working
    return any(
        sent.time < fault.asked < work[-1].time
        for execution, sent in book.accepted.items()
        if (work := book.work.get(execution))
    )


def _told(line: Line) -> str:
    return (
        f"{line.kind} of {line.step or 'the attempt'} by process {line.pid} under "
        f"token {line.token} at {line.time:.3f}"
    )
