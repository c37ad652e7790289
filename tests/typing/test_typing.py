"""User programs under both type checkers: they see every mistake and nothing else.

In `cases/`, a line that ends with `# BAD` has to be reported by mypy and by pyright,
both strict, and no other line may be.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASES = sorted((HERE / "cases").glob("*.py"))

Lines = dict[str, set[int]]
"""Line numbers by file name."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def lines_marked_bad() -> Lines:
    return {
        case.name: {
            number
            for number, line in enumerate(case.read_text().splitlines(), start=1)
            if line.endswith("  # BAD")
        }
        for case in CASES
    }


def run(*command: str, **variables: str) -> str:
    """What a checker prints; it ends with 1 for having found something."""
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | variables,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


def reported_by_mypy() -> Lines:
    output = run(
        "mypy",
        "--strict",
        "--config-file=",
        "--cache-dir=.mypy_cache/typing",
        "--follow-imports=silent",
        "--no-error-summary",
        *map(str, CASES),
        MYPYPATH="src",
    )
    found: Lines = {case.name: set() for case in CASES}
    for line in output.splitlines():
        match = re.match(r"(?:.*/)?(\w+\.py):(\d+): error: ", line)
        if match:
            found[match[1]].add(int(match[2]))
    return found


def reported_by_pyright() -> Lines:
    output = run(
        *("pyright", "--outputjson", "--project", str(HERE)),
        *("--pythonpath", sys.executable),
        PYRIGHT_PYTHON_IGNORE_WARNINGS="1",
    )
    found: Lines = {case.name: set() for case in CASES}
    for report in json.loads(output)["generalDiagnostics"]:
        if report["severity"] == "error":
            start, end = (report["range"][side]["line"] for side in ("start", "end"))
            found[Path(report["file"]).name].update(range(start + 1, end + 2))
    return found


@pytest.mark.parametrize("checker", [reported_by_mypy, reported_by_pyright])
def test_user_programs_are_reported_exactly_where_they_are_wrong(
    checker: Callable[[], Lines],
) -> None:
    assert checker() == lines_marked_bad()
