"""Pruning: what ended long ago goes with its steps, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from tests.stores import (
    ERROR,
    MakeBackend,
    claim_many,
    claim_one,
    claimed,
    counted,
    everything,
    insert,
    insert_one,
    joined,
    new_execution,
    new_step,
    now,
    settle,
    stored,
)
from tests.waiting import until
from worchflow.foundations.errors import ExecutionNotFound
from worchflow.model.records import ExecutionQuery, ExecutionStatus, StepStatus
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    Settlement,
)
from worchflow.storage.contract.backend import Backend

S = ExecutionStatus
LONG = 3600.0
END: dict[ExecutionStatus, Callable[[], Settlement]] = {
    S.COMPLETED: lambda: Completed(result="1"),
    S.FAILED: lambda: Failed(error=ERROR),
    S.CANCELLED: Cancelled,
}


async def ended(backend: Backend, status: S, count: int = 1) -> list[str]:
    """Executions that ended so, one after another, each with a step."""
    worker = await joined(backend)
    ids = []
    for _ in range(count):
        ids.append(await insert_one(backend))
        claim = await claim_one(backend, worker)
        await backend.steps.checkpoint(claim, new_step())
        await settle(backend, claim, END[status]())
        end = (await stored(backend, ids[-1])).finished_at
        await until(lambda end=end: end is not None and now() > end)
    return ids


async def pruned(backend: Backend, status: S, count: int, limit: int = 100) -> None:
    """Prune, however long ago, until so many are gone: a moment must have passed."""
    gone = 0

    async def enough() -> bool:
        nonlocal gone
        gone += await backend.retention.prune(status, 0.0, limit)
        return gone >= count

    await until(enough)
    assert gone == count


@pytest.mark.parametrize("status", END)
async def test_an_ended_execution_goes_with_its_steps(
    backend: Backend, status: S
) -> None:
    (id_,) = await ended(backend, status)

    await pruned(backend, status, 1)

    assert await backend.executions.get(id_) is None
    assert await backend.steps.all(id_) == []
    assert (await backend.listing.page(ExecutionQuery())).items == []
    assert await backend.executions.retry(id_) == (None, False)
    assert await backend.executions.cancel(id_, None) == (None, False)
    assert await backend.retention.prune(status, 0.0, 100) == 0
    await counted(backend, {})


@pytest.mark.parametrize("status", END)
async def test_what_has_not_ended_long_enough_ago_stays(
    backend: Backend, status: S
) -> None:
    # Its age counts from its end, not from when it was sent.
    worker = await joined(backend)
    long_ago = now() - timedelta(days=400)
    id_ = await insert_one(backend, created_at=long_ago)
    await settle(backend, await claim_one(backend, worker), END[status]())
    before = await everything(backend, id_)

    assert await backend.retention.prune(status, LONG, 100) == 0

    assert await everything(backend, id_) == before


async def test_nothing_else_goes(make_backend: MakeBackend, prefix: str) -> None:
    ours, theirs = await make_backend(), await make_backend(queue_prefix=f"{prefix}-2")
    worker = await joined(ours)
    waiting, delayed, running, released = await insert(
        ours,
        new_execution(event="other"),
        new_execution(delay=LONG),
        new_execution(),
        new_execution(),
    )
    first, second = await claim_many(ours, worker, 2)
    await ours.steps.checkpoint(first, new_step())
    await settle(ours, second, Released(delay=LONG))
    failed = await ended(ours, S.FAILED)
    foreign = await ended(theirs, S.COMPLETED)
    kept = [waiting, delayed, running, released, *failed]
    before = [await everything(ours, id_) for id_ in kept]
    gone = await ended(ours, S.COMPLETED)

    await pruned(ours, S.COMPLETED, 1)
    assert await ours.retention.prune(S.CANCELLED, 0.0, 100) == 0

    assert await ours.executions.get(gone[0]) is None
    assert [await everything(ours, id_) for id_ in kept] == before
    assert [step.title for step in await theirs.steps.all(foreign[0])] == ["step 1"]


async def test_the_longest_ended_go_first_and_never_more_than_the_limit(
    backend: Backend,
) -> None:
    ids = await ended(backend, S.COMPLETED, 5)

    assert await backend.retention.prune(S.COMPLETED, 0.0, 2) == 2

    left = [id_ for id_ in ids if await backend.executions.get(id_) is not None]
    assert left == ids[2:]
    await pruned(backend, S.COMPLETED, 3, limit=2)


async def test_a_retried_execution_is_kept(backend: Backend) -> None:
    (id_,) = await ended(backend, S.FAILED)
    await backend.executions.retry(id_)
    before = await everything(backend, id_)

    assert await backend.retention.prune(S.FAILED, 0.0, 100) == 0

    assert await everything(backend, id_) == before
    assert len(before[1]) == 1


async def test_a_retry_and_its_removal_never_mix(make_backend: MakeBackend) -> None:
    backends = [await make_backend(), await make_backend()]
    ids = await ended(backends[0], S.FAILED, 12)
    kept: list[str] = []

    async def retry(id_: str) -> None:
        _, queued = await backends[0].executions.retry(id_)
        if queued:
            kept.append(id_)

    async def prune() -> None:
        while await backends[1].retention.prune(S.FAILED, 0.0, 1):
            pass

    await asyncio.gather(prune(), *map(retry, reversed(ids)))
    await prune()

    for id_ in ids:
        execution, steps = (
            await backends[0].executions.get(id_),
            await backends[0].steps.all(id_),
        )
        if id_ in kept:
            assert execution is not None
            assert execution.status is S.QUEUED
            assert [step.status for step in steps] == [StepStatus.COMPLETED]
        else:
            assert execution is None
            assert steps == []


async def test_two_that_prune_remove_everything_once(
    make_backend: MakeBackend,
) -> None:
    backends = [await make_backend(), await make_backend()]
    ids = await ended(backends[0], S.COMPLETED, 9)
    gone = [0, 0]

    async def prune(which: int) -> None:
        while removed := await backends[which].retention.prune(S.COMPLETED, 0.0, 2):
            gone[which] += removed

    async def all_gone() -> bool:
        await asyncio.gather(prune(0), prune(1))
        return not any([await backends[0].executions.get(id_) for id_ in ids])

    await until(all_gone)
    assert sum(gone) == len(ids)


async def test_its_id_may_be_sent_anew_and_nothing_comes_back(
    backend: Backend,
) -> None:
    (id_,) = await ended(backend, S.COMPLETED)
    await pruned(backend, S.COMPLETED, 1)

    worker = await joined(backend)
    await insert(backend, new_execution(id_))
    for recoveries in range(2):
        claim = await claim_one(backend, worker)
        assert claim.execution.id == id_
        # The second claim is the one that looks for what was recorded.
        assert claim.steps == {}, recoveries
        await settle(backend, claim, Released())


async def test_all_steps_of_its_id_sent_anew_run_anew(backend: Backend) -> None:
    (id_,) = await ended(backend, S.COMPLETED)
    await pruned(backend, S.COMPLETED, 1)

    claim = await claimed(backend, id=id_)
    anew = [new_step(n, result='"anew"') for n in (1, 2)]

    assert [await backend.steps.checkpoint(claim, step) for step in anew] == anew
    assert await backend.steps.all(id_) == anew


async def test_a_late_step_of_its_former_run_is_none_of_its_id_sent_anew(
    backend: Backend,
) -> None:
    late = await claimed(backend)
    id_ = late.execution.id
    await settle(backend, late, Completed(result="1"))
    await pruned(backend, S.COMPLETED, 1)
    claim = await claimed(backend, id=id_)

    with suppress(ExecutionNotFound):
        await backend.steps.checkpoint(late, new_step(result='"late"'))

    assert await backend.steps.all(id_) == []
    step = new_step(result='"anew"')
    assert await backend.steps.checkpoint(claim, step) == step
    failed = new_step(2, status=StepStatus.FAILED, result=None, error=ERROR)
    for each in (new_step(result='"late"'), failed):
        with suppress(ExecutionNotFound):
            assert await backend.steps.checkpoint(late, each) == each
    assert await backend.steps.all(id_) == [step]


async def test_who_held_it_settles_nothing_any_more(backend: Backend) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, Completed(result="1"))
    await pruned(backend, S.COMPLETED, 1)

    settled: Any = await settle(backend, claim, Failed(error=ERROR))

    assert not settled.applied
    assert await backend.executions.get(claim.execution.id) is None
