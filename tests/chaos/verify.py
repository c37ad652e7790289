"""Proves from a ledger that every promise held, or says which was broken.

A run in which too little happened proves nothing, and the report says so.
`python -m tests.chaos.verify FILE` prints it and ends with 0 if the run proves the
promises, with 1 if one was broken, with 2 if it proves nothing.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.ledger import RESUMED, Kind, Line, Plan, read

TERMINAL = ("completed", "failed", "cancelled")
SHOWN = 10
"""Violations printed of each kind."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: its kind in words, the execution, what was seen."""

    kind: str
    execution: str
    seen: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The verdict on one ledger. `doubts` say why it proves nothing."""

    violations: Sequence[Violation]
    doubts: Sequence[str]
    figures: Mapping[str, int | float]

    @property
    def passed(self) -> bool:
        """Whether the run proves the promises."""
        return not self.violations and not self.doubts

    def __str__(self) -> str:
        lines = [f"{name}: {value:g}" for name, value in self.figures.items()]
        lines += [f"PROVES NOTHING: {doubt}" for doubt in self.doubts]
        kinds = Counter(violation.kind for violation in self.violations)
        for kind, count in kinds.items():
            lines.append(f"VIOLATION: {kind}: {count}")
            those = [each for each in self.violations if each.kind == kind]
            lines += [f"  {each.execution}: {each.seen}" for each in those[:SHOWN]]
            lines += [f"  and {count - SHOWN} more"] if count > SHOWN else []
        lines.append("passed" if self.passed else "FAILED")
        return "\n".join(lines)


def verify(path: str | Path) -> Report:
    """Check a ledger file; see `check`."""
    return check(*read(path))


def check(lines: Sequence[Line], torn: int = 0) -> Report:
    """Check the promises, and whether enough happened for that to mean anything.

    - Nothing accepted is lost: each execution ends `completed` with its value.
    - A step whose result the handler had is never started again, and every reader
      sees the result of the same run of it. What a frozen process had run it may
      record when it goes on; tries its successor makes meanwhile are counted apart.
    - One owner at a time: a token belongs to one process, no step starts under a
      lower token than one before, and an execution changes hands only after its
      owner was hit by a fault or its attempt failed. A process frozen between its
      last check and the call starts one step late; these are counted apart.
    - A step runs again only if the process of its last run was hit or its attempt
      failed, and no more often than hits times what a process has in the air.
    """
    book = _Book(lines)
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


class _Book:
    """A ledger's lines, sorted by what they are about."""

    def __init__(self, lines: Sequence[Line]) -> None:
        by_kind: dict[Kind, list[Line]] = defaultdict(list)
        for line in lines:
            by_kind[line.kind].append(line)
        self.plans = [_plan(line) for line in by_kind[Kind.PLAN]]
        self.plan = self.plans[0] if self.plans else Plan(executions=0)
        self.accepted = {line.execution: line for line in by_kind[Kind.ACCEPTED]}
        self.ended = {line.execution: line for line in by_kind[Kind.ENDED]}
        self.starts = by_kind[Kind.START]
        self.faults = by_kind[Kind.FAULT]
        self.by_kind = by_kind
        self.work: dict[str, list[Line]] = defaultdict(list)
        """Lines of each execution's steps, in order."""
        for line in lines:
            if line.kind in (Kind.START, Kind.DONE, Kind.FAILED, Kind.ACKED):
                self.work[line.execution].append(line)
        self.hits: dict[int, list[Line]] = defaultdict(list)
        """Faults by the process they were injected into."""
        for fault in self.faults:
            if fault.target:
                self.hits[fault.target].append(fault)
        self.by_process: dict[int, list[Line]] = defaultdict(list)
        for line in lines:
            self.by_process[line.pid].append(line)
        self.hits_inside_a_step = sum(map(self._inside_a_step, self.ends()))
        self.late = {
            id(start) for work in self.work.values() for start in self._late(work)
        }
        """Starts by a process that was frozen before the call, by identity."""

    def ends(self) -> Iterator[Line]:
        """Faults that ended or froze a process."""
        return (hit for hit in self.faults if hit.target and hit.fault != RESUMED)

    def hit_between(self, pid: int, since: float, until: float) -> bool:
        """Whether a fault may have ended or frozen a process in this time."""
        return any(
            hit.fault != RESUMED and since <= hit.time and hit.asked <= until
            for hit in self.hits[pid]
        )

    def _inside_a_step(self, hit: Line) -> bool:
        """Whether the process was running a step's function when it was hit."""
        running: set[tuple[str, str]] = set()
        for line in self.by_process[hit.target]:
            if line.time > hit.time:
                break
            if line.kind is Kind.START:
                running.add((line.execution, line.step))
            elif line.kind is Kind.FAILED and not line.step:
                running = {each for each in running if each[0] != line.execution}
            elif line.kind in (Kind.DONE, Kind.FAILED):
                running.discard((line.execution, line.step))
        return bool(running)

    def _late(self, work: Sequence[Line]) -> Iterator[Line]:
        """Starts under a lost token by a process frozen before the call.

        Only the first line that the process writes for the execution after it was
        resumed: whatever comes later had a chance to look at its lease.
        """
        for resumed in self.faults:
            if resumed.fault != RESUMED:
                continue
            highest = 0
            for line in work:
                if line.pid == resumed.target and line.time >= resumed.asked:
                    if line.kind is Kind.START and line.token < highest:
                        yield line
                    break
                highest = max(highest, line.token)

    def figures(self) -> dict[str, int | float]:
        """The numbers of the report."""
        calm, drained = self.by_kind[Kind.CALM], self.by_kind[Kind.DRAINED]
        figures: dict[str, int | float] = {
            "executions accepted": len(self.accepted),
            "executions ended": len(self.ended),
            "steps started": len(self.starts),
            "steps started again": sum(1 for _ in _again(self)),
        }
        names = Counter(fault.fault for fault in self.faults)
        figures |= {f"faults: {name}": count for name, count in names.items()}
        figures["processes hit inside a step"] = self.hits_inside_a_step
        figures["starts by a process that was frozen before the call"] = len(self.late)
        figures["tries beside the late record of a process that was frozen"] = sum(
            _could_not_know(line, work)
            for work in self.work.values()
            for line in _after_the_record(work)
        )
        if calm and drained:
            figures["seconds to drain"] = round(drained[-1].time - calm[-1].time, 1)
        return figures


