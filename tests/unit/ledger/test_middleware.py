"""What a ledger tells of steps, and the digest by which it compares results."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from worchflow import Context, SyncContext, Worchflow
from worchflow.foundations.ids import part_id, step_id
from worchflow.ledger import Kind, Ledger, LedgerMiddleware, Plan
from worchflow.ledger.middleware import digest

PLAN = Plan(
    executions=1, faults={"kill": 1}, mid_step=1, slots=1, width=1, drained_within=60
)


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([1], (1,)), (PLAN, replace(PLAN))],
)
def test_equal_results_have_equal_digests(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)
    assert digest(one) is not None


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes"])
def test_what_has_no_form_that_is_always_equal_has_no_digest(value: Any) -> None:
    assert digest(value) is None
    assert digest("1") != digest(1)


class InMemory(Ledger):
    """A ledger that is no file: this process alone writes to it."""

    def __init__(self) -> None:
        self.told: Counter[tuple[Kind, str]] = Counter()

    @override
    def write(self, kind: Kind, **fields: Any) -> None:
        if step := fields.get("step"):
            self.told[kind, step] += 1


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_items_and_arms_are_told_about_as_steps_are(sync: bool) -> None:
    ledger = InMemory()
    app = Worchflow("app", sqlite=":memory:", middleware=[LedgerMiddleware(ledger)])

    async def later(n: int) -> int:
        return n

    if sync:

        @app.function("go")
        def in_a_thread(ctx: SyncContext[None]) -> list[Any]:
            step = ctx.step
            found: list[Any] = step.map("Item", abs, [1, 2])
            found += step.race(
                "First", a=lambda: step.run("Arm", abs, 3), b=lambda: step.sleep("B", 9)
            )
            return found

    else:

        @app.function("go")
        async def go(ctx: Context[None]) -> list[Any]:
            step = ctx.step
            found: list[Any] = await step.map("Item", later, [1, 2])
            found += await step.race(
                "First", a=step.run("Arm", later, 3), b=step.sleep("B", 9)
            )
            return found

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "go", "data": None})
        assert await handle.result(timeout=30) == [1, 2, "a", 3]
        recorded = await client.steps(handle.id)

    own = step_id("Item")
    names = [f"Item {part_id(own, f'[{n}]')[:8]}" for n in (0, 1)]
    names.append(f"Arm {step_id('Arm')[:8]}")
    told = ledger.told
    assert {each for each in told if each[0] is Kind.START} == {
        (Kind.START, name) for name in names
    }
    kinds = (Kind.START, Kind.DONE, Kind.ACKED)
    assert all(told[kind, name] == 1 for name in names for kind in kinds)
    assert len(recorded) == 5
