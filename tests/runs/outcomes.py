"""A pytest plugin: writes what failed, and what dependencies left open, to a file.

`-p tests.runs.outcomes`, with the file's name in WORCHFLOW_TEST_OUTCOMES.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

VARIABLE = "WORCHFLOW_TEST_OUTCOMES"


@dataclass
class Outcomes:
    """What became of one run of pytest.

    `failed` are the ids of tests, `uncollected` the files that could not be read,
    `leaks` the resources that dependencies left to the garbage collector, counted by
    kind.
    """

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    uncollected: list[str] = field(default_factory=list)
    leaks: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What the plugin wrote; nothing, if pytest ended before it could."""
        if not path.exists():
            return cls()
        values: dict[str, Any] = json.loads(path.read_text())
        return cls(**values)


class Recorder:
    """Listens to pytest, in the process that the tests of the others report to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passed: set[str] = set()
        self._failed: dict[str, None] = {}
        self._uncollected: dict[str, None] = {}
        self._leaks: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None
        elif report.passed and report.when == "call":
            self._passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._uncollected[report.nodeid] = None

    def pytest_warning_recorded(self, warning_message: Any) -> None:
        if issubclass(warning_message.category, ResourceWarning):
            self._leaks[str(warning_message.message).partition(" fd=")[0]] += 1

    def pytest_sessionfinish(self) -> None:
        outcomes = Outcomes(
            passed=len(self._passed - self._failed.keys()),
            failed=list(self._failed),
            uncollected=list(self._uncollected),
            leaks=dict(self._leaks),
        )
        self._path.write_text(json.dumps(asdict(outcomes)))


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get(VARIABLE)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(path)), "worchflow-outcomes")