def _plan(line: Line) -> Plan:
    return Plan(**line.value)


def _endings(book: _Book) -> Iterator[Violation]:
    for execution, sent in book.accepted.items():
        ended = book.ended.get(execution)
        expected = sent.status or "completed"
        if ended is None or ended.status not in TERMINAL:
            seen = ended.status if ended else "nothing"
            yield Violation("accepted and lost", execution, f"the store says {seen}")
        elif ended.status != expected:
            seen = f"{ended.status} instead of {expected}: {ended.value}"
            yield Violation("wrong end", execution, seen)
        elif ended.value != sent.value:
            seen = f"{ended.value!r} instead of {sent.value!r}"
            yield Violation("wrong result", execution, seen)


def _recorded_steps(book: _Book) -> Iterator[Violation]:
    for execution, work in book.work.items():
        recorded: dict[str, Line] = {}
        for line in work:
            if line.kind is Kind.ACKED:
                first = recorded.setdefault(line.step, line)
                if line.value != first.value:
                    yield Violation("recorded value changed", execution, _told(line))
        for line in _after_the_record(work):
            if id(line) not in book.late and not _could_not_know(line, work):
                yield Violation("recorded step started again", execution, _told(line))
    for line in book.by_kind[Kind.STORED]:
        acked = [a for a in book.work[line.execution] if a.kind is Kind.ACKED]
        if any(a.step == line.step and a.value != line.value for a in acked):
            seen = f"the store has another result of {line.step} than the handler had"
            yield Violation("recorded value changed", line.execution, seen)


def _after_the_record(work: Sequence[Line]) -> Iterator[Line]:
    """Starts of steps whose result some handler had before."""
    recorded: set[str] = set()
    for line in work:
        if line.kind is Kind.ACKED:
            recorded.add(line.step)
        elif line.kind is Kind.START and line.step in recorded:
            yield line


def _could_not_know(again: Line, work: Sequence[Line]) -> bool:
    """Whether the step was recorded by one who had lost it, while its owner ran it.

    What a process did before it froze is recorded when it goes on. The owner, inside
    its own retries of the step, finds that record when it has a result itself.
    """
    began = False
    for line in work:
        if line.step != again.step:
            continue
        if line.kind is Kind.START and line.token == again.token:
            began = True
        elif line.kind is Kind.ACKED:
            return began and line.token < again.token
    return False


def _owners(book: _Book) -> Iterator[Violation]:
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


def _again(book: _Book) -> Iterator[tuple[Line, Line, bool]]:
    """Every start of a step that was started before, after the start before it.

    The third says whether that one was to be repeated, because it failed on purpose.
    """
    for work in book.work.values():
        last: dict[str, Line] = {}
        failed: set[tuple[int, str]] = set()
        for line in work:
            if line.kind is Kind.FAILED:
                failed.add((line.token, line.step))
            elif line.kind is Kind.START:
                if (before := last.get(line.step)) is not None:
                    meant = {(before.token, ""), (before.token, before.step)} & failed
                    yield before, line, bool(meant)
                last[line.step] = line


def _repeats(book: _Book) -> Iterator[Violation]:
    repeats = 0
    for before, line, meant in _again(book):
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


def _draining(book: _Book) -> Iterator[Violation]:
    calm, drained = book.by_kind[Kind.CALM], book.by_kind[Kind.DRAINED]
    if not calm:
        return
    limit = book.plan.drained_within
    took = drained[-1].time - calm[-1].time if drained else None
    if took is None or took > limit:
        seen = "it never was" if took is None else f"it took {took:.1f} s"
        yield Violation("not drained", "all", f"{seen}; the limit is {limit:g} s")


def _doubts(book: _Book, torn: int) -> Iterator[str]:
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


def _hit(fault: Line, book: _Book) -> bool:
    """Whether work was in progress: in the process, or anywhere."""
    if fault.target:
        return any(start.pid == fault.target for start in book.starts)
    return any(
        sent.time < fault.asked and work[-1].time > fault.time
        for execution, sent in book.accepted.items()
        if (work := book.work.get(execution))
    )


def _told(line: Line) -> str:
    return (
        f"{line.kind} of {line.step or 'the attempt'} by process {line.pid} under "
        f"token {line.token} at {line.time:.3f}"
    )


def main(arguments: Iterable[str]) -> int:
    """Print the report on a ledger file; the exit code says what it shows."""
    (path,) = arguments
    report = verify(path)
    print(report)  # noqa: T201 - a command
    return 1 if report.violations else 2 if report.doubts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
