"""Figures of runs, and what they say together: medians, percentiles, ratios."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RATE = "executions/s"
HIGHER_IS_BETTER = frozenset({RATE, "steps/s"})


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One system in one run of one case of a workload.

    `values` are by name and unit; `leading` is the one that ratios are about.
    """

    workload: str
    case: str
    system: str
    run: int
    leading: str
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The medians of all runs of one system in one case.

    `figures` are the leading ones of the runs, in their order. `advantage` says how
    many times better the compared Worchflow did in the same runs, None without it.
    """

    workload: str
    case: str
    system: str
    leading: str
    values: dict[str, float]
    figures: tuple[float, ...]
    compared_to: str
    advantage: float | None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summarize(
    measurements: Iterable[Measurement], compared_to: dict[str, str]
) -> list[Summary]:
    """One summary for each case and system of a workload, in the order of measuring."""
    cases: dict[tuple[str, str], dict[str, list[Measurement]]] = {}
    for each in measurements:
        systems = cases.setdefault((each.workload, each.case), {})
        systems.setdefault(each.system, []).append(each)
    return [
        _summary(runs, systems.get(compared_to[system], []), compared_to[system])
        for systems in cases.values()
        for system, runs in systems.items()
    ]


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """The median of the runs' own ratios: what slowed the machine slowed both.

    Both are figures by run, from the first one on; None where there is no ratio.
    """
    pairs = list(zip(numerators, denominators, strict=False))
    if not all(value for pair in pairs for value in pair):
        return None
    return statistics.median(a / b for a, b in pairs) if pairs else None


def _summary(
    runs: list[Measurement], partners: list[Measurement], compared_to: str
) -> Summary:
    first = runs[0]
    leading = _figures(runs)
    names = dict.fromkeys(name for each in runs for name in each.values)
    return Summary(
        workload=first.workload,
        case=first.case,
        system=first.system,
        leading=first.leading,
        values={
            name: statistics.median(
                each.values[name] for each in runs if name in each.values
            )
            for name in names
        },
        figures=tuple(leading),
        compared_to=compared_to,
        advantage=_advantage(runs, partners),
    )


def _advantage(runs: list[Measurement], partners: list[Measurement]) -> float | None:
    theirs, ours = _figures(runs), _figures(partners)
    if runs[0].leading in HIGHER_IS_BETTER:
        return ratio(ours, theirs)
    return ratio(theirs, ours)


def _figures(runs: list[Measurement]) -> list[float]:
    return [each.values[each.leading] for each in runs]
