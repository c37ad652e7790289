"""The children that an attempt waits for: looked at together, no more than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.stores import claim_many, joined, settle
from tests.unit.engine.attempts import Engine
from tests.waiting import until
from worchflow import Context
from worchflow.engine.attempt import Attempt
from worchflow.engine.open_children import OpenChildren
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.children import Child
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed

S = ExecutionStatus


class Store:
    """Children whose states a test sets; what was asked for is in `calls`."""

    def __init__(self) -> None:
        self.states: dict[str, ExecutionStatus] = {}
        self.calls: list[list[str]] = []
        self.failures: list[Exception] = []

    async def find(
        self, ids: Sequence[str], *, only_ended: bool = False
    ) -> dict[str, Child]:
        self.calls.append(list(ids))
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop()
        known = {each: self.states[each] for each in ids if each in self.states}
        if only_ended:
            known = {id_: each for id_, each in known.items() if each.is_terminal}
        return {id_: Child(id_, status, 1, "1") for id_, status in known.items()}


@pytest.fixture
async def attempt(engine: Engine) -> Attempt:
    async def handler(ctx: Context[None]) -> None:
        pass

    return await engine.attempt(handler)


def opened(attempt: Attempt) -> tuple[OpenChildren, Any]:
    store: Any = Store()
    return OpenChildren(attempt.scope, attempt.parking, store), store


async def test_those_of_one_turn_are_asked_for_in_one_call(attempt: Attempt) -> None:
    children, store = opened(attempt)
    store.states = {"a": S.QUEUED, "b": S.COMPLETED}

    a, b, again, gone = await asyncio.gather(
        *(children.find(each) for each in ("a", "b", "b", "c"))
    )

    assert store.calls == [["a", "b", "c"]]
    assert a is not None
    assert (a.status, b, gone) == (S.QUEUED, again, None)


async def test_whoever_asks_is_told_that_the_store_does_not_answer(
    attempt: Attempt,
) -> None:
    children, store = opened(attempt)
    store.failures = [StoreUnavailable("away")]

    with pytest.raises(StoreUnavailable):
        await children.find("a")


async def test_a_look_is_repeated_until_the_store_answers(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worchflow.engine.open_children.RETRY_SECONDS", 0.01)
    children, store = opened(attempt)
    store.states, store.failures = {"a": S.COMPLETED}, [StoreUnavailable("away")]
    operation: Any = object()
    children.add("a", operation)

    children.look()
    assert len(attempt.scope)  # so it is not suspended meanwhile
    await until(lambda: not len(attempt.scope))

    assert len(store.calls) == 2
    # Known already, and only once.
    found = await children.find("a")
    assert found is not None
    assert found.status is S.COMPLETED
    assert len(store.calls) == 2


async def test_what_is_asked_for_during_a_look_is_looked_at_afterwards(
    attempt: Attempt,
) -> None:
    children, store = opened(attempt)
    operation: Any = object()
    children.add("a", operation)
    children.look()
    children.add("b", operation)

    children.look()
    children.look()
    await until(lambda: not len(attempt.scope))

    assert store.calls == [["a", "b"], ["a", "b"]]
    children.remove("a")
    children.look()
    await until(lambda: not len(attempt.scope))
    assert store.calls[-1] == ["b"]


async def test_only_those_continue_whose_child_has_ended(engine: Engine) -> None:
    engine.slot.park_for = 60
    asked: list[int] = []
    real: Any = engine.backend.children
    find = real.find

    async def counted(ids: Sequence[str], **options: Any) -> Any:
        asked.append(len(ids))
        return await find(ids, **options)

    real.find = counted

    async def handler(ctx: Context[None]) -> int:
        found = await asyncio.gather(
            *(
                ctx.step.options(key=n).invoke("c", {"name": "c", "data": n})
                for n in range(20)
            )
        )
        return sum(found)

    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    assert asked == []
    worker = await joined(engine.backend, "c")
    claims = await claim_many(engine.backend, worker, 20)
    for claim in claims[:10]:
        await settle(engine.backend, claim, Completed("1"))
    runner.attempt.woken()
    await until(lambda: asked == [20])
    for claim in claims[10:]:
        await settle(engine.backend, claim, Completed("1"))
    runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)
    assert outcome is not None
    assert outcome.settlement == Completed("20")
    assert asked == [20, 10]


async def test_an_error_of_a_look_lets_each_look_for_itself(engine: Engine) -> None:
    """Else the end of one would be lost with the wake-up that told of it."""
    engine.slot.park_for = 60
    real: Any = engine.backend.children
    find = real.find

    async def breaks(ids: Sequence[str], *, only_ended: bool = False) -> Any:
        if only_ended:
            raise ValueError("one of them cannot be read")
        return await find(ids)

    real.find = breaks

    async def handler(ctx: Context[None]) -> int:
        return int(await ctx.step.invoke("c", {"name": "c", "data": 1}))

    runner = await engine.runner(handler)
    running = asyncio.create_task(runner.run())
    await until(lambda: engine.slot.suspend is not None)
    (claim,) = await claim_many(engine.backend, await joined(engine.backend, "c"), 1)
    await settle(engine.backend, claim, Completed("1"))
    runner.attempt.woken()

    outcome = await asyncio.wait_for(running, 10)
    assert outcome is not None
    assert outcome.settlement == Completed("1")
