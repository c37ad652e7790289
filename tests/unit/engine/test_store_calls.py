"""What leaves an execution: after its records, and repeated until a store answers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from tests.stores import insert_one
from tests.unit.engine.attempts import EXECUTION, Engine
from worchflow import Context
from worchflow.engine import store_calls
from worchflow.engine.operations.invoke import prepare_child
from worchflow.engine.ownership import Interrupted, Interruption
from worchflow.foundations.backoff import Backoff
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.records import ExecutionStatus, Parent


async def nothing(ctx: Context[None]) -> None: ...


async def test_children_that_there_are_and_have_not_ended_are_cancelled(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_calls, "CHILDREN_PAGE", 2)
    calls = (await engine.attempt(nothing)).calls
    parent = Parent(EXECUTION, "", "step", 1)
    ids = [await insert_one(engine.backend, parent=parent) for _ in range(3)]
    executions = engine.backend.executions
    await executions.cancel(ids[0], "before")

    await calls.cancel_children([*ids, "none"], "lost", "Title")

    found = [await executions.get(each) for each in ids]
    assert [each and each.status for each in found] == [ExecutionStatus.CANCELLED] * 3
    assert [each and each.cancel_reason for each in found] == ["before", "lost", "lost"]


async def test_a_store_that_does_not_answer_is_asked_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_calls, "Backoff", partial(Backoff, first=0.001))
    calls = (await engine.attempt(nothing)).calls
    failures = [StoreUnavailable("away")] * 3

    async def call() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    assert await calls.until_answered(call, "Title", "does something") == "answer"
    assert 'away; step "Title" of execution e-1 does something' in caplog.text


async def test_nothing_leaves_an_attempt_that_has_other_values_than_are_recorded(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = await engine.attempt(nothing)

    async def is_other(*_: Any) -> bool:
        await asyncio.sleep(0)
        return False

    monkeypatch.setattr(engine.steps, "flush", is_other)
    with pytest.raises(Interrupted):
        await attempt.calls.cancel_children(["any"], "lost", "Title")

    assert attempt.scope.interruption is Interruption.OUTDATED


async def test_children_whose_start_was_cancelled_are_cancelled_after_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = await engine.attempt(nothing)
    sender, go_on = engine.runtime.sender, asyncio.Event()
    insert, claim = sender.insert, attempt.claim
    prepared = prepare_child(
        attempt, "step", {"name": "child", "data": None}, leaves=False
    )

    async def slow(*arguments: Any, **options: Any) -> Any:
        await go_on.wait()
        return await insert(*arguments, **options)

    monkeypatch.setattr(type(sender), "insert", lambda _, *a, **o: slow(*a, **o))
    starting = asyncio.ensure_future(attempt.calls.start_children([prepared], "Title"))
    await asyncio.sleep(0.05)
    starting.cancel()
    await asyncio.wait([starting])
    id_ = prepared.execution.id
    cancelling = asyncio.ensure_future(
        attempt.calls.cancel_children([id_], "lost", "Title")
    )
    await asyncio.sleep(0.05)
    assert not cancelling.done()
    go_on.set()
    await cancelling

    found = await engine.backend.executions.get(id_)
    assert found is not None
    assert (found.status, found.cancel_reason) == (ExecutionStatus.CANCELLED, "lost")
    assert claim.execution.id == EXECUTION
