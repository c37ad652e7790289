"""The outcome of a run as a file: what the page and the goals are made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worchflow.bench.measurements import summarize
from worchflow.bench.report import summary_shape
from worchflow.bench.workloads import Bench


@dataclass(frozen=True)
class Row:
    """One system in one case of a workload: the median of its runs."""

    workload: str
    case: str
    system: str
    kind: str
    leading: str
    value: float
    figures: tuple[float, ...]
    """The leading ones of the runs, in their order."""
    advantage: float | None
    values: dict[str, float]


@dataclass(frozen=True)
class Results:
    """A run."""

    measured: str
    machine: dict[str, Any]
    sizes: dict[str, Any]
    systems: list[dict[str, Any]]
    skipped: dict[str, str]
    results: list[dict[str, Any]] = field(repr=False)

    @classmethod
    def of(
        cls, bench: Bench, machine: dict[str, Any], versions: dict[str, str]
    ) -> Results:
        """From what was just measured."""
        compared = {each.name: each.compared_to for each in bench.systems}
        return cls(
            measured=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            machine=machine,
            sizes=json.loads(json.dumps(asdict(bench.sizes))),
            systems=[
                {
                    "name": each.name,
                    "kind": each.kind,
                    "version": versions.get(each.name),
                    "settings": each.note,
                }
                for each in bench.systems
            ],
            skipped=bench.skipped,
            results=[
                summary_shape(each) for each in summarize(bench.measurements, compared)
            ],
        )

    @classmethod
    def read(cls, path: Path) -> Results:
        """From a file."""
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        """To a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    def rows(self, workload: str, case: str | None = None) -> Iterator[Row]:
        """What was measured for a workload, in the order of measuring."""
        kinds = {each["name"]: each["kind"] for each in self.systems}
        for each in self.results:
            if each["workload"] == workload and case in (None, each["case"]):
                yield Row(
                    workload=workload,
                    case=each["case"],
                    system=each["system"],
                    kind=kinds[each["system"]],
                    leading=each["leading"],
                    value=each["values"][each["leading"]],
                    figures=tuple(each["figures"]),
                    advantage=each["advantage"],
                    values=each["values"],
                )

    def row(self, workload: str, system: str, case: str | None = None) -> Row | None:
        """The first row of a system in a workload."""
        rows = self.rows(workload, case)
        return next((row for row in rows if row.system == system), None)

    def cases(self, workload: str) -> list[str]:
        """The cases of a workload, in the order of measuring."""
        return list(dict.fromkeys(row.case for row in self.rows(workload)))
