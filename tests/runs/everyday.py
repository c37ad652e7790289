"""What `./scripts/test` runs: every check and test that needs minutes, not hours."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.runs.code_coverage import VARIABLE
from tests.runs.stages import ROOT, PytestStage, Stage, pytest, run_stages

SEED = "20261"
"""Of the order of the tests, their random numbers and Hypothesis: the change alone
decides whether a run passes. `./scripts/prove` takes another one each time."""
PROCESSES = 4
"""For two cores: part of the tests' time is waiting."""

LONG = ("chaos", "crash_points", "soak")
"""Tiers that only `./scripts/prove` runs."""


def seeded(seed: str) -> tuple[str, ...]:
    """The arguments that fix what a run of tests leaves to chance."""
    return ("-p", "randomly", f"--randomly-seed={seed}", f"--hypothesis-seed={seed}")


def tiers() -> list[str]:
    """The folders of tests that run together, in the order of their names."""
    folders = {path.parent for path in ROOT.glob("tests/*/**/test_*.py")}
    names = {folder.relative_to(ROOT / "tests").parts[0] for folder in folders}
    return sorted(names - set(LONG))


def stages(measurements: Path) -> list[Stage]:
    """Checks, then tests, then how much of the library they ran.

    What they measure goes into the folder `measurements`.
    """
    plugin = "tests.runs.code_coverage"
    command = pytest("-p", plugin, *seeded(SEED), "-m", "not long", "-q")
    environment = {VARIABLE: str(measurements)}
    root = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/test_*.py"))
    together = (*root, *(f"tests/{name}" for name in tiers()))
    return [
        Stage("check", ("./scripts/check",)),
        PytestStage("tests", command, environment, together, PROCESSES),
        Stage("coverage", (sys.executable, "-m", plugin, str(measurements))),
    ]


def main() -> int:
    """Run them; the exit code says whether all passed."""
    with tempfile.TemporaryDirectory() as measurements:
        return run_stages(stages(Path(measurements)))


if __name__ == "__main__":
    sys.exit(main())
