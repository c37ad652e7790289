"""Leases: who renews keeps what it owns; who is dead loses it, and only then."""

from __future__ import annotations

import asyncio

import pytest

from tests.stores import (
    ERROR,
    EVENT,
    MakeBackend,
    claim_many,
    claim_one,
    counted,
    end_lease,
    everything,
    expect,
    ids,
    insert,
    insert_one,
    joined,
    new_execution,
    new_step,
    nothing_to_claim,
    renew,
    settle,
    stored,
)
from tests.waiting import until
from worchflow.model.records import ExecutionStatus, StepStatus, WorkerRecord
from worchflow.model.settlement import Completed, Released, RetryAt, Settlement
from worchflow.storage.contract.backend import Backend
from worchflow.storage.contract.workers import Renewal

TTL = 0.5
"""Of the lease that one test waits for; the others end leases in the store."""


async def reaped(
    backend: Backend, worker: WorkerRecord, count: int, *dead: str
) -> None:
    """Reap until so many executions were taken back, never more.

    The leases of the workers that are to be dead have ended then.
    """
    for worker_id in dead:
        await end_lease(backend, worker_id)
    taken = 0

    async def enough() -> bool:
        nonlocal taken
        await renew(backend, worker.id)
        taken += await backend.workers.reap(worker.id, expired=True)
        return taken >= count

    await until(enough)
    assert taken == count


async def test_renewing_tells_what_is_owned(backend: Backend) -> None:
    worker, other = await joined(backend), await joined(backend)
    mine = await insert(backend, new_execution(), new_execution())
    claims = await claim_many(backend, worker, 2)
    await insert_one(backend)
    await claim_one(backend, other)

    assert await renew(backend, worker.id) == Renewal(alive=True, owned=frozenset(mine))

    await settle(backend, claims[0], Completed(result="1"))
    assert await renew(backend, worker.id) == Renewal(
        alive=True, owned=frozenset(mine) - {claims[0].execution.id}
    )


async def test_renewing_tells_what_is_to_be_cancelled(backend: Backend) -> None:
    worker = await joined(backend)
    keep, stop = await insert(backend, new_execution(), new_execution())
    await claim_many(backend, worker, 2)

    await backend.executions.cancel(stop, "not needed")

    assert await renew(backend, worker.id) == Renewal(
        alive=True, owned=frozenset({keep, stop}), cancelled=frozenset({stop})
    )


async def test_a_worker_that_never_joined_is_not_alive(backend: Backend) -> None:
    renewal = await asyncio.to_thread(backend.workers.renew, "nobody")

    assert renewal == Renewal(alive=False)


async def test_the_living_are_never_reaped(make_backend: MakeBackend) -> None:
    first, second = await make_backend(), await make_backend()
    holder, reaper = await joined(first), await joined(second)
    id_ = await insert_one(first)
    await claim_one(first, holder)
    before = await everything(first, id_)

    for backend, worker in ((second, reaper), (first, await joined(first))):
        assert await backend.workers.reap(worker.id, expired=False) == 0
        assert await backend.workers.reap(worker.id, expired=True) == 0

    assert await everything(first, id_) == before
    assert await renew(first, holder.id) == Renewal(alive=True, owned=frozenset({id_}))


async def test_an_ended_lease_alone_is_no_reason_to_reap(
    make_backend: MakeBackend,
) -> None:
    """Without `expired` only those are dead whose process is certainly gone."""
    backend = await make_backend()
    holder, reaper = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    await claim_one(backend, holder)
    await end_lease(backend, holder.id)

    assert await backend.workers.reap(reaper.id, expired=False) == 0

    await expect(backend, id_, worker=holder.id, recoveries=0)


