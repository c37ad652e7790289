"""Retrying: failed and cancelled executions again, from their last recorded step."""

from __future__ import annotations

import asyncio

import pytest

from tests.stores import (
    ERROR,
    MakeBackend,
    claim_one,
    claimed,
    counted,
    everything,
    expect,
    insert_one,
    joined,
    new_step,
    nothing_to_claim,
    settle,
    stored,
)
from worchflow.model.records import Claim, ExecutionStatus, StepStatus
from worchflow.model.settlement import Completed, Failed, Released, RetryAt
from worchflow.storage.contract.backend import Backend

S = ExecutionStatus


async def failed(backend: Backend) -> Claim:
    """An execution that has failed, with the claim that ended it."""
    claim = await claimed(backend)
    await settle(backend, claim, Failed(error=ERROR))
    return claim


async def test_a_failed_execution_is_queued_again_as_if_it_were_new(
    backend: Backend,
) -> None:
    claim = await failed(backend)
    id_ = claim.execution.id

    execution, queued = await backend.executions.retry(id_)

    assert queued
    assert execution == await expect(
        backend,
        id_,
        status=S.QUEUED,
        attempt_count=0,
        recoveries=0,
        error=None,
        result=None,
        reason=None,
        run_at=None,
        worker=None,
        finished_at=None,
        cancel_requested=False,
        cancel_reason=None,
    )
    assert execution.token > claim.token
    await counted(backend, {S.QUEUED: 1})
    again = await claim_one(backend, await joined(backend))
    assert again.token > execution.token
    await settle(backend, again, Completed(result='"at last"'))
    await expect(backend, id_, status=S.COMPLETED, result='"at last"', error=None)


async def test_completed_steps_stay_and_failed_ones_go(backend: Backend) -> None:
    claim = await claimed(backend)
    done = await backend.steps.checkpoint(claim, new_step(1))
    failure = new_step(2, status=StepStatus.FAILED, result=None, error=ERROR)
    await backend.steps.checkpoint(claim, failure)
    await settle(backend, claim, Failed(error=ERROR))

    await backend.executions.retry(claim.execution.id)

    assert await backend.steps.all(claim.execution.id) == [done]
    again = await claim_one(backend, await joined(backend))
    assert again.steps == {done.step_id: done}
    second = new_step(2, result='"second try"')
    assert await backend.steps.checkpoint(again, second) == second
    assert await backend.steps.all(claim.execution.id) == [done, second]


@pytest.mark.parametrize("when", ["before the next claim", "after it"])
async def test_a_failure_from_before_the_retry_that_is_recorded_late_is_void(
    backend: Backend, when: str
) -> None:
    before = await failed(backend)
    id_ = before.execution.id
    failure = new_step(1, status=StepStatus.FAILED, result=None, error=ERROR)
    await backend.executions.retry(id_)
    worker = await joined(backend)

    if when == "before the next claim":
        await backend.steps.checkpoint(before, failure)
    claim = await claim_one(backend, worker)
    if when == "after it":
        await backend.steps.checkpoint(before, failure)

    assert claim.steps == {}
    assert await backend.steps.all(id_) == []
    done = new_step(1)
    assert await backend.steps.checkpoint(claim, done) == done
    assert await backend.steps.all(id_) == [done]


async def test_a_failure_by_whoever_lost_the_claim_is_a_fact_without_a_retry(
    backend: Backend,
) -> None:
    before = await claimed(backend)
    id_ = before.execution.id
    await settle(backend, before, Released())
    claim = await claim_one(backend, await joined(backend))
    failure = new_step(1, status=StepStatus.FAILED, result=None, error=ERROR)
    await backend.steps.checkpoint(before, failure)

    assert await backend.steps.checkpoint(claim, new_step(1)) == failure
    assert await backend.steps.all(id_) == [failure]


async def test_what_completed_before_the_retry_and_is_recorded_late_is_a_fact(
    backend: Backend,
) -> None:
    before = await failed(backend)
    await backend.executions.retry(before.execution.id)
    done = new_step(1)

    assert await backend.steps.checkpoint(before, done) == done

    claim = await claim_one(backend, await joined(backend))
    assert claim.steps == {done.step_id: done}


async def test_a_cancelled_execution_can_be_retried(backend: Backend) -> None:
    id_ = await insert_one(backend)
    await backend.executions.cancel(id_, "a mistake")

    execution, queued = await backend.executions.retry(id_)

    assert queued
    assert execution == await expect(
        backend, id_, status=S.QUEUED, cancel_reason=None, finished_at=None
    )
    claim = await claim_one(backend, await joined(backend))
    assert claim.execution.id == id_


async def test_the_cancel_flag_does_not_outlive_a_retry(backend: Backend) -> None:
    claim = await claimed(backend)
    await backend.executions.cancel(claim.execution.id, "stop")
    await settle(backend, claim, Released())
    await expect(backend, claim.execution.id, status=S.CANCELLED)

    await backend.executions.retry(claim.execution.id)

    again = await claim_one(backend, await joined(backend))
    settled = await settle(backend, again, RetryAt(error=ERROR, delay=60.0))
    assert settled.status is S.RETRYING
    await expect(backend, claim.execution.id, status=S.RETRYING, cancel_requested=False)


@pytest.mark.parametrize("stage", ["queued", "processing", "retrying", "completed"])
async def test_any_other_status_stays_as_it_is(backend: Backend, stage: str) -> None:
    if stage == "queued":
        id_ = await insert_one(backend)
    else:
        claim = await claimed(backend)
        id_ = claim.execution.id
        if stage == "retrying":
            await settle(backend, claim, RetryAt(error=ERROR, delay=60.0))
        elif stage == "completed":
            await settle(backend, claim, Completed(result="1"))
    before = await everything(backend, id_)
    assert before[0].status == stage

    execution, queued = await backend.executions.retry(id_)

    assert (execution, queued) == (before[0], False)
    assert await everything(backend, id_) == before


async def test_retrying_an_unknown_id_says_so(backend: Backend) -> None:
    assert await backend.executions.retry("never-sent") == (None, False)


async def test_of_concurrent_retries_one_queues_it(make_backend: MakeBackend) -> None:
    backends = [await make_backend(), await make_backend()]
    claim = await failed(backends[0])
    id_ = claim.execution.id

    outcomes = await asyncio.gather(
        *(backends[n % 2].executions.retry(id_) for n in range(10))
    )

    assert sum(queued for _, queued in outcomes) == 1
    assert all(execution is not None for execution, _ in outcomes)
    worker = await joined(backends[0])
    again = await claim_one(backends[0], worker)
    assert again.execution.id == id_
    assert await nothing_to_claim(backends[0], worker)


async def test_the_holder_before_a_retry_cannot_settle_after_it(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, Failed(error=ERROR))
    await backend.executions.retry(claim.execution.id)
    before = await stored(backend, claim.execution.id)

    await settle(backend, claim, Completed(result='"late"'))

    assert await stored(backend, claim.execution.id) == before


async def test_an_execution_can_be_retried_again_and_again(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    tokens = []

    for _ in range(3):
        claim = await claim_one(backend, worker)
        tokens.append(claim.token)
        await settle(backend, claim, Failed(error=ERROR))
        await expect(backend, id_, status=S.FAILED, attempt_count=1)
        _, queued = await backend.executions.retry(id_)
        assert queued

    assert tokens == sorted(set(tokens))
