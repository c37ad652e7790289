"""What ran is measured in every process of a run of tests, and told by file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

from tests.runs.code_coverage import VARIABLE, File, report, spans_of
from tests.runs.stages import ROOT

SHOP = """
def price(count):
    if count > 10:
        return count * 9
    return count * 10


def refund(count):
    if count:
        print("refunded")


def unused():
    a = 1
    return a
"""
TESTS = """
import os
import shop
from hypothesis import given, strategies

def test_price():
    assert shop.price(1) == 10

def test_refund():
    shop.refund(1)

def test_code_without_a_file():
    exec(compile("a = 1", shop.__file__.replace("shop", "gone"), "exec"))

@given(strategies.just(20))
def test_not_measured(count):
    assert shop.price(count) == 180

def test_not_measured_on_mongo():
    assert shop.price(20) == 180

def test_forks():
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A library of two files and tests of a measured tier and of another."""
    source = tmp_path / "src" / "worchflow"
    (source / "bench").mkdir(parents=True)
    (source / "shop.py").write_text(SHOP)
    (source / "unread.py").write_text("a = 1\n")
    (source / "bench" / "__init__.py").touch()
    (source / "bench" / "omitted.py").write_text("a = 1\n")
    (source / "full.py").write_text("a = 1\n")
    for tier, text in (
        ("unit", TESTS),
        ("unit2", "import full, shop\ndef test_other():\n    shop.unused()\n"),
    ):
        (tmp_path / "tests" / tier).mkdir(parents=True)
        (tmp_path / "tests" / tier / f"test_{tier}.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path


def run_tests(project: Path, *options: str) -> Path:
    """Where the measurements of a run are."""
    measurements = project / "measurements"
    # Of the process that runs this test.
    others = {k: v for k, v in os.environ.items() if k != "PYTEST_XDIST_WORKER"}
    loaded = [f"-p{name}" for name in ("tests.runs.code_coverage", "xdist")]
    subprocess.run(
        [sys.executable, "-m", "pytest", *loaded, "-pno:cacheprovider", *options],
        cwd=project,
        env={
            **others,
            "PYTHONPATH": f"{ROOT}{os.pathsep}src/worchflow",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            VARIABLE: str(measurements),
        },
        check=True,
    )
    return measurements


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_the_least_covered_files_are_told_with_what_did_not_run(
    project: Path, options: tuple[str, ...]
) -> None:
    lines = report(run_tests(project, *options), project).splitlines()

    assert lines[0] == "62 % of the lines and branches of 3 files ran"
    assert lines[3:] == [
        "  0 %  src/worchflow/unread.py: 1",
        " 64 %  src/worchflow/shop.py: 4, 9->exit, 14-15",
    ]
    left = {path.name for path in project.iterdir()}
    assert left == {"src", "tests", "pytest.ini", "measurements"}


def test_a_run_that_measured_nothing_is_told_and_fails_nothing(tmp_path: Path) -> None:
    assert report(tmp_path, tmp_path).startswith("nothing was measured: ")


def test_data_without_branches_is_told_and_fails_nothing(tmp_path: Path) -> None:
    source = tmp_path / "src" / "worchflow" / "shop.py"
    source.parent.mkdir(parents=True)
    source.write_text("if True:\n    pass\n")
    data = CoverageData(basename=str(tmp_path / "data.1"))
    data.add_lines({str(source): [1]})
    data.write()

    assert report(tmp_path, tmp_path) == (
        "nothing was measured: the data has no branches"
    )


def test_lines_without_a_gap_are_one_place() -> None:
    assert list(spans_of([])) == []
    assert list(spans_of([3])) == [(3, 3)]
    assert list(spans_of([3, 4, 5, 7, 9, 10])) == [(3, 5), (7, 7), (9, 10)]


def test_what_is_almost_all_is_not_told_as_all_and_long_lists_are_cut() -> None:
    file = File("a.py", 99.99, tuple("123456"))

    assert str(file) == " 99 %  a.py: 1, 2, 3, 4, 5, …"
