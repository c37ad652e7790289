"""Deadlines: stored once, when code first begins, and counted from when it could."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.stores import (
    ERROR,
    claim_one,
    claimed,
    expect,
    insert_one,
    joined,
    new_worker,
    now,
    settle,
    stored,
)
from worchflow.model.beginning import Begun
from worchflow.model.records import Claim
from worchflow.model.settlement import Failed, Released
from worchflow.storage.contract.backend import Backend

HOUR = timedelta(hours=1)
APART = timedelta(seconds=2)
"""The clocks of a store and of a sender, and how long a call takes, at most."""


async def begun(backend: Backend, claim: Claim, deadline: float | None = None) -> Begun:
    """Let the code of a claim begin, which is held."""
    answer = await backend.claims.begin(claim, deadline)
    assert answer is not None
    return answer


async def claimed_again(backend: Backend, claim: Claim) -> Claim:
    """Release a claim and let another worker have the execution."""
    await settle(backend, claim, Released())
    return await claim_one(backend, await joined(backend))


async def test_it_is_counted_from_when_the_execution_was_accepted(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    assert (claim.execution.deadline_at, claim.deadline_left) == (None, None)

    answer = await begun(backend, claim, 3600)

    execution = await stored(backend, claim.execution.id)
    assert answer.deadline_at == execution.deadline_at
    assert execution.deadline_at == execution.may_begin_at + HOUR
    assert answer.deadline_left == pytest.approx(3600, abs=APART.total_seconds())


async def test_it_never_moves(backend: Backend) -> None:
    claim = await claimed(backend)
    first = await begun(backend, claim, 3600)

    assert (await begun(backend, claim, 60)).deadline_at == first.deadline_at
    claim = await claimed_again(backend, claim)
    assert claim.execution.deadline_at == first.deadline_at
    assert claim.deadline_left == pytest.approx(3600, abs=APART.total_seconds())
    assert (await begun(backend, claim, 60)).deadline_at == first.deadline_at
    assert (await begun(backend, claim)).deadline_at == first.deadline_at
    await expect(backend, claim.execution.id, deadline_at=first.deadline_at)


async def test_without_one_none_is_stored(backend: Backend) -> None:
    claim = await claimed(backend)

    assert await begun(backend, claim) == Begun(None, None)

    await expect(backend, claim.execution.id, deadline_at=None)


async def test_it_begins_with_the_end_of_a_delay(backend: Backend) -> None:
    claim = await claimed(backend, delay=0.3)
    execution = claim.execution
    assert execution.eligible_at is not None
    assert execution.may_begin_at == execution.eligible_at
    assert execution.eligible_at >= execution.created_at + timedelta(seconds=0.2)

    answer = await begun(backend, claim, 3600)

    assert answer.deadline_at == execution.eligible_at + HOUR


async def test_a_moment_that_has_passed_does_not_bring_it_forward(
    backend: Backend,
) -> None:
    claim = await claimed(backend, run_at=now() - timedelta(days=1))

    answer = await begun(backend, claim, 3600)

    assert answer.deadline_at is not None
    assert answer.deadline_at > now() + HOUR - APART


async def test_a_retry_begins_anew(backend: Backend) -> None:
    claim = await claimed(backend, created_at=now() - 2 * HOUR)
    first = await begun(backend, claim, 1)
    await settle(backend, claim, Failed(error=ERROR))

    await backend.executions.retry(claim.execution.id)

    again = await expect(backend, claim.execution.id, deadline_at=None, started_at=None)
    assert again.may_begin_at > now() - APART
    claim = await claim_one(backend, await joined(backend))
    assert claim.deadline_left is None
    assert claim.execution.started_at is not None
    assert claim.execution.started_at >= again.may_begin_at
    second = await begun(backend, claim, 1)
    assert first.deadline_at is not None
    assert second.deadline_at is not None
    assert second.deadline_at > first.deadline_at


async def test_a_claim_tells_that_it_has_passed(backend: Backend) -> None:
    claim = await claimed(backend)

    assert (await begun(backend, claim, 0.001)).deadline_left == 0
    claim = await claimed_again(backend, claim)
    assert claim.deadline_left == 0


async def test_an_adopted_claim_has_it_too(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    first = await begun(backend, claim, 3600)

    (adopted,) = await backend.claims.adopt(worker, frozenset([id_]))

    assert adopted.execution.deadline_at == first.deadline_at
    assert adopted.deadline_left == pytest.approx(3600, abs=APART.total_seconds())


@pytest.mark.parametrize("deadline", [None, 3600])
async def test_only_the_holder_of_a_claim_begins(
    backend: Backend, deadline: float | None
) -> None:
    claim = await claimed(backend)
    again = await claimed_again(backend, claim)

    assert await backend.claims.begin(claim, deadline) is None
    await expect(backend, claim.execution.id, deadline_at=None)
    await settle(backend, again, Failed(error=ERROR))
    assert await backend.claims.begin(again, deadline) is None
    await expect(backend, claim.execution.id, deadline_at=None)


async def test_what_nobody_knows_does_not_begin(backend: Backend) -> None:
    claim = await claimed(backend)
    worker = new_worker()
    await backend.workers.join(worker, lambda *_: None)
    other = Claim(execution=claim.execution, worker_id=worker.id, token=claim.token + 1)

    assert await backend.claims.begin(other, 3600) is None
