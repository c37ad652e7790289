"""The performance page holds the figures of its data, and no others."""

from __future__ import annotations

import pytest
from benchmarks.page import DATA, PAGE, charts, page
from benchmarks.results import Results

AGAIN = ".venv/bin/python -m benchmarks.page"


@pytest.fixture(scope="module")
def results() -> Results:
    """The run that the page tells about."""
    return Results.read(DATA)


def test_the_page_is_what_its_data_says(results: Results) -> None:
    assert PAGE.read_text() == page(results), f"write it again: {AGAIN}"


def test_the_charts_are_what_the_data_says(results: Results) -> None:
    drawn = charts(results)

    kept = {path.name: path.read_text() for path in DATA.parent.glob("*.svg")}
    assert kept == drawn, f"draw them again: {AGAIN}"