async def test_renewing_keeps_the_lease_for_as_long_as_it_goes_on(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend()
    holder, reaper = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    await claim_one(backend, holder)
    for _ in range(3):
        await end_lease(backend, holder.id)
        # Late, but nobody has declared it dead.
        assert (await renew(backend, holder.id)).alive
        assert await backend.workers.reap(reaper.id, expired=True) == 0
    await expect(backend, id_, worker=holder.id, recoveries=0)


async def test_what_a_dead_worker_owned_goes_back_to_the_queue(
    make_backend: MakeBackend,
) -> None:
    first = await make_backend(lease_ttl=TTL)
    second = await make_backend(lease_ttl=TTL)
    holder, reaper = await joined(first), await joined(second)
    id_ = await insert_one(first)
    claim = await claim_one(first, holder)
    step = await first.steps.checkpoint(claim, new_step())

    await reaped(second, reaper, 1)

    await expect(
        second,
        id_,
        status=ExecutionStatus.QUEUED,
        worker=None,
        recoveries=1,
        attempt_count=0,
    )
    await counted(second, {ExecutionStatus.QUEUED: 1})
    again = await claim_one(second, reaper)
    assert again.token > claim.token
    assert again.steps == {step.step_id: step}
    await expect(second, id_, worker=reaper.id, recoveries=1, token=again.token)


async def test_recoveries_are_counted_each_time(make_backend: MakeBackend) -> None:
    backend = await make_backend()
    reaper = await joined(backend)
    id_ = await insert_one(backend)

    for deaths in (1, 2):
        claim = await claim_one(backend, await joined(backend))
        await reaped(backend, reaper, 1, claim.worker_id)
        await expect(backend, id_, recoveries=deaths, attempt_count=0)


async def test_a_dead_worker_never_revives(make_backend: MakeBackend) -> None:
    backend = await make_backend()
    holder, reaper = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    await claim_one(backend, holder)
    await reaped(backend, reaper, 1, holder.id)

    assert await renew(backend, holder.id) == Renewal(alive=False)
    assert await renew(backend, holder.id) == Renewal(alive=False)

    await expect(backend, id_, worker=None)


async def test_a_worker_without_work_is_declared_dead_too(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend()
    idle, reaper = await joined(backend), await joined(backend)
    await end_lease(backend, idle.id)

    assert await backend.workers.reap(reaper.id, expired=True) == 0

    assert not (await renew(backend, idle.id)).alive
    assert (await renew(backend, reaper.id)).alive


async def test_what_is_recovered_goes_to_the_front_in_its_order(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend()
    holder, reaper = await joined(backend), await joined(backend)
    taken = await insert(backend, *(new_execution() for _ in range(3)))
    await claim_many(backend, holder, 3)
    waiting = await insert(backend, *(new_execution() for _ in range(3)))

    await reaped(backend, reaper, 3, holder.id)

    claims = await claim_many(backend, reaper, 6)
    assert set(ids(claims)[:3]) == set(taken)
    assert ids(claims)[3:] == waiting


async def test_reaping_ends_what_was_flagged_as_cancelled(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend()
    holder, reaper = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    await claim_one(backend, holder)
    await backend.executions.cancel(id_, "not needed")

    await reaped(backend, reaper, 1, holder.id)

    execution = await expect(
        backend,
        id_,
        status=ExecutionStatus.CANCELLED,
        worker=None,
        cancel_reason="not needed",
    )
    assert execution.finished_at is not None
    assert await nothing_to_claim(backend, reaper)
    await counted(backend, {ExecutionStatus.CANCELLED: 1})


@pytest.mark.parametrize(
    "settlement",
    [Completed(result="1"), Released(), RetryAt(error=ERROR, delay=0.0)],
    ids=lambda settlement: type(settlement).__name__,
)
async def test_a_fenced_worker_settles_nothing(
    make_backend: MakeBackend, settlement: Settlement
) -> None:
    backend = await make_backend()
    holder, reaper = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    lost = await claim_one(backend, holder)
    await reaped(backend, reaper, 1, holder.id)

    queued = await everything(backend, id_)
    assert not (await settle(backend, lost, settlement)).applied
    assert await everything(backend, id_) == queued

    claim = await claim_one(backend, reaper)
    running = await everything(backend, id_)
    settled = await settle(backend, lost, settlement)
    assert not settled.applied
    assert await everything(backend, id_) == running

    assert (await settle(backend, claim, Completed(result='"mine"'))).applied
    finished = await everything(backend, id_)
    assert not (await settle(backend, lost, settlement)).applied
    assert await everything(backend, id_) == finished
    await expect(backend, id_, result='"mine"')


async def test_what_a_fenced_worker_did_is_still_a_fact(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend()
    holder, reaper = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    lost = await claim_one(backend, holder)
    await reaped(backend, reaper, 1, holder.id)
    claim = await claim_one(backend, reaper)

    recorded = await backend.steps.checkpoint(lost, new_step(result='"late"'))
    adopted = await backend.steps.checkpoint(claim, new_step(result='"again"'))

    assert adopted == recorded
    assert await backend.steps.all(id_) == [recorded]
    assert recorded.status is StepStatus.COMPLETED
    assert recorded.result == '"late"'


async def test_leaving_ends_a_worker(make_backend: MakeBackend) -> None:
    backend = await make_backend()
    worker = await joined(backend)

    await backend.workers.leave(worker.id)

    assert await renew(backend, worker.id) == Renewal(alive=False)


async def test_what_a_worker_still_owns_when_it_leaves_is_reaped(
    make_backend: MakeBackend,
) -> None:
    first = await make_backend()
    second = await make_backend()
    holder, reaper = await joined(first), await joined(second)
    id_ = await insert_one(first)
    await claim_one(first, holder)

    await first.workers.leave(holder.id)
    await reaped(second, reaper, 1, holder.id)

    await expect(second, id_, status=ExecutionStatus.QUEUED, worker=None, recoveries=1)
    claim = await claim_one(second, reaper)
    assert claim.execution.id == id_


async def test_two_reapers_take_each_execution_back_once(
    make_backend: MakeBackend,
) -> None:
    backends = [await make_backend(), await make_backend()]
    holder = await joined(backends[0])
    reapers = [await joined(backend) for backend in backends]
    news = await insert(backends[0], *(new_execution() for _ in range(20)))
    await claim_many(backends[0], holder, 20)

    await end_lease(backends[0], holder.id)

    async def all_taken() -> bool:
        pairs = list(zip(backends, reapers, strict=True))
        await asyncio.gather(
            *(
                backend.workers.reap(reaper.id, expired=True)
                for backend, reaper in pairs
            )
        )
        return not any([(await stored(backends[0], id_)).worker for id_ in news])

    await until(all_taken)
    for id_ in news:
        await expect(backends[0], id_, recoveries=1, status=ExecutionStatus.QUEUED)


async def test_workers_of_another_prefix_are_left_alone(
    make_backend: MakeBackend, prefix: str
) -> None:
    ours = await make_backend()
    theirs = await make_backend(queue_prefix=f"{prefix}-2")
    their_worker = await joined(theirs)
    their_id = await insert_one(theirs)
    await claim_one(theirs, their_worker)
    holder, reaper = await joined(ours), await joined(ours)
    await insert_one(ours)
    await claim_one(ours, holder)

    await reaped(ours, reaper, 1, holder.id)

    await expect(theirs, their_id, worker=their_worker.id, recoveries=0)
    assert (await renew(theirs, their_worker.id)).alive


async def test_a_worker_that_joins_again_after_its_death_has_a_new_identity(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend()
    holder, reaper = await joined(backend, EVENT), await joined(backend, "other")
    await insert_one(backend)
    await claim_one(backend, holder)
    await reaped(backend, reaper, 1, holder.id)

    again = await joined(backend, EVENT)

    claim = await claim_one(backend, again)
    assert claim.worker_id == again.id
    assert (await renew(backend, again.id)).owned == {claim.execution.id}


async def test_workers_are_seen_until_they_leave(make_backend: MakeBackend) -> None:
    backend = await make_backend()
    alive, dead, left = [await joined(backend, event) for event in (EVENT, "b", "c")]
    await end_lease(backend, dead.id)
    await backend.workers.leave(left.id)

    seen = {each.id: each for each in await backend.workers.seen()}

    assert set(seen) == {alive.id, dead.id}
    assert (seen[alive.id].is_alive, seen[dead.id].is_alive) == (True, False)
    assert seen[alive.id].functions == alive.functions
    silent = [seen[worker.id].silent_for for worker in (alive, dead)]
    assert silent[0] is not None
    assert silent[1] is not None
    assert 0 <= silent[0] < 60 < silent[1]


async def test_workers_of_another_prefix_are_not_seen(
    make_backend: MakeBackend, prefix: str
) -> None:
    backend, other = (
        await make_backend(),
        await make_backend(queue_prefix=f"{prefix}-2"),
    )
    await joined(other)

    assert list(await backend.workers.seen()) == []
