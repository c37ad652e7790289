"""A run of all stages does not lie and does not waver: what it says is what was."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.stages import MAX_FLAKY, ROOT, PytestStage, Stage, run_stages
from tests.runs.stages import pytest as pytest_command

GOOD = "def test_good():\n    pass\n"
BAD = "def test_bad():\n    raise ValueError\n"
FLAKY = """
import pathlib
def test_flaky{0}():
    marker = pathlib.Path("tried{0}")
    tried = marker.exists()
    marker.touch()
    assert tried
"""
LEAK = """
import gc, warnings
def test_leak():
    for number in range(2):
        warnings.warn(f"unclosed <socket.socket fd={number}>", ResourceWarning)
"""

Tests = Callable[..., PytestStage]


@pytest.fixture
def stage_of(tmp_path: Path) -> Tests:
    """Makes a stage of a file of tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = always\n")

    def make(name: str, *tests: str, processes: int = 0) -> PytestStage:
        (tmp_path / f"test_{name}.py").write_text("".join(tests))
        options = ("-q", "-p", "no:cacheprovider", "-p", "xdist")
        return PytestStage(
            name,
            pytest_command(*options),
            {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            paths=(f"test_{name}.py",),
            processes=processes,
        )

    return make


def told(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of the summary."""
    return capfd.readouterr().out.partition("######## summary\n")[2].splitlines()


def test_all_stages_run_although_one_fails(
    stage_of: Tests, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fails = Stage("check", (sys.executable, "-c", "raise SystemExit(3)"))
    code = run_stages(
        [fails, stage_of("bad", BAD, GOOD), stage_of("good", GOOD, processes=1)],
        tmp_path,
    )

    summary = told(capfd)
    assert code == 1
    assert summary[0].split()[:5] == ["check", "FAILED", "with", "exit", "code"]
    assert "FAILED test_bad.py::test_bad" in summary
    assert summary[-2].startswith("FAILED in ")
    assert summary[-1] == "2 passed, 1 failed"


@pytest.mark.parametrize("processes", [0, 2])
def test_what_passes_alone_is_told_as_flaky_and_fails_nothing(
    stage_of: Tests,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    processes: int,
) -> None:
    tests = [FLAKY.format(number) for number in range(MAX_FLAKY)]
    code = run_stages(
        [stage_of("few", *tests, GOOD, processes=processes)],
        tmp_path,
    )

    summary = told(capfd)
    assert code == 0
    flaky = {line for line in summary if line.startswith("FLAKY")}
    assert flaky == {
        f"FLAKY test_few.py::test_flaky{number}" for number in range(MAX_FLAKY)
    }
    assert summary[-2].startswith("passed in ")
    assert summary[-1] == f"{MAX_FLAKY + 1} passed, 0 failed"


def test_more_than_a_few_that_are_flaky_fail_the_run(
    stage_of: Tests, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tests = [FLAKY.format(number) for number in range(MAX_FLAKY + 1)]
    assert run_stages([stage_of("many", *tests)], tmp_path) == 1
    assert sum(line.startswith("FLAKY") for line in told(capfd)) == MAX_FLAKY + 1


@pytest.mark.parametrize(
    "content",
    [
        "import nothing_of_this_name\n",  # exit code 2
        "",  # no test: exit code 5
        "import os\ndef test_ends():\n    os._exit(1)\n",  # before it could tell
    ],
)
def test_tests_that_cannot_run_fail_the_run(
    stage_of: Tests,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    content: str,
) -> None:
    assert run_stages([stage_of("broken", content)], tmp_path) == 1
    assert "FAILED with exit code" in told(capfd)[0]


def test_what_dependencies_leave_open_is_counted(
    stage_of: Tests, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_stages([stage_of("leak", LEAK)], tmp_path) == 0
    kind = "unclosed <socket.socket"
    assert f"left open by a dependency: {kind}, 2 times" in told(capfd)
