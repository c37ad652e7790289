"""A process breaks before or after any store call, and all comes to the right end."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.crash_points.injection import Fault, Injection
from tests.crash_points.points import Crashes, faults_of
from tests.crash_points.wrapping import CALLS

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

VARIABLE = "WORCHFLOW_CRASH_POINTS"
PARTS = {"sqlite": 8, "redis_mongo": 20}
"""CI takes one of so many parts, another one every day."""
AT_ONCE = 8


def part_of(injections: Sequence[Injection], parts: int) -> list[Injection]:
    """The injections of this run: "all", or "2/16", or the part of the day."""
    today = datetime.now(UTC).toordinal()
    wanted = os.environ.get(VARIABLE) or f"{today}/{parts}"
    if wanted == "all":
        return list(injections)
    number, _, parts_text = wanted.partition("/")
    return [
        injection
        for injection in injections
        if _place(injection) % int(parts_text) == int(number) % int(parts_text)
    ]


def _place(injection: Injection) -> int:
    """A number that depends on the injection alone, and mixes points and faults."""
    return int.from_bytes(hashlib.sha256(str(injection).encode()).digest()[:4])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", PARTS)
async def test_a_process_may_break_at_any_store_call(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, prefix: str
) -> None:
    stores: tuple[str, ...] = ("sqlite:///FOLDER/worchflow.db",)
    if kind == "redis_mongo":
        redis_url = request.getfixturevalue("redis_url")
        stores = (redis_url, request.getfixturevalue("mongo_url"))
    crashes = Crashes(stores, prefix, tmp_path)
    points = await crashes.points(AT_ONCE)
    found = [
        Injection(point, fault)
        for point, where in points.items()
        for fault in faults_of(point, where)
    ]
    chosen = part_of(found, PARTS[kind])

    outcomes = await crashes.break_all(chosen, AT_ONCE)

    hits = Counter(str(each.injection.fault) for each in outcomes if each.hit)
    took_over = sum(not each.healed for each in outcomes)
    print(f"{kind}: {len(points)} points, {len(found)} injections")  # noqa: T201
    print(f"{kind}: {len(outcomes)} made, {took_over} taken over: {hits}")  # noqa: T201
    wrong = [f"{each.injection}: {each.wrong}" for each in outcomes if each.wrong]
    assert not wrong, "\n\n".join(wrong)
    missed = [str(each.injection) for each in outcomes if not each.hit]
    assert not missed, "never came up:\n" + "\n".join(missed)
    assert set(hits) == set(map(str, Fault))
    called = {point.name.partition(" ")[0].partition(".")[2] for point in points}
    assert CALLS - called == {"check", "seen"}, "which change nothing"
