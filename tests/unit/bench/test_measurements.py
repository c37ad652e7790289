"""What many runs say together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worchflow.bench.measurements import RATE, Measurement, percentile, summarize

COMPARED = {"ours": "ours", "theirs": "ours"}


def measured(system: str, run: int, value: float, leading: str = RATE) -> Measurement:
    return Measurement(
        workload="W1",
        case="case",
        system=system,
        run=run,
        leading=leading,
        values={leading: value},
    )


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50), (99, 99), (100, 100), (1, 1), (0.5, 1)]
)
def test_a_percentile_is_one_of_the_values(percent: float, expected: int) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7


def test_a_summary_has_the_median_and_the_figures() -> None:
    (summary,) = summarize(
        [measured("ours", run, value) for run, value in enumerate((30, 10, 20))],
        COMPARED,
    )

    assert summary.values == {RATE: 20}
    assert summary.figures == (30, 10, 20)


def test_the_advantage_is_the_median_of_the_runs_own_ratios() -> None:
    """In the second run the machine was slow: for both."""
    runs = [(100, 10), (20, 1), (90, 15)]
    measurements = [
        each
        for run, (ours, theirs) in enumerate(runs)
        for each in (measured("ours", run, ours), measured("theirs", run, theirs))
    ]

    ours, theirs = summarize(measurements, COMPARED)

    assert ours.advantage == 1
    assert theirs.advantage == 10  # of 10, 20 and 6; the medians 90 and 10 would give 9


def test_less_is_better_for_a_latency() -> None:
    measurements = [
        measured("ours", 1, 2.0, "p50 ms"),
        measured("theirs", 1, 9.0, "p50 ms"),
    ]

    assert [each.advantage for each in summarize(measurements, COMPARED)] == [1, 4.5]


def test_without_a_partner_there_is_no_ratio() -> None:
    (theirs,) = summarize([measured("theirs", 1, 5.0)], COMPARED)

    assert theirs.advantage is None


def test_who_gave_up_early_is_compared_in_the_runs_there_were() -> None:
    measurements = [measured("ours", run, value) for run, value in enumerate((8, 6))]

    _, theirs = summarize([*measurements, measured("theirs", 0, 2)], COMPARED)

    assert theirs.advantage == 4


def test_what_is_measured_in_turn_is_told_case_by_case() -> None:
    cases = [
        replace(measured(system, 0, 1), case=case)
        for system in ("ours", "theirs")
        for case in ("a", "b")
    ]

    told = [(each.case, each.system) for each in summarize(cases, COMPARED)]
    assert told == [("a", "ours"), ("a", "theirs"), ("b", "ours"), ("b", "theirs")]


def test_a_zero_gives_no_ratio() -> None:
    measurements = [
        measured("ours", 1, 0.0, "CPU %"),
        measured("theirs", 1, 0.0, "CPU %"),
    ]

    assert {each.advantage for each in summarize(measurements, COMPARED)} == {None}
