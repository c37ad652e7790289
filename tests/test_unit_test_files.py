"""Unit tests follow the tree: a file of them names the module that it tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent

TESTED = ("src/worchflow", "tests", ".")
"""Where the modules are: `tests/unit/<package>/test_<x>.py` tests `<package>/<x>.py`
below one of these. The last two hold the tools of the tests and the benchmarks."""


def without_a_module(tests: Iterable[str], modules: Iterable[str]) -> list[str]:
    """The files of tests, below `tests/unit`, that name no module of `TESTED`."""
    there = set(modules)
    return [test for test in tests if not there & set(modules_of(test))]


def modules_of(test: str) -> list[str]:
    """The modules that a file of tests may be about; a package is one too."""
    path = PurePosixPath(test)
    module = path.with_name(path.stem.removeprefix("test_"))
    return [
        str(PurePosixPath(folder, name))
        for folder in TESTED
        for name in (f"{module}.py", f"{module}/__init__.py")
    ]


def test_every_file_of_unit_tests_names_a_module() -> None:
    unit = ROOT / "tests" / "unit"
    tests = [str(path.relative_to(unit)) for path in sorted(unit.rglob("test_*.py"))]
    modules = [
        str(path.relative_to(ROOT))
        for folder in ("src", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]

    assert len(tests) > 50
    assert without_a_module(tests, modules) == []


@pytest.mark.parametrize(
    "test",
    [
        "model/test_recrods.py",  # no module of this name
        "test_records.py",  # not in the folder of its package
        "worker/test_records.py",  # that of another package
        "model/test_test_records.py",
    ],
)
def test_a_file_that_names_no_module_is_found(test: str) -> None:
    modules = ["src/worchflow/model/records.py", "src/worchflow/worker/lease.py"]

    assert without_a_module([test, "model/test_records.py"], modules) == [test]


WITHOUT_CODE = {"__init__", "operation", "ownership", "worker_runtime"}
"""Modules of the engine that only say what others look like."""


def test_each_module_of_the_engine_has_unit_tests() -> None:
    engine = ROOT / "src" / "worchflow" / "engine"
    unit = ROOT / "tests" / "unit" / "engine"
    missing = [
        str(path.relative_to(engine))
        for path in sorted(engine.rglob("*.py"))
        if path.stem not in WITHOUT_CODE
        and not (
            unit / path.relative_to(engine).parent / f"test_{path.stem}.py"
        ).exists()
    ]

    assert missing == []
