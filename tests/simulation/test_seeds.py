"""Thousands of fleets in virtual time; see README.md beside this file."""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest

from tests.simulation.faults import FAULTS
from tests.simulation.run import (
    ENOUGH,
    EVERY_COUNT,
    Summary,
    digests,
    in_processes,
    run_range,
)
from tests.simulation.simulation import run_seed

SEEDS = int(os.environ.get("WORCHFLOW_SIMULATION_SEEDS", "100"))
FIRST = int(os.environ.get("WORCHFLOW_SIMULATION_FIRST", "0"))


@pytest.mark.timeout(3600)
def test_no_promise_is_broken_and_every_fault_matters() -> None:
    summary = run_range(FIRST, FIRST + SEEDS)
    sys.stdout.write(f"{summary}\n")
    reports = [outcome.report() for outcome in summary.failed[:3]]
    assert not reports, "\n\n".join(reports)
    assert summary.seeds == SEEDS
    assert summary.missing == [], str(summary)


def test_a_seed_replays_exactly_in_any_process_after_any_other() -> None:
    (there,) = in_processes(digests, [(3, 11, 20)], 1)
    (here,) = in_processes(digests, [(20, 3, 11)], 1)
    assert here == [there[2], there[0], there[1]]
    assert len(set(here)) == 3


@pytest.mark.parametrize("fault", FAULTS)
def test_seeds_in_which_a_fault_mattered_too_seldom_prove_nothing(fault: str) -> None:
    summary = _with_enough_of_everything()
    summary.hits[fault] = 1
    assert summary.missing == [fault]


@pytest.mark.parametrize("name", EVERY_COUNT)
def test_seeds_in_which_something_came_up_too_seldom_prove_nothing(name: str) -> None:
    summary = _with_enough_of_everything()
    summary.counts[name] = 1
    assert summary.missing == [name]


def _with_enough_of_everything() -> Summary:
    summary = Summary(
        seeds=2 * ENOUGH,
        hits=Counter(dict.fromkeys(FAULTS, 2)),
        counts=Counter(dict.fromkeys(EVERY_COUNT, 2)),
    )
    assert summary.missing == []
    return summary


def test_a_failing_seed_says_what_happened_and_how_to_see_it_again() -> None:
    outcome = run_seed(3)
    report = outcome.report(last=5)
    assert len(report.splitlines()) >= 7
    assert "-m tests.simulation.run 3" in report
    whole = outcome.report(last=len(outcome.history))
    assert len(whole.splitlines()) > len(outcome.history)
