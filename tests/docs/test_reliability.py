"""The figures on the reliability page are those that long runs recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.figures import CHAOS, MACHINE, PAGE, RECORDED, SOAK, TEST, page, read

LINES = read(RECORDED)


def of(name: str) -> list[dict[str, Any]]:
    """What the runs of a test recorded."""
    return [line for line in LINES if f"::{name}" in line["test"]]


def test_the_page_says_what_was_recorded() -> None:
    assert PAGE.read_text() == page(PAGE.read_text(), LINES), (
        "./scripts/prove --page writes it anew"
    )


def test_every_kind_of_fault_was_recorded_and_nothing_was_violated() -> None:
    chaos = [line for line in LINES if line["test"] != MACHINE and "ledger" in line]
    names = {match["name"] for line in chaos if (match := TEST.search(line["test"]))}

    assert names == set(CHAOS)
    assert [line for line in chaos if line["violations"] or line.get("doubts")] == []


@pytest.mark.parametrize("store", ["sqlite", "redis_mongo"])
def test_workers_were_killed_for_long_enough_to_mean_something(store: str) -> None:
    (run,) = of(f"test_killed_workers_lose_nothing[{store}]")

    assert run["faults: kill"] >= 300
    assert run["seconds"] >= 20 * 60


def test_workers_were_soaked_for_long_enough_to_mean_something() -> None:
    reconnecting, on_a_file = (of(name)[0] for name in SOAK)

    assert reconnecting["executions"] >= 100_000
    assert reconnecting["reconnects"] >= 500
    assert on_a_file["executions"] >= 100_000
