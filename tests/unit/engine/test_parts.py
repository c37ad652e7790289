"""Parts of an operation: so many at once, the first of them, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.engine.attempts import Engine
from worchflow import Context
from worchflow.definitions.calls import StepCall
from worchflow.engine.attempt import Attempt
from worchflow.engine.operations.run import Run
from worchflow.engine.ownership import Interrupted
from worchflow.engine.parts import STARTED_AT_ONCE, PartOutcome, Parts


async def nothing(ctx: Context[None]) -> None: ...


class Whole:
    """An operation that does its parts in its own task, as one that runs."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        threads = attempt.runtime.step_threads
        self.own = Run(attempt, StepCall("whole", nothing), "whole", threads)
        attempt.scope.begin(self.own)
        self.parts = Parts(attempt, self.own)

    def part(self, number: int, do: Callable[[], Awaitable[Any]]) -> Run:
        threads = self.attempt.runtime.step_threads
        call = StepCall(f"part {number}", do)
        return Run(self.attempt, call, f"part {number}", threads)

    async def all(
        self, do: Callable[[int], Awaitable[Any]], count: int, concurrency: int
    ) -> dict[int, PartOutcome]:
        def make(number: int) -> Run:
            return self.part(number, lambda: do(number))

        return await self.parts.all(range(count), make, concurrency)


@pytest.fixture
async def whole(engine: Engine) -> Whole:
    return Whole(await engine.attempt(nothing))


async def test_every_part_ends_with_a_value_or_an_error(whole: Whole) -> None:
    async def do(number: int) -> int:
        if number == 1:
            raise ValueError(number)
        return number * 10

    outcomes = await whole.all(do, 3, 2)

    assert [outcomes[0].unwrap(), outcomes[2].unwrap()] == [0, 20]
    with pytest.raises(ValueError, match="1"):
        outcomes[1].unwrap()
    assert whole.attempt.scope.runs_only([whole.own])


async def test_the_whole_does_not_run_while_its_parts_do(whole: Whole) -> None:
    scope, go_on = whole.attempt.scope, asyncio.Event()
    begun = asyncio.Barrier(3)

    async def do(number: int) -> int:
        await begun.wait()
        await go_on.wait()
        return number

    doing = asyncio.ensure_future(whole.all(do, 2, 2))
    await begun.wait()
    assert whole.own in scope.delegating
    assert not scope.runs_only([whole.own])
    go_on.set()
    await doing

    assert whole.own not in scope.delegating


async def test_very_many_begin_in_several_turns_of_the_loop(whole: Whole) -> None:
    begun = 0
    most_in_a_turn = 0
    in_this_turn = 0

    def next_turn() -> None:
        nonlocal in_this_turn
        in_this_turn = 0

    async def do(number: int) -> int:
        nonlocal begun, in_this_turn, most_in_a_turn
        begun, in_this_turn = begun + 1, in_this_turn + 1
        most_in_a_turn = max(most_in_a_turn, in_this_turn)
        asyncio.get_running_loop().call_soon(next_turn)
        await asyncio.sleep(0.05)
        return number

    count = 3 * STARTED_AT_ONCE
    assert len(await whole.all(do, count, count)) == count
    assert begun == count
    assert most_in_a_turn < count


async def test_parts_end_with_a_whole_that_is_cancelled(whole: Whole) -> None:
    ended: list[int] = []
    begun = asyncio.Barrier(3)

    async def do(number: int) -> None:
        await begun.wait()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    doing = asyncio.ensure_future(whole.all(do, 5, 2))
    await begun.wait()
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing

    assert ended == [0, 1]
    assert whole.attempt.scope.runs_only([whole.own])


async def test_an_attempt_that_is_over_begins_no_further_part(whole: Whole) -> None:
    ran: list[int] = []

    async def do(number: int) -> None:
        ran.append(number)
        whole.attempt.scope.is_over = True

    with pytest.raises(Interrupted):
        await whole.all(do, 5, 1)

    assert ran == [0]


async def test_the_first_part_cancels_the_others(whole: Whole) -> None:
    ended: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("endless")

    async def quick() -> str:
        return "quick"

    outcomes = await whole.parts.first([whole.part(0, endless), whole.part(1, quick)])

    assert {n: each.value for n, each in outcomes.items()} == {1: "quick"}
    assert ended == ["endless"]
    assert whole.attempt.scope.runs_only([whole.own])


async def test_a_part_that_cancels_its_own_task_has_failed(whole: Whole) -> None:
    ran: list[int] = []

    async def do(number: int) -> int:
        ran.append(number)
        task = asyncio.current_task()
        if number == 1 and task is not None:
            task.cancel()
            await asyncio.sleep(1)
        return number

    outcomes = await whole.all(do, 4, 1)

    assert ran == [0, 1, 2, 3]
    assert isinstance(outcomes[1].error, RuntimeError)
    assert "part 1" in str(outcomes[1].error)
    assert [outcomes[n].value for n in (0, 2, 3)] == [0, 2, 3]
