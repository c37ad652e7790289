"""Rules of the protocol taken out one by one: the seeds must notice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.run import hunt_all, table

MOST_SEEDS = 400
"""Of one mutant; most are caught by the first few."""


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_mutant_is_caught_that_is_not_argued_to_be_equivalent() -> None:
    hunts = hunt_all(MOST_SEEDS, only_first=True, equivalent=False)
    sys.stdout.write(table(hunts) + "\n")
    assert [MUTANTS[hunt.number].name for hunt in hunts if not hunt.caught] == []
    assert len(hunts) >= 12


def test_every_mutant_says_what_it_breaks() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert mutant.breaks
        with mutant.applied():
            pass


def test_the_readme_tells_of_every_mutant() -> None:
    readme = Path(__file__).with_name("README.md").read_text()
    assert [each.name for each in MUTANTS if f"| {each.name} |" not in readme] == []
