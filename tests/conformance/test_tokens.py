"""Tokens: waits that whoever answers finds, for as long as their execution is there."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.stores import (
    ERROR,
    MakeBackend,
    claim_one,
    claimed,
    insert_one,
    joined,
    settle,
)
from worchflow.model.events import NewEvent
from worchflow.model.records import Claim, ExecutionStatus
from worchflow.model.settlement import Cancelled, Completed, Failed, Settlement
from worchflow.model.step_kind import StepKind
from worchflow.model.tokens import ANSWER_EVENT, answer_id
from worchflow.model.waits import AwaitedEvent, NewWait, StoredWait
from worchflow.storage.contract.backend import Backend

S = ExecutionStatus
SCHEMA = '{"type":"boolean"}'


async def add_token(
    backend: Backend, claim: Claim, token: str, number: int = 1, **fields: Any
) -> StoredWait:
    """Store the wait for an answer to a token."""
    event = AwaitedEvent(
        name=ANSWER_EVENT, key=token, since=claim.execution.accepted_at
    )
    wait = NewWait(
        step_id=f"{number:032x}",
        kind=StepKind.TOKEN,
        title=f"token {number}",
        event=event,
        answer_schema=SCHEMA,
        **fields,
    )
    (added,) = await backend.waits.add(claim, [wait])
    return added


@pytest.mark.parametrize("timeout", [None, 3600.0])
async def test_a_token_is_found_by_its_id(
    backend: Backend, timeout: float | None
) -> None:
    claim, token = await claimed(backend), uuid4().hex
    added = await add_token(backend, claim, token, timeout=timeout)
    await add_token(backend, claim, uuid4().hex, 2)

    found = await backend.waits.token(token)

    assert found is not None
    assert (found.execution_id, found.status) == (claim.execution.id, S.PROCESSING)
    assert found.answer_schema == SCHEMA
    assert found.wait.title == "token 1"
    assert found.wait.event == added.event
    assert found.wait.deadline == added.deadline
    assert (found.wait.left is None) is (timeout is None)
    assert await backend.waits.token(uuid4().hex) is None


async def test_the_tokens_of_another_prefix_are_not_seen(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend(queue_prefix="a")
    other = await make_backend(queue_prefix="b")
    token = uuid4().hex
    await add_token(backend, await claimed(backend), token)

    assert await other.waits.token(token) is None


async def test_its_answer_ends_its_wait_and_wakes_its_execution(
    backend: Backend,
) -> None:
    claim, token = await claimed(backend), uuid4().hex
    wait = await add_token(backend, claim, token)
    answer = NewEvent(id=answer_id(token), name=ANSWER_EVENT, key=token, data='"yes"')

    stored = await backend.events.append(answer)
    assert await backend.events.deliver(stored) is None

    look = await backend.events.find(claim, wait, ())
    assert look.event == stored
    assert await backend.waits.wakeups(claim.execution.id) == 1


ENDS: list[Settlement] = [Completed(result="1"), Failed(error=ERROR), Cancelled()]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
async def test_it_stays_when_its_execution_has_ended_and_goes_with_it(
    backend: Backend, end: Settlement
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim, token = await claim_one(backend, worker), uuid4().hex
    await add_token(backend, claim, token)
    sleep = NewWait(step_id=f"{2:032x}", kind=StepKind.SLEEP, title="x", timeout=60)
    await backend.waits.add(claim, [sleep])

    await settle(backend, claim, end)

    assert [each.title for each in await backend.waits.all(id_)] == ["token 1"]
    found = await backend.waits.token(token)
    assert found is not None
    status = found.status
    assert status.is_terminal
    await asyncio.sleep(0.01)
    while await backend.retention.prune(status, 0.0, 100):
        pass
    assert await backend.waits.token(token) is None
    assert await backend.waits.all(id_) == []


async def test_a_retry_finds_the_token_of_before(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim, token = await claim_one(backend, worker), uuid4().hex
    added = await add_token(backend, claim, token, timeout=60.0)
    await settle(backend, claim, Failed(error=ERROR))
    await backend.executions.retry(id_)

    again = await claim_one(backend, worker)

    assert [each.title for each in again.waits.values()] == ["token 1"]
    kept = await add_token(backend, again, uuid4().hex)
    assert kept.event == added.event
    assert kept.deadline == added.deadline


async def test_an_execution_that_has_the_id_of_one_before_has_none_of_its_tokens(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim, token = await claim_one(backend, worker), uuid4().hex
    await add_token(backend, claim, token)
    await settle(backend, claim, Completed(result="1"))
    await asyncio.sleep(0.01)
    while await backend.retention.prune(S.COMPLETED, 0.0, 100):
        pass
    await insert_one(backend, id=id_)
    # A process that was frozen meanwhile.
    await add_token(backend, claim, token)

    assert await backend.waits.token(token) is None
    assert (await claim_one(backend, worker)).waits == {}
