"""The outcome of a benchmark: as a table for people, and as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .measurements import Summary

HEADER = ("RATIO", "WORKLOAD", "SYSTEM", "MEDIAN", "LOW-HIGH", "CPU", "MIB")
LEGEND = (
    "RATIO: how many times better Worchflow did than this row, in the same runs (the "
    "median of their ratios). CPU: microseconds for each execution, or percent of a "
    "core. MIB: in use at the end, where shared pages count in parts."
)


def table_rows(summaries: Iterable[Summary]) -> list[Sequence[str]]:
    """One row for each summary, the ratio first."""
    return [
        (
            ratio_text(each.advantage),
            f"{each.workload} {each.case}",
            each.system,
            f"{number(each.values[each.leading])} {each.leading}{_beside(each)}",
            f"{number(min(each.figures))}-{number(max(each.figures))}",
            _by_name(each, "CPU µs ") or _by_name(each, "CPU % "),
            _by_name(each, "MiB "),
        )
        for each in summaries
    ]


def summary_shape(summary: Summary) -> dict[str, Any]:
    """A summary as plain data, figures to six digits."""
    shape = asdict(summary)
    rounded = {name: _rounded(value) for name, value in summary.values.items()}
    return {
        **shape,
        "values": rounded,
        "figures": [_rounded(value) for value in summary.figures],
        "advantage": None if summary.advantage is None else _rounded(summary.advantage),
    }


def ratio_text(advantage: float | None) -> str:
    """A ratio with three digits; empty without one."""
    return "" if advantage is None else f"{advantage:.3g}x"


def number(value: float) -> str:
    """Three digits at least, with commas from a thousand up."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _beside(summary: Summary) -> str:
    """The figure that belongs beside the leading one."""
    p99 = summary.values.get("p99 ms")
    return "" if p99 is None else f", {number(p99)} p99 ms"


def _by_name(summary: Summary, beginning: str) -> str:
    return ", ".join(
        f"{name.removeprefix(beginning)} {number(value)}"
        for name, value in summary.values.items()
        if name.startswith(beginning)
    )


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
