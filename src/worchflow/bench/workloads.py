"""The workloads W1 to W7, each over all systems that are to be compared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from .interruption import pause
from .measurements import RATE, Measurement
from .systems import P50, WARM_UP, Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .driver import Program
    from .sizes import Sizes
    from .systems import Mode, System, Values

    Measure = Callable[[System], Values]

PREFILLED, SENDING = "queue pre-filled", "sending included"
CLAIM = "µs a claim"
RESUME = "ms to resume"
AT_REST = "CPU % workers"
FILLED_AT_ONCE = 20_000
SETTLING = 1.0
"""Seconds a worker that has just started is given before its rest is measured."""


@dataclass(frozen=True)
class Case:
    """What is measured of each system that has the mode."""

    workload: str
    name: str
    leading: str
    mode: Mode
    measure: Measure


@dataclass
class Bench:
    """One run of the benchmark; `measurements` and `skipped` grow as it goes.

    A peer that fails is skipped from then on, with the reason; Worchflow and the
    bare writes must not fail.
    """

    systems: Sequence[System]
    sizes: Sizes
    tell: Callable[[str], None]
    measurements: list[Measurement] = field(default_factory=list[Measurement])
    skipped: dict[str, str] = field(default_factory=dict[str, str])

    def run(self, workloads: Iterable[str]) -> None:
        """Measure the named workloads, in this order."""
        for name in workloads:
            WORKLOAD[name](self)

    def able(self, mode: Mode) -> list[System]:
        """The systems that have this mode and were not skipped."""
        return [
            each
            for each in self.systems
            if mode in each.modes and each.name not in self.skipped
        ]

    def alternate(self, *cases: Case) -> None:
        """Run after run, one system right after the other in each."""
        for run in range(1, self.sizes.runs + 1):
            for system in self.systems:
                for case in cases:
                    if system in self.able(case.mode):
                        self._try(case, system, run)

    def _try(self, case: Case, system: System, run: int) -> None:
        try:
            values = case.measure(system)
        except Exception as error:
            if system.kind in ("worchflow", "bare"):
                raise
            # Whatever a peer's program or server does is no reason to stop here.
            self.skip(system.name, f"{case.workload}, {case.name}: {error}")
            return
        self.add(case.workload, case.name, case.leading, system, run, values)

    def add(
        self,
        workload: str,
        case: str,
        leading: str,
        system: System,
        run: int,
        values: Values,
    ) -> None:
        """Keep what was measured and tell about it."""
        self.measurements.append(
            Measurement(
                workload=workload,
                case=case,
                system=system.name,
                run=run,
                leading=leading,
                values=values,
            )
        )
        self.tell(
            f"{workload} {case}, run {run} of {self.sizes.runs}, {system.name}: "
            f"{values[leading]:,.4g} {leading}"
        )

    def skip(self, name: str, reason: str) -> None:
        """Leave a system out from now on."""
        self.skipped[name] = reason
        self.tell(f"skipped {name}: {reason}")


def throughput(bench: Bench) -> None:
    """W1, both ways right after each other."""
    executions = bench.sizes.executions
    bench.alternate(
        Case(
            "W1",
            PREFILLED,
            RATE,
            "prefilled",
            lambda system: system.prefilled(system.fewer(executions)),
        ),
        Case(
            "W1",
            SENDING,
            RATE,
            "mixed",
            lambda system: system.mixed(system.fewer(executions)),
        ),
    )


def latency(bench: Bench) -> None:
    """W2."""
    bench.alternate(
        Case(
            "W2",
            "send to result, idle",
            P50,
            "latency",
            lambda system: system.latency(bench.sizes.rounds),
        )
    )


def payloads(bench: Bench) -> None:
    """W3."""
    cases: list[Case] = []
    for size, count in bench.sizes.payloads:
        name = f"{size // 1024} KiB for the event and each result"
        measure = partial(_with_payload, count=count, payload=size)
        cases.append(Case("W3", name, RATE, "payloads", measure))
    bench.alternate(*cases)


def _with_payload(system: System, *, count: int, payload: int) -> Values:
    return system.prefilled(count, payload)


def claims(bench: Bench) -> None:
    """W4."""
    claimed = bench.sizes.claimed
    for system in bench.able("claims"):
        with system.place() as place, system.started(place, "claims") as program:
            queued = 0
            for depth in bench.sizes.depths:
                for run in range(1, bench.sizes.runs + 1):
                    _fill(bench, program, depth - queued)
                    seconds = program.ask(claim=claimed)["seconds"]
                    queued = depth - claimed
                    values = {CLAIM: seconds / claimed * 1e6}
                    bench.add("W4", f"{depth:,} queued", CLAIM, system, run, values)


def rest(bench: Bench) -> None:
    """W5."""
    for count in (0, bench.sizes.delayed):
        for system in bench.able("rest"):
            with system.place() as place:
                with system.started(place, "delayed") as program:
                    _fill(bench, program, count)
                    program.close()
                with system.started(place, "worker") as worker:
                    _rest(bench, system, worker, f"{count:,} delayed by a day")


def _rest(bench: Bench, system: System, worker: Program, case: str) -> None:
    worker.tell(go=True)
    pause(SETTLING)
    for run in range(1, bench.sizes.runs + 1):
        meter = Meter({"workers": [worker]}, system.servers())
        pause(bench.sizes.rest)
        values = {AT_REST: 0.0, **meter.share(bench.sizes.rest)}
        bench.add("W5", case, AT_REST, system, run, values)


def scaling(bench: Bench) -> None:
    """W6."""
    cases: list[Case] = []
    for workers in bench.sizes.workers:
        name = f"{workers} worker process{'es' if workers > 1 else ''}"
        measure = partial(_with_workers, count=bench.sizes.executions, workers=workers)
        cases.append(Case("W6", name, RATE, "scaling", measure))
    bench.alternate(*cases)


def _with_workers(system: System, *, count: int, workers: int) -> Values:
    return replace(system, workers=workers).prefilled(count)


def resuming(bench: Bench) -> None:
    """W7."""
    steps = bench.sizes.recorded_steps
    for system in bench.able("resuming"):
        with (
            system.place() as place,
            system.started(place, "worker") as worker,
            system.started(place, "resume") as program,
        ):
            worker.tell(go=True)
            program.ask(resume=WARM_UP)
            for run in range(1, bench.sizes.runs + 1):
                seconds = program.ask(resume=steps)["seconds"]
                values = {RESUME: seconds * 1e3}
                case = f"{steps:,} recorded steps"
                bench.add("W7", case, RESUME, system, run, values)


def _fill(bench: Bench, program: Program, count: int) -> None:
    left = count
    while left > 0:
        part = min(left, FILLED_AT_ONCE)
        program.ask(fill=part)
        left -= part
        if left:
            bench.tell(f"filling the queue: {left:,} to go")


WORKLOAD: dict[str, Callable[[Bench], None]] = {
    "W1": throughput,
    "W2": latency,
    "W3": payloads,
    "W4": claims,
    "W5": rest,
    "W6": scaling,
    "W7": resuming,
}
