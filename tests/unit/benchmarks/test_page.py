"""The page says what was measured, whether it met the goals, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from benchmarks.goals import (
    BARE,
    BARE_SQLITE,
    FAST,
    SQLITE,
    SQLITE_TWO,
    STRICT,
    STRICT_TWO,
    check_goals,
)
from benchmarks.page import charts, page
from benchmarks.results import Results

from worchflow.bench.workloads import PREFILLED, SENDING

RATE, P50 = "executions/s", "p50 ms"


def result(workload: str, system: str, value: float, **fields: Any) -> dict[str, Any]:
    leading = {"W1": RATE, "W2": P50, "W4": "µs a claim"}[workload]
    return {
        "workload": workload,
        "case": "sending included",
        "system": system,
        "leading": leading,
        "values": {leading: value},
        "figures": [value],
        "compared_to": STRICT,
        "advantage": None,
        **fields,
    }


def filled(system: str, rate: float) -> dict[str, Any]:
    return result("W1", system, rate, case=PREFILLED)


def sent(system: str, rate: float) -> dict[str, Any]:
    return result("W1", system, rate, case=SENDING)


def results(*measured: dict[str, Any], **skipped: str) -> Results:
    kinds = {
        STRICT: "worchflow",
        STRICT_TWO: "worchflow",
        FAST: "worchflow",
        SQLITE: "worchflow",
        SQLITE_TWO: "worchflow",
        BARE: "bare",
        BARE_SQLITE: "bare",
        "peer": "durable",
        "queue": "queue",
    }
    return Results(
        measured="2030-01-31 08:00 UTC",
        machine={
            "processors": 2,
            "processor": "some",
            "memory GiB": 4,
            "system": "Linux",
            "load before": 0.1,
            "fdatasync ms": {"p50": 0.2, "p99": 2.3},
            "python": "3.11",
            "sqlite": "3.40",
            **dict.fromkeys(
                ("worchflow", "pymongo", "redis", "hiredis", "uvloop"), "1"
            ),
        },
        sizes={"runs": 5, "executions": 100, "rounds": 10},
        systems=[
            {"name": name, "kind": kind, "version": None, "settings": ""}
            for name, kind in kinds.items()
        ],
        skipped=skipped,
        results=list(measured),
    )


def met(run: Results) -> list[bool | None]:
    return [goal.met for goal in check_goals(run)]


def test_what_was_not_measured_is_neither_met_nor_told() -> None:
    text = page(results())

    assert met(results()) == [None] * 10
    assert text.count("Not measured in this run.") == 7
    assert "{{" not in text


@pytest.mark.parametrize(
    ("goal", "measured", "expected"),
    [
        (0, [filled(STRICT, 70), filled(STRICT_TWO, 75), filled(BARE, 100)], True),
        (0, [filled(STRICT, 74), filled(STRICT_TWO, 70), filled(BARE, 100)], False),
        (1, [filled(SQLITE, 75), filled(BARE_SQLITE, 100)], True),
        (1, [filled(SQLITE, 74), filled(BARE_SQLITE, 100)], False),
        (2, [filled(STRICT, 100), sent(STRICT, 60)], True),
        # The best against the best.
        (2, [filled(STRICT_TWO, 110), filled(STRICT, 90), sent(STRICT, 60)], False),
        (3, [filled(SQLITE_TWO, 100), sent(SQLITE_TWO, 60)], True),
        (3, [filled(SQLITE_TWO, 100), sent(SQLITE_TWO, 59)], False),
        (4, [result("W1", "peer", 10, advantage=5.0)], True),
        (4, [result("W1", "peer", 10, advantage=4.99)], False),
        (5, [result("W1", "queue", 10, advantage=1.1)], True),
        (5, [result("W1", "queue", 10, advantage=1.0)], False),
        (6, [result("W2", STRICT, 2.8), result("W2", BARE, 2)], True),
        (6, [result("W2", STRICT, 3.2), result("W2", BARE, 2)], False),
        (7, [result("W2", FAST, 2), result("W2", "peer", 3)], True),
        (7, [result("W2", FAST, 3), result("W2", "peer", 3)], False),
        (8, [result("W2", SQLITE, 2)], True),
        (8, [result("W2", SQLITE, 2.1)], False),
        (9, [result("W4", STRICT, 10), result("W4", STRICT, 20)], True),
        (9, [result("W4", STRICT, 10), result("W4", STRICT, 21)], False),
    ],
)
def test_a_goal_is_met_or_plainly_not(
    goal: int, measured: list[dict[str, Any]], expected: bool
) -> None:
    run = results(*measured)

    assert met(run)[goal] is expected
    assert ("**no**" in page(run)) is (not expected)


@pytest.mark.parametrize(("runs", "expected"), [(4, True), (5, False)])
def test_a_run_that_says_little_is_told(runs: int, expected: bool) -> None:
    run = results()
    run.sizes["runs"] = runs

    assert ("A quick run" in page(run)) is expected


def test_the_worst_peer_decides() -> None:
    run = results(
        result("W1", "peer", 10, advantage=50.0, case="queue pre-filled"),
        result("W1", "peer", 10, advantage=3.0),
    )

    goal = check_goals(run)[4]
    assert goal.met is False
    assert goal.measured == "3 times peer (sending included)"


def test_every_row_is_on_the_page_with_the_ratio_first() -> None:
    text = page(
        results(
            result("W1", STRICT, 5000, advantage=1.0),
            result("W1", "peer", 500, advantage=10.0),
        )
    )

    rows = [line for line in text.splitlines() if re.match(r"\| [\d.]+x \|", line)]
    assert rows == [
        f"| 1x | **{STRICT}** | Worchflow | 5,000 | 5,000 to 5,000 |",
        "| 10x | peer | durable | 500 | 500 to 500 |",
    ]


def test_who_was_skipped_is_told_with_the_reason() -> None:
    text = page(results(peer="cannot be installed:\nno such | version"))

    assert "| peer | cannot be installed: no such / version |" in text


def test_the_charts_show_the_best_first() -> None:
    drawn = charts(results(result("W2", "peer", 9), result("W2", STRICT, 3)))

    assert drawn["latency.svg"].index(STRICT) < drawn["latency.svg"].index("peer 9")
