"""Writes docs/performance.md and its charts from the data of a run.

    .venv/bin/python -m benchmarks.page

Every figure on the page comes from docs/performance/results.json; what that run did not
measure is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.charts import Bar, bar_chart
from benchmarks.goals import check_goals
from benchmarks.results import Results, Row
from worchflow.bench.machine import machine_line
from worchflow.bench.report import number, ratio_text
from worchflow.bench.systems import P99

ROOT = Path(__file__).parent.parent
TEMPLATE = Path(__file__).parent / "performance.md"
PAGE = ROOT / "docs" / "performance.md"
DATA = ROOT / "docs" / "performance" / "results.json"
ENOUGH_RUNS = 5
NOT_MEASURED = "Not measured in this run."


def write_page(results: Results) -> None:
    """Write the page and its charts."""
    PAGE.write_text(page(results))
    for name, chart in charts(results).items():
        (DATA.parent / name).write_text(chart)


def page(results: Results) -> str:
    """The page as text."""
    text = TEMPLATE.read_text()
    for name, section in SECTIONS.items():
        text = text.replace(f"{{{{{name}}}}}", section(results))
    return text.rstrip() + "\n"


def charts(results: Results) -> dict[str, str]:
    """Every chart by its file's name."""
    sent = list(results.rows("W1", "sending included"))
    idle = list(results.rows("W2"))
    return {
        "throughput.svg": bar_chart(
            "Sending included",
            "executions of three steps, or plain tasks, per second",
            _bars(sorted(sent, key=lambda row: -row.value)),
        ),
        "latency.svg": bar_chart(
            "Send to result, idle",
            "p50 in milliseconds, less is better",
            _bars(sorted(idle, key=lambda row: row.value)),
        ),
    }


def _bars(rows: Iterable[Row]) -> list[Bar]:
    return [Bar(row.system, row.kind, row.value) for row in rows]


def _run(results: Results) -> str:
    sizes = results.sizes
    runs = "1 run" if sizes["runs"] == 1 else f"{sizes['runs']} runs"
    return (
        f"{warning(results)}{results.measured}. {machine_line(results.machine)}.\n\n"
        f"Medians of {runs}; {sizes['executions']:,} executions in a run of W1 (fewer "
        f"for slower peers), {sizes['rounds']:,} in one of W2.\n\n"
        "Redis keeps an append-only file that it syncs every second, MongoDB is a "
        "replica set of one member with majority and journaled writes, PostgreSQL "
        "commits synchronously, SQLite uses a write-ahead log with `synchronous=FULL`."
    )


def warning(results: Results) -> str:
    """What to say before the figures of a run that says little; mostly nothing."""
    if results.sizes["runs"] >= ENOUGH_RUNS:
        return ""
    return "**A quick run: its figures show that all works, and say little else.**\n\n"


def _goals(results: Results) -> str:
    met = {True: "yes", False: "**no**", None: "not measured"}
    return table(
        ("Goal", "Measured", "Met"),
        [(goal.text, goal.measured, met[goal.met]) for goal in check_goals(results)],
    )


def _measured(workload: str) -> Callable[[Results], str]:
    def section(results: Results) -> str:
        parts = [
            f"**{case[:1].upper()}{case[1:]}**\n\n{_case(results, workload, case)}"
            for case in results.cases(workload)
        ]
        return "\n\n".join(parts) or NOT_MEASURED

    return section


def _case(results: Results, workload: str, case: str) -> str:
    rows = list(results.rows(workload, case))
    columns: dict[str, Callable[[Row], str]] = {
        "Ratio": lambda row: ratio_text(row.advantage),
        "System": lambda row: (
            f"**{row.system}**" if row.kind == "worchflow" else row.system
        ),
        "Kind": lambda row: KINDS[row.kind],
        rows[0].leading: lambda row: number(row.value),
        P99: lambda row: _value(row, P99),
        "steps/s": lambda row: _value(row, "steps/s"),
        "Lowest to highest": lambda row: (
            f"{number(min(row.figures))} to {number(max(row.figures))}"
        ),
        "CPU": lambda row: _by_name(row, "CPU µs ") or _by_name(row, "CPU % "),
        "Memory": lambda row: _by_name(row, "MiB "),
    }
    cells = [[cell(row) for cell in columns.values()] for row in rows]
    kept = [
        index
        for index, name in enumerate(columns)
        if any(line[index] for line in cells) and not (name == "Ratio" and _alone(rows))
    ]
    header = list(columns)
    return table(
        [header[index] for index in kept], [[line[i] for i in kept] for line in cells]
    )


KINDS = {
    "worchflow": "Worchflow",
    "bare": "bare writes",
    "durable": "durable",
    "queue": "one task, not durable",
}


def _alone(rows: Sequence[Row]) -> bool:
    """Whether there is nobody to compare with."""
    return all(row.kind == "worchflow" for row in rows)


def _value(row: Row, name: str) -> str:
    """Empty for a figure that makes no sense of this system."""
    return number(row.values[name]) if row.values.get(name) else ""


def _by_name(row: Row, beginning: str) -> str:
    return ", ".join(
        f"{name.removeprefix(beginning)} {number(value)}"
        for name, value in row.values.items()
        if name.startswith(beginning)
    )


def _systems(results: Results) -> str:
    return table(
        ("System", "Version", "Settings"),
        [
            (each["name"], each["version"] or "", each["settings"])
            for each in results.systems
        ],
    )


def _skipped(results: Results) -> str:
    if not results.skipped:
        return "No peer was skipped."
    rows = [(name, " ".join(why.split())) for name, why in results.skipped.items()]
    return "Skipped in this run:\n\n" + table(("Peer", "Reason"), rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines
    )


SECTIONS: dict[str, Callable[[Results], str]] = {
    "run": _run,
    "goals": _goals,
    **{name: _measured(name) for name in ("W1", "W2", "W3", "W4", "W5", "W6", "W7")},
    "systems": _systems,
    "skipped": _skipped,
}

if __name__ == "__main__":
    write_page(Results.read(DATA))
