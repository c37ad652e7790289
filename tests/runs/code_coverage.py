"""How much of the library the tests run, by line and branch: for people, no gate.

`-p tests.runs.code_coverage` is a pytest plugin that measures, into the folder that
WORCHFLOW_TEST_COVERAGE names. `python -m tests.runs.code_coverage FOLDER` then prints
the least covered files and ends with 0, whatever they are.

A tracer sees every call of Python code, also those of the drivers: a traced test takes
half as much processor time again. So a run measures

- the tiers of `MEASURED`, which call the library in the process of the tests. The
  others mostly start programs or simulate for minutes;
- of these, what runs on SQLite or on no store. The same tests on Redis and MongoDB
  run the same lines above the stores, and tracing them too costs three times as much;
- no test that Hypothesis feeds: hundreds of calls that run the same lines, whose own
  limits of time would fail under a tracer;
- imports in one process only, not in each of the four.

Programs that tests start are not measured: many are killed, others check what they
import, and a tracer imports a lot. The files of `OMITTED`, which run in what is left
out alone, are not listed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import coverage
import pytest
from coverage.exceptions import CoverageException

VARIABLE = "WORCHFLOW_TEST_COVERAGE"

MEASURED = frozenset({"unit", "conformance", "scenarios", "sqlite"})
NOT_MEASURED = ("redis", "mongo", "simulated")
"""Words in the names of tests that run on these stores."""
OMITTED = ("__main__.py", "bench/*", "cli/commands/*", "storage/redis_mongo/*")

MAX_FILES = 10
MAX_PLACES = 5
"""So many files are printed, and so many places in each."""


def make_coverage(folder: Path, source: Path) -> coverage.Coverage:
    """Measurement of the files below `source`, with its data in `folder` alone.

    Where Python can monitor branches itself (3.14), coverage uses that in place of a
    tracer.
    """
    measured = coverage.Coverage(
        data_file=str(folder / "data"),
        data_suffix=True,
        config_file=False,
        branch=True,
        source=[str(source)],
        omit=[str(source / pattern) for pattern in OMITTED],
    )
    # The process that only hands out tests has no data. A test may set a tracer of
    # its own, which ends the measurement of that test. Code that a test made up may
    # say that it is of a file that is not there.
    slugs = ["no-data-collected", "trace-changed", "couldnt-parse"]
    measured.set_option("run:disable_warnings", slugs)
    return measured


class Measurement:
    """Runs the tracer while a process collects its tests, and in tests of `MEASURED`.

    It is written when the process ends in order. A process that a test forks writes
    nothing.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._tests = root / "tests"
        self._coverage = make_coverage(folder, root / "src" / "worchflow")
        if os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":
            self._coverage.start()

    def pytest_collection_finish(self) -> None:
        self._coverage.stop()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item
    ) -> Generator[None, object, object]:
        if not self._is_measured(item):
            return (yield)
        self._coverage.start()
        try:
            return (yield)
        finally:
            self._coverage.stop()

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        self._coverage.save()

    def _is_measured(self, item: pytest.Item) -> bool:
        if item.path.relative_to(self._tests).parts[0] not in MEASURED:
            return False
        if any(word in item.name for word in NOT_MEASURED):
            return False
        return not getattr(getattr(item, "obj", None), "is_hypothesis_test", False)


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begin before the first file that imports the library is read."""
    folder = os.environ.get(VARIABLE)
    if folder:
        measurement = Measurement(Path(folder), early_config.rootpath)
        early_config.pluginmanager.register(measurement, "worchflow-coverage")


# --- the report ---------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """How much of one file ran: its lines and its branches, in percent."""

    path: str
    percent: float
    places: tuple[str, ...]
    """What did not run: `12`, `12-15`, or the branch `12->18` of a line that did."""

    @classmethod
    def read(cls, path: str, values: dict[str, Any]) -> Self:
        """From the report that coverage writes as JSON."""
        lines: list[int] = values["missing_lines"]
        branches: list[list[int]] = values["missing_branches"]
        spans = [(first, as_span(first, last)) for first, last in spans_of(lines)]
        spans += [
            (start, f"{start}->{'exit' if end < 0 else end}")
            for start, end in branches
            if start not in lines and end not in lines
        ]
        places = tuple(text for _, text in sorted(spans))
        return cls(path, values["summary"]["percent_covered"], places)

    def __str__(self) -> str:
        shown = ", ".join(self.places[:MAX_PLACES])
        more = ", …" if len(self.places) > MAX_PLACES else ""
        # Never "100 %" of a file in which something did not run.
        return f"{int(self.percent):>3} %  {self.path}: {shown}{more}"


def as_span(first: int, last: int) -> str:
    """Some lines, for people."""
    return str(first) if first == last else f"{first}-{last}"


def spans_of(lines: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last line of what follows without a gap."""
    first = last = None
    for line in lines:
        if first is None or last is None:
            first = line
        elif line > last + 1:
            yield first, last
            first = line
        last = line
    if first is not None and last is not None:
        yield first, last


def report(folder: Path, root: Path) -> str:
    """The least covered files of what was measured in `folder`, for people."""
    measured = make_coverage(folder, root / "src" / "worchflow")
    result = folder / "report.json"
    try:
        measured.combine([str(folder)], keep=True)
        total = measured.json_report(outfile=str(result), ignore_errors=True)
    except CoverageException as error:
        return f"nothing was measured: {error}"
    if not measured.get_data().has_arcs():
        return "nothing was measured: the data has no branches"
    found: dict[str, Any] = json.loads(result.read_text())["files"]
    files = [File.read(relative(path, root), values) for path, values in found.items()]
    least = sorted((f for f in files if f.places), key=lambda f: (f.percent, f.path))
    lines = [
        f"{int(total)} % of the lines and branches of {len(files)} files ran",
        f"in the tiers {', '.join(sorted(MEASURED))};",
        "in each of the least covered files, the first places that did not:",
        *map(str, least[:MAX_FILES]),
    ]
    return "\n".join(lines)


def relative(path: str, root: Path) -> str:
    """A path below the root, as coverage may tell it."""
    return str((root / path).relative_to(root))


if __name__ == "__main__":
    print(report(Path(sys.argv[1]), Path.cwd()))
