"""A ledger's lines, sorted by what they are about."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from .lines import RESUMED, SURVIVED, Kind, Line, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Book:
    """A ledger's lines, sorted by what they are about."""

    def __init__(self, lines: Sequence[Line], plan: Plan | None) -> None:
        by_kind: dict[Kind, list[Line]] = defaultdict(list)
        for line in lines:
            by_kind[line.kind].append(line)
        self.plans = [Plan(**line.value) for line in by_kind[Kind.PLAN]]
        if plan is not None:
            self.plans = [plan]
        self.plan = self.plans[0] if self.plans else Plan(executions=0)
        self.accepted = {line.execution: line for line in by_kind[Kind.ACCEPTED]}
        self.ended = {line.execution: line for line in by_kind[Kind.ENDED]}
        self.starts = by_kind[Kind.START]
        self.faults = by_kind[Kind.FAULT]
        self.working = {start.pid for start in self.starts}
        """The processes that began a step."""
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
        # The system gives the id of a process that has ended to another one.
        began = max((h.time for h in self._deaths(hit)), default=0.0)
        for line in self.by_process[hit.target]:
            if line.time > hit.time:
                break
            if line.time < began:
                continue
            if line.kind is Kind.START:
                running.add((line.execution, line.step))
            elif line.kind is Kind.FAILED and not line.step:
                running = {each for each in running if each[0] != line.execution}
            elif line.kind in (Kind.DONE, Kind.FAILED):
                running.discard((line.execution, line.step))
        return bool(running)

    def _deaths(self, before: Line) -> Iterator[Line]:
        """Earlier faults that ended a process of the same id."""
        return (
            hit
            for hit in self.hits[before.target]
            if hit.time < before.asked and hit.fault not in SURVIVED
        )

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
            "steps started again": sum(1 for _ in starts_again(self)),
        }
        names = Counter(fault.fault for fault in self.faults)
        figures |= {f"faults: {name}": count for name, count in names.items()}
        figures["processes hit inside a step"] = self.hits_inside_a_step
        figures["starts by a process that was frozen before the call"] = len(self.late)
        figures["tries beside the late record of a process that was frozen"] = sum(
            could_not_know(line, work)
            for work in self.work.values()
            for line in after_the_record(work)
        )
        if calm and drained:
            figures["seconds to drain"] = round(drained[-1].time - calm[-1].time, 1)
        return figures


def after_the_record(work: Sequence[Line]) -> Iterator[Line]:
    """Starts of steps whose result some handler had before."""
    recorded: set[str] = set()
    for line in work:
        if line.kind is Kind.ACKED:
            recorded.add(line.step)
        elif line.kind is Kind.START and line.step in recorded:
            yield line


def could_not_know(again: Line, work: Sequence[Line]) -> bool:
    """Whether the step was recorded by one who had lost it, while its owner ran it.

    What a process did before it froze is recorded when it continues. The owner, inside
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


def starts_again(book: Book) -> Iterator[tuple[Line, Line, bool]]:
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
