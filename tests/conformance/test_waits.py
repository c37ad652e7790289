"""What executions wait for: waits, wake-ups and suspensions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.conformance.conftest import Store
from tests.stores import (
    ERROR,
    MakeBackend,
    claim_many,
    claim_one,
    claimed,
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
    now,
    settle,
    stored,
)
from tests.waiting import until
from worchflow.model.notices import ExecutionUpdated
from worchflow.model.records import TERMINAL, Claim, ExecutionQuery, ExecutionStatus
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Settled,
    Settlement,
    Suspended,
)
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import NewWait, StoredWait
from worchflow.storage.contract.backend import Backend

S = ExecutionStatus
FAR = 3600.0


def new_wait(number: int = 1, **fields: Any) -> NewWait:
    """Make a wait without a deadline."""
    return NewWait(
        step_id=f"{number:032x}",
        kind=StepKind.SLEEP,
        title=f"wait {number}",
        **fields,
    )


def suspended(claim: Claim, **fields: Any) -> Suspended:
    """Make a suspension of one that was not woken since it was claimed."""
    values: dict[str, Any] = {
        "status": S.WAITING,
        "wakeups": claim.execution.wakeups,
    }
    return Suspended(**values | fields)


async def suspend(backend: Backend, claim: Claim, **fields: Any) -> Settled:
    """Settle as suspended."""
    return await settle(backend, claim, suspended(claim, **fields))


async def left(backend: Backend, execution_id: str) -> list[str]:
    """The titles of the waits that are stored."""
    return [wait.title for wait in await backend.waits.all(execution_id)]


# -- waits


async def test_a_wait_is_stored_with_its_deadline(backend: Backend) -> None:
    claim = await claimed(backend)
    before = now()
    at = before + timedelta(days=30)

    waits = await backend.waits.add(
        claim, [new_wait(1), new_wait(2, timeout=FAR), new_wait(3, until=at)]
    )

    assert [wait.title for wait in waits] == ["wait 1", "wait 2", "wait 3"]
    assert {wait.token for wait in waits} == {claim.token}
    assert waits[0].deadline is waits[0].left is None
    assert waits[1].deadline is not None
    assert waits[1].left is not None
    assert abs(waits[1].deadline - before - timedelta(seconds=FAR)) < timedelta(
        seconds=5
    )
    assert FAR - 5 < waits[1].left <= FAR
    assert waits[2].deadline == at
    listed = await backend.waits.all(claim.execution.id)
    assert _facts(listed) == _facts([waits[1], waits[2], waits[0]])


def _facts(waits: list[StoredWait]) -> list[StoredWait]:
    """Without what changes from one answer to the next."""
    return [replace(wait, left=None) for wait in waits]


async def test_a_wait_after_more_tries_takes_the_place_of_one_after_fewer(
    backend: Backend,
) -> None:
    claim = await claimed(backend)

    async def add(tries: int, timeout: float) -> StoredWait:
        wait = replace(new_wait(tries=tries, timeout=timeout), kind=StepKind.RUN)
        (stored,) = await backend.waits.add(claim, [wait])
        return stored

    first, again = await add(1, FAR), await add(1, 2 * FAR)
    assert (again.tries, again.deadline) == (1, first.deadline)
    third = await add(3, 3 * FAR)
    assert third.tries == 3
    assert third.left is not None
    assert third.left > 2 * FAR
    late = await add(2, FAR)
    assert (late.tries, late.deadline) == (3, third.deadline)
    (listed,) = await backend.waits.all(claim.execution.id)
    assert (listed.tries, listed.deadline) == (3, third.deadline)
    await suspend(backend, claim, until=now())
    resumed = await claim_one(backend, await joined(backend))
    (loaded,) = resumed.waits.values()
    assert (loaded.tries, loaded.deadline) == (3, third.deadline)


async def test_a_deadline_between_two_milliseconds_is_not_early(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    at = now() + timedelta(days=1, microseconds=300)

    (wait,) = await backend.waits.add(claim, [new_wait(until=at)])

    assert wait.deadline is not None
    assert at <= wait.deadline <= at + timedelta(milliseconds=1)


async def test_a_deadline_that_has_passed_leaves_nothing(backend: Backend) -> None:
    claim = await claimed(backend)

    (wait,) = await backend.waits.add(
        claim, [new_wait(until=now() - timedelta(hours=1))]
    )

    assert wait.left == 0


async def test_the_first_wait_counts_whoever_adds_it_again(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    (first,) = await backend.waits.add(claim, [new_wait(1, timeout=FAR)])
    await settle(backend, claim, Released())
    again = await claim_one(backend, worker)

    waits = await backend.waits.add(
        again, [new_wait(2), new_wait(1, timeout=2 * FAR), new_wait(3)]
    )

    assert _facts(waits[1:2]) == _facts([first])
    assert [wait.token for wait in waits] == [again.token, claim.token, again.token]
    assert await left(backend, id_) == ["wait 1", "wait 2", "wait 3"]


async def test_a_claim_has_the_waits_of_the_claims_before(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    worker, other = await joined(first), await joined(second)
    await insert_one(first)
    claim = await claim_one(first, worker)
    assert claim.waits == {}
    (wait,) = await first.waits.add(claim, [new_wait(1, timeout=FAR)])
    await settle(first, claim, Released())

    again = await claim_one(second, other)

    assert list(again.waits) == [wait.step_id]
    assert _facts(list(again.waits.values())) == _facts([wait])
    (adopted,) = await second.claims.adopt(other, frozenset({again.execution.id}))
    assert _facts(list(adopted.waits.values())) == _facts([wait])


async def test_many_waits_are_added_and_removed_at_once(backend: Backend) -> None:
    claim = await claimed(backend)
    waits = [new_wait(number) for number in range(1, 2502)]

    stored_ = await backend.waits.add(claim, waits)

    assert [wait.step_id for wait in stored_] == [wait.step_id for wait in waits]
    await backend.waits.remove(claim, [wait.step_id for wait in waits[1:]])
    assert await left(backend, claim.execution.id) == ["wait 1"]


async def test_a_late_removal_leaves_the_wait_of_a_later_claim(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    await backend.waits.add(claim, [new_wait(1), new_wait(2)])
    await backend.waits.remove(claim, [new_wait(1).step_id])
    await settle(backend, claim, Released())
    again = await claim_one(backend, worker)
    await backend.waits.add(again, [new_wait(1)])

    both = [new_wait(1).step_id, new_wait(2).step_id]
    await backend.waits.remove(claim, both)

    assert await left(backend, id_) == ["wait 1"]
    await backend.waits.remove(again, both)
    assert await left(backend, id_) == []


async def test_nothing_is_added_under_a_claim_that_is_lost(backend: Backend) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, Released())

    (wait,) = await backend.waits.add(claim, [new_wait(1, timeout=FAR)])

    assert wait.title == "wait 1"
    assert await left(backend, claim.execution.id) == []


async def test_the_waits_of_one_execution_are_not_those_of_another(
    backend: Backend, make_backend: MakeBackend
) -> None:
    worker = await joined(backend)
    await insert(backend, new_execution("a"), new_execution("a:b"))
    claims = {c.execution.id: c for c in await claim_many(backend, worker, 2)}
    await backend.waits.add(claims["a"], [new_wait(1)])
    await backend.waits.add(claims["a:b"], [new_wait(2)])

    assert await left(backend, "a") == ["wait 1"]
    await settle(backend, claims["a"], Completed(result="1"))
    assert await left(backend, "a:b") == ["wait 2"]
    other = await make_backend(queue_prefix="another")
    assert await left(other, "a:b") == []


ENDS: list[Settlement] = [Completed(result="1"), Failed(error=ERROR), Cancelled()]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
@pytest.mark.parametrize("resumed", [False, True])
async def test_waits_are_gone_once_their_execution_is_settled(
    backend: Backend, end: Settlement, resumed: bool
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    await backend.waits.add(claim, [new_wait(1), new_wait(2, timeout=FAR)])
    if resumed:
        await suspend(backend, claim)
        await backend.waits.wake([id_])
        claim = await claim_one(backend, worker)

    await settle(backend, claim, end)

    assert await left(backend, id_) == []


async def test_waits_are_gone_once_a_suspended_execution_is_cancelled(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    await backend.waits.add(claim, [new_wait(1)])
    await suspend(backend, claim)

    await backend.executions.cancel(claim.execution.id, "not needed")

    await expect(backend, claim.execution.id, status=S.CANCELLED, run_at=None)
    assert await left(backend, claim.execution.id) == []


async def test_waits_are_gone_once_a_flagged_execution_is_reaped(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    await backend.waits.add(claim, [new_wait(1)])
    await backend.executions.cancel(claim.execution.id, None)
    reaper = await joined(backend)
    await end_lease(backend, claim.worker_id)

    await backend.workers.reap(reaper.id, expired=True)

    await expect(backend, claim.execution.id, status=S.CANCELLED)
    assert await left(backend, claim.execution.id) == []


async def test_a_retry_begins_without_the_waits_of_the_life_before(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    await backend.waits.add(claim, [new_wait(1, timeout=FAR)])
    await settle(backend, claim, Failed(error=ERROR))
    await backend.executions.retry(id_)

    again = await claim_one(backend, worker)

    assert again.waits == {}
    (wait,) = await backend.waits.add(again, [new_wait(1)])
    assert wait.token == again.token
    assert wait.deadline is None


async def test_an_execution_that_has_the_id_of_one_before_has_none_of_its_waits(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    await insert(backend, new_execution("same"))
    claim = await claim_one(backend, worker)
    await backend.waits.add(claim, [new_wait(1)])
    await settle(backend, claim, Completed(result="1"))
    await until(lambda: _is_pruned(backend))
    await backend.waits.add(claim, [new_wait(1)])
    await insert(backend, new_execution("same"))

    again = await claim_one(backend, worker)
    (wait,) = await backend.waits.add(again, [new_wait(1, timeout=FAR)])

    assert wait.deadline is not None
    assert _facts(await backend.waits.all("same")) == _facts([wait])
    await backend.waits.remove(claim, [new_wait(1).step_id])
    assert await left(backend, "same") == ["wait 1"]


async def _is_pruned(backend: Backend) -> bool:
    return bool(await backend.retention.prune(S.COMPLETED, 0.0, 10))


# -- suspension


@pytest.mark.parametrize("status", [S.SLEEPING, S.WAITING])
@pytest.mark.parametrize("until", [None, timedelta(hours=1)])
async def test_a_suspended_execution_leaves_its_worker(
    backend: Backend, status: ExecutionStatus, until: timedelta | None
) -> None:
    claim = await claimed(backend)
    at = None if until is None else now() + until

    settled = await suspend(
        backend, claim, status=status, until=at, reason='the step "Approval"'
    )

    assert settled == Settled(applied=True, status=status)
    await expect(
        backend,
        claim.execution.id,
        status=status,
        worker=None,
        token=claim.token,
        run_at=at,
        reason='the step "Approval"',
        attempt_count=0,
        attempts=(),
        wakeups=0,
    )
    await counted(backend, {status: 1})
    page = await backend.listing.page(ExecutionQuery(statuses=frozenset({status})))
    assert ids(page.items) == [claim.execution.id]
    renewal = await asyncio.to_thread(backend.workers.renew, claim.worker_id)
    assert renewal.owned == frozenset()
    worker = await joined(backend)
    assert await nothing_to_claim(backend, worker)
    await backend.sweeping.sweep(worker.id)
    assert await nothing_to_claim(backend, worker)


async def test_a_suspended_execution_is_claimed_when_it_is_due(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    claim = await claimed(first)
    due = now() + timedelta(seconds=0.6)
    await suspend(first, claim, status=S.SLEEPING, until=due, reason="sleeps")
    worker = await joined(second)
    assert await nothing_to_claim(second, worker)

    again = await claim_one(second, worker)

    assert now() >= due
    assert again.execution.id == claim.execution.id
    assert again.token > claim.token
    assert again.execution.status is S.PROCESSING
    assert again.execution.attempt_count == again.execution.wakeups == 0
    await expect(second, claim.execution.id, run_at=None, reason=None, recoveries=0)


async def test_those_that_come_due_are_claimed_in_their_order(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    news = await insert(backend, *(new_execution() for _ in range(5)))
    claims = await claim_many(backend, worker, 5)
    due = now() + timedelta(seconds=0.5)
    for number, claim in enumerate(reversed(claims)):
        at = due + timedelta(milliseconds=20 * number)
        await suspend(backend, claim, status=S.SLEEPING, until=at)
    last = due + timedelta(milliseconds=20 * len(claims))
    await until(lambda: now() > last)

    again = await claim_many(backend, worker, 5)

    assert ids(again) == news[::-1]


async def test_a_repeated_suspension_recognises_its_own_write(backend: Backend) -> None:
    claim = await claimed(backend)
    suspension = suspended(claim, until=now() + timedelta(hours=1), reason="waits")
    await settle(backend, claim, suspension)
    before = await everything(backend, claim.execution.id)

    settled = await settle(backend, claim, suspension)

    assert settled == Settled(applied=True, status=S.WAITING)
    assert await everything(backend, claim.execution.id) == before


async def test_a_late_suspension_changes_nothing(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    old = await claim_one(backend, worker)
    await settle(backend, old, Released())
    new = await claim_one(backend, worker)
    before = await everything(backend, id_)

    assert (await suspend(backend, old)).status is S.PROCESSING

    assert await everything(backend, id_) == before
    assert (await suspend(backend, new)).applied


async def test_a_suspension_of_what_is_cancelled_ends_it(backend: Backend) -> None:
    claim = await claimed(backend)
    await backend.waits.add(claim, [new_wait(1)])
    await backend.executions.cancel(claim.execution.id, "not needed")

    settled = await suspend(backend, claim)

    assert settled == Settled(applied=True, status=S.CANCELLED)
    await expect(
        backend, claim.execution.id, status=S.CANCELLED, cancel_reason="not needed"
    )
    assert await left(backend, claim.execution.id) == []


async def test_a_suspension_clears_the_deaths_before_it(backend: Backend) -> None:
    id_ = await insert_one(backend)
    claim = await _after_two_deaths(backend)
    assert claim.execution.deaths == 1
    await suspend(backend, claim)

    await expect(backend, id_, deaths=0, recoveries=2)


async def _after_two_deaths(backend: Backend) -> Claim:
    for _ in range(2):
        worker = await joined(backend)
        claim = await claim_one(backend, worker)
        await backend.claims.begin(claim)
        await backend.steps.checkpoint(claim, new_step(claim.token))
        reaper = await joined(backend)
        await end_lease(backend, worker.id)
        await backend.workers.reap(reaper.id, expired=True)
    return await claim_one(backend, reaper)


# -- wake-ups


async def test_a_wake_up_queues_what_is_suspended(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    claim = await claimed(first)
    id_ = claim.execution.id
    await suspend(first, claim, until=now() + timedelta(hours=1), reason="waits")
    worker = await joined(first)

    async with first.notices.watch(id_) as subscription:
        assert await second.waits.wake([id_]) == 1
        notice = await subscription.next(10)

    assert type(notice) is ExecutionUpdated
    assert (notice.execution_id, notice.status) == (id_, S.QUEUED)
    await expect(first, id_, status=S.QUEUED, wakeups=1, reason=None, run_at=None)
    await counted(first, {S.QUEUED: 1})
    again = await claim_one(first, worker)
    assert again.execution.wakeups == 1
    assert await first.waits.wakeups(id_) == 1


async def test_a_wake_up_only_counts_where_nothing_is_suspended(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    later = await insert_one(backend, delay=FAR)
    queued, running, retrying = await insert(
        backend, *(new_execution() for _ in range(3))
    )
    claims = {c.execution.id: c for c in await claim_many(backend, worker, 3)}
    await settle(backend, claims[retrying], RetryAt(error=ERROR, delay=FAR))
    await settle(backend, claims[queued], Released())
    before = {each: await stored(backend, each) for each in (later, queued, retrying)}

    assert await backend.waits.wake([later, queued, running, retrying, "nobody"]) == 0

    for id_, execution in before.items():
        assert await stored(backend, id_) == replace(execution, wakeups=1)
    await expect(backend, running, worker=worker.id, wakeups=1, token=1)
    assert await backend.waits.wakeups(running) == 1
    assert await backend.waits.wakeups("nobody") == 0


@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_what_has_ended_is_not_woken(
    backend: Backend, status: ExecutionStatus
) -> None:
    ends = {S.COMPLETED: ENDS[0], S.FAILED: ENDS[1], S.CANCELLED: ENDS[2]}
    claim = await claimed(backend)
    await settle(backend, claim, ends[status])
    before = await everything(backend, claim.execution.id)

    assert await backend.waits.wake([claim.execution.id]) == 0

    assert await everything(backend, claim.execution.id) == before


async def test_a_suspension_after_a_wake_up_is_queued_instead(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    id_ = claim.execution.id
    await backend.waits.wake([id_])

    async with backend.notices.watch(id_) as subscription:
        settled = await suspend(backend, claim, until=now() + timedelta(hours=1))
        notice = await subscription.next(10)

    assert settled == Settled(applied=True, status=S.QUEUED)
    assert notice is not None
    assert notice.status is S.QUEUED
    await expect(
        backend, id_, status=S.QUEUED, wakeups=1, worker=None, run_at=None, reason=None
    )
    worker = await joined(backend)
    again = await claim_one(backend, worker)
    settled = await suspend(backend, again)
    assert settled == Settled(applied=True, status=S.WAITING)


async def test_waking_twice_queues_once(backend: Backend) -> None:
    claim = await claimed(backend)
    await suspend(backend, claim)

    woken = [await backend.waits.wake([claim.execution.id]) for _ in range(2)]

    assert woken == [1, 0]
    worker = await joined(backend)
    await claim_one(backend, worker)
    assert await nothing_to_claim(backend, worker)
    await expect(backend, claim.execution.id, wakeups=2)


@pytest.mark.parametrize("wakes", ["before", "after", "never"])
async def test_nothing_is_claimed_before_its_pause_ends(
    backend: Backend, wakes: str
) -> None:
    claim = await claimed(backend)
    id_ = claim.execution.id
    begin = now()
    if wakes == "before":
        await backend.waits.wake([id_])
    await suspend(backend, claim, until=begin, pause=0.8)
    if wakes == "after":
        await backend.waits.wake([id_])
    worker = await joined(backend)

    execution = await stored(backend, id_)
    assert execution.status is (S.WAITING if wakes == "never" else S.QUEUED)
    assert execution.run_at is not None
    # The store's clock need not be that of this process to the millisecond.
    assert execution.run_at > begin + timedelta(seconds=0.7)
    again = await claim_one(backend, worker)
    assert now() >= execution.run_at
    # The pause is that of one suspension.
    await suspend(backend, again)
    await backend.waits.wake([id_])
    await expect(backend, id_, status=S.QUEUED, run_at=None)


async def test_a_thousand_are_woken_at_once(backend: Backend) -> None:
    worker = await joined(backend)
    news = await insert(backend, *(new_execution() for _ in range(1000)))
    claims = await claim_many(backend, worker, 1000, 500)
    await asyncio.gather(*(suspend(backend, claim) for claim in claims))

    assert await backend.waits.wake(news) == 1000

    again = await claim_many(backend, worker, 1000, 500)
    assert sorted(ids(again)) == sorted(news)
    await counted(backend, {S.PROCESSING: 1000})


async def test_a_suspension_races_with_a_wake_up(
    pair: tuple[Backend, Backend], store: Store
) -> None:
    first, second = pair
    worker = await joined(first)
    count = 300 if store.kind == "redis_mongo" else 500
    news = await insert(first, *(new_execution() for _ in range(count)))
    claims = await claim_many(first, worker, count, count)

    await asyncio.gather(
        *(suspend(first, claim) for claim in claims),
        *(second.waits.wake([id_]) for id_ in news),
    )

    # Whichever came first, nothing is left suspended.
    await counted(second, {S.QUEUED: count})
    again = await claim_many(second, await joined(second), count, count)
    assert sorted(ids(again)) == sorted(news)
    assert {claim.execution.wakeups for claim in again} == {1}


async def test_a_suspended_execution_of_an_absent_function_waits_for_a_worker(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    await backend.workers.leave(claim.worker_id)
    elsewhere = await joined(backend, "other")
    claim_time: datetime = now()
    await suspend(backend, claim, status=S.SLEEPING, until=claim_time)
    assert await nothing_to_claim(backend, elsewhere)
    await backend.sweeping.sweep(elsewhere.id)

    worker = await joined(backend)
    again = await claim_one(backend, worker)

    assert again.execution.id == claim.execution.id
