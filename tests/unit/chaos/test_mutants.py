"""The mutants of the chaos tests still fit the library that they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.mutants import MUTANTS, ROOT, SOURCE, Mutant


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_a_mutant_changes_one_place(mutant: Mutant) -> None:
    source = Path(ROOT, SOURCE, mutant.file).read_text()

    assert source.count(mutant.old) == 1
