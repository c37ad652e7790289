"""Runs stages one after the other, all of them although one fails, and sums up.

What failed is run once more, alone, after everything else. What passes then is told
as FLAKY: a fault of the product or of the test that has to be found, but none that
turns a sound change red, unless there are more than a few.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.runs.outcomes import VARIABLE, Outcomes

ROOT = Path(__file__).parents[2]

MAX_FLAKY = 3
"""So many may fail once and pass alone; more fail the run."""
MAX_REPEATED = 20
"""Where more has failed, something is broken and nothing is run again."""

TESTS_FAILED = 1
"""The exit code of pytest that says that all tests ran."""


@dataclass(frozen=True)
class Stage:
    """A command that has to end with 0."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PytestStage(Stage):
    """Pytest, as `command`, on the tests of some paths, spread over processes."""

    paths: tuple[str, ...] = ()
    processes: int = 0


@dataclass(frozen=True)
class Run:
    """How one run of a stage ended."""

    stage: Stage
    seconds: float
    code: int
    outcomes: Outcomes

    @property
    def broken(self) -> bool:
        """Whether it failed in a way that running single tests again cannot mend."""
        if self.code == 0 or not isinstance(self.stage, PytestStage):
            return self.code != 0
        failed, uncollected = self.outcomes.failed, self.outcomes.uncollected
        return self.code != TESTS_FAILED or not failed or bool(uncollected)

    def __str__(self) -> str:
        if self.code == 0:
            verdict = "passed"
        elif self.broken:
            verdict = f"FAILED with exit code {self.code}"
        else:
            verdict = f"{len(self.outcomes.failed)} failed"
        return f"{self.stage.name:<30} {verdict}, {in_minutes(self.seconds)}"


@dataclass(frozen=True)
class Ended:
    """A stage with the second run of what failed in its first, if there was one."""

    first: Run
    second: Run | None = None

    @property
    def runs(self) -> list[Run]:
        """Both, or the only one."""
        return [self.first] + ([self.second] if self.second else [])

    @property
    def flaky(self) -> list[str]:
        """What failed and passed when it ran alone."""
        if self.second is None or self.second.broken:
            return []
        still = self.second.outcomes.failed
        return [test for test in self.first.outcomes.failed if test not in still]

    @property
    def failed(self) -> list[str]:
        """What did not pass."""
        return [test for test in self.first.outcomes.failed if test not in self.flaky]


def pytest(*options: str, python: str = sys.executable) -> tuple[str, ...]:
    """Pytest as a command of a stage."""
    return (python, "-m", "pytest", "-p", "tests.runs.outcomes", *options)


def run_stages(stages: Sequence[Stage], folder: Path = ROOT) -> int:
    """Run them all, then what failed once more; the exit code of the whole."""
    began = time.monotonic()
    ended = repeat_failed([run_stage(stage, folder) for stage in stages], folder)
    text, passed = summary(ended, time.monotonic() - began)
    print(f"\n######## summary\n{text}", flush=True)
    return 0 if passed else 1


def run_stage(stage: Stage, folder: Path) -> Run:
    """Run one; what it prints is seen as it comes."""
    print(f"\n######## {stage.name}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as own:
        path = Path(own, "outcomes")
        done = subprocess.run(
            command_of(stage),
            cwd=folder,
            env={**os.environ, **stage.environment, VARIABLE: str(path)},
            check=False,
        )
        outcomes = Outcomes.read(path)
    return Run(stage, time.monotonic() - began, done.returncode, outcomes)


def command_of(stage: Stage) -> tuple[str, ...]:
    """The whole command."""
    if not isinstance(stage, PytestStage):
        return stage.command
    spread: tuple[str, ...] = ()
    if stage.processes:
        spread = ("-n", str(stage.processes), "--dist", "worksteal")
    return (*stage.command, *spread, *stage.paths)


def repeat_failed(runs: Sequence[Run], folder: Path) -> list[Ended]:
    """Run what failed in each once more, unless it is so much that something broke."""
    many = sum(len(run.outcomes.failed) for run in runs) > MAX_REPEATED
    return [Ended(run, None if many else repeat(run, folder)) for run in runs]


def repeat(run: Run, folder: Path) -> Run | None:
    """Run the failed tests alone, one after the other."""
    if run.code == 0 or run.broken or not isinstance(run.stage, PytestStage):
        return None
    return run_stage(
        replace(
            run.stage,
            name=f"once more: {run.stage.name}",
            paths=tuple(run.outcomes.failed),
            processes=0,
        ),
        folder,
    )


def summary(ended: Sequence[Ended], seconds: float) -> tuple[str, bool]:
    """The end of a run for people, and whether it passed."""
    runs = [run for each in ended for run in each.runs]
    flaky = [test for each in ended for test in each.flaky]
    failed = [test for each in ended for test in each.failed]
    passed = sum(each.first.outcomes.passed for each in ended) + len(flaky)
    leaks: Counter[str] = Counter()
    for each in ended:
        leaks.update(each.first.outcomes.leaks)
    good = not (failed or any(run.broken for run in runs) or len(flaky) > MAX_FLAKY)
    lines = [
        *map(str, runs),
        *(f"left open by a dependency: {kind}, {n} times" for kind, n in leaks.items()),
        *(f"FLAKY {test}" for test in flaky),
        *(f"FAILED {test}" for test in failed),
        f"{'passed' if good else 'FAILED'} in {in_minutes(seconds)}, installing aside",
        f"{passed} passed, {len(failed)} failed",
    ]
    return "\n".join(lines), good


def in_minutes(seconds: float) -> str:
    """Minutes and seconds, for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
