"""Executions that others have started: what their ends do to each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.conformance.test_waits import suspend
from tests.conformance.test_workers import reaped
from tests.stores import (
    ERROR,
    MakeBackend,
    claim_many,
    claim_one,
    claimed,
    collect,
    everything,
    expect,
    ids,
    ignore,
    insert,
    insert_one,
    joined,
    new_execution,
    new_step,
    new_worker,
    now,
    renew,
    settle,
    stored,
)
from tests.waiting import until
from worchflow.model.children import Child, parent_ended_reason
from worchflow.model.records import (
    Claim,
    ExecutionQuery,
    ExecutionStatus,
    NewExecution,
    Parent,
    StoredExecution,
    WorkerRecord,
)
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Settled,
    Settlement,
)
from worchflow.storage.contract.backend import Backend
from worchflow.storage.contract.children import CHILDREN_PAGE
from worchflow.storage.contract.workers import WorkerHint

S = ExecutionStatus
CHILD = "child"
"""The event of children: no worker of a parent serves it."""
FAR = 3600.0


def child_of(claim: Claim, *, event: str = CHILD, **fields: Any) -> NewExecution:
    """Make a child of a claim's execution; `fields` are those of its parent."""
    execution = claim.execution
    values: dict[str, Any] = {
        "id": execution.id,
        "nonce": execution.nonce,
        "step_id": f"{1:032x}",
        "token": claim.token,
    }
    parent = Parent(**values | fields)
    return new_execution(event=event, parent=parent, depth=execution.depth + 1)


async def started(backend: Backend, claim: Claim, *children: NewExecution) -> list[str]:
    """Insert children as a step does; one without any is made one."""
    assert await backend.children.announce(claim)
    return await insert(backend, *(children or (child_of(claim),)))


async def with_children(
    backend: Backend, *children: dict[str, Any]
) -> tuple[Claim, list[str]]:
    """A claimed execution and the ids of the children that it has started."""
    claim = await claimed(backend)
    new = [child_of(claim, **fields) for fields in children or ({},)]
    return claim, await started(backend, claim, *new)


async def becomes(backend: Backend, id: str, **fields: Any) -> StoredExecution:
    """Wait until an execution has these fields: what follows an end may lag."""

    async def are_so() -> bool:
        execution = await stored(backend, id)
        return all(getattr(execution, name) == fields[name] for name in fields)

    with suppress(AssertionError):
        await until(are_so)
    return await expect(backend, id, **fields)


async def retried(backend: Backend, claim: Claim) -> Claim:
    """End an execution, and claim it after an explicit retry."""
    await settle(backend, claim, Failed(error=ERROR))
    return await claimed_after_retry(backend, claim)


async def claimed_after_retry(backend: Backend, claim: Claim) -> Claim:
    """Queue an execution again, and claim it."""
    _, is_queued = await backend.executions.retry(claim.execution.id)
    assert is_queued
    return await claim_one(backend, await joined(backend))


async def pruned(backend: Backend, status: S) -> None:
    """Prune until one is gone: a moment must have passed."""

    async def is_one_gone() -> bool:
        return await backend.retention.prune(status, 0.0, 10) == 1

    await until(is_one_gone)


async def found(backend: Backend, id: str) -> Child:
    """A child that must be there, as its parent sees it."""
    return (await backend.children.find([id]))[id]


# -- what is stored


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_child_says_whose_it_is(backend: Backend, leaves: bool) -> None:
    claim = await claimed(backend)
    new = child_of(claim, leaves=leaves)
    (child,) = await started(backend, claim, new)

    await expect(backend, child, parent=new.parent, depth=1, has_children=False)

    assert new.parent is not None
    assert new.parent.leaves is leaves
    for payloads in (False, True):
        page = await backend.listing.page(ExecutionQuery(payloads=payloads))
        (item,) = (each for each in page.items if each.id == child)
        assert (item.parent, item.depth) == (new.parent, 1)
    worker = await joined(backend, CHILD)
    again = await claim_one(backend, worker)
    assert (again.execution.parent, again.execution.depth) == (new.parent, 1)
    (adopted,) = await backend.claims.adopt(worker, frozenset({child}))
    assert (adopted.execution.parent, adopted.execution.depth) == (new.parent, 1)


async def test_what_nobody_started_has_no_parent(backend: Backend) -> None:
    claim = await claimed(backend)

    execution = claim.execution

    assert execution.parent is None
    assert (execution.depth, execution.has_children, execution.retry_token) == (
        *(0, False, 0),
    )
    assert not claim.parent_has_ended


async def test_a_child_is_inserted_once(backend: Backend) -> None:
    claim = await claimed(backend)
    new = child_of(claim)
    await started(backend, claim, new)

    (again,) = await backend.executions.insert([new])
    (other,) = await backend.executions.insert([replace(new, nonce="another")])

    assert again.existing is None
    assert other.existing is not None
    assert other.existing.parent == new.parent


async def test_an_explicit_retry_is_told_by_its_token(backend: Backend) -> None:
    claim = await claimed(backend)

    again = await retried(backend, claim)

    assert claim.token < again.execution.retry_token <= again.token
    await expect(backend, claim.execution.id, retry_token=again.execution.retry_token)


# -- announce


async def test_an_execution_that_may_have_children_says_so(backend: Backend) -> None:
    claim = await claimed(backend)

    assert await backend.children.announce(claim)
    assert await backend.children.announce(claim)

    await expect(backend, claim.execution.id, has_children=True)
    await settle(backend, claim, Released())
    again = await claim_one(backend, await joined(backend))
    assert again.execution.has_children
    assert await backend.children.announce(again)


async def test_nothing_is_announced_under_a_claim_that_is_lost(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    await insert_one(backend)
    claim = await claim_one(backend, worker)
    await settle(backend, claim, Released())
    assert not await backend.children.announce(claim)

    again = await claim_one(backend, worker)

    assert not await backend.children.announce(claim)
    await expect(backend, again.execution.id, has_children=False)
    await settle(backend, again, Completed(result="1"))
    assert not await backend.children.announce(again)
    await expect(backend, again.execution.id, has_children=False)


async def test_nothing_is_announced_for_another_execution_of_the_same_id(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    await insert(backend, new_execution("same"))
    late = await claim_one(backend, worker)
    await settle(backend, late, Completed(result="1"))
    await pruned(backend, S.COMPLETED)
    await insert(backend, new_execution("same"))
    claim = await claim_one(backend, worker)
    assert (claim.worker_id, claim.token) == (late.worker_id, late.token)

    assert not await backend.children.announce(late)

    await expect(backend, "same", has_children=False)


# -- find


async def test_children_are_found_as_they_stand(backend: Backend) -> None:
    claim, (done, failed, cancelled, retrying, waiting) = await with_children(
        backend, *({} for _ in range(5))
    )
    worker = await joined(backend, CHILD)
    claims = {c.execution.id: c for c in await claim_many(backend, worker, 5)}
    await settle(backend, claims[done], Completed(result='{"a":1}'))
    await settle(backend, claims[failed], Failed(error=ERROR))
    await settle(backend, claims[cancelled], Cancelled(reason="not needed"))
    await settle(backend, claims[retrying], RetryAt(error=ERROR, delay=FAR))
    await settle(backend, claims[waiting], Released())

    children = await backend.children.find(
        [done, failed, cancelled, retrying, waiting, "nobody"]
    )

    token = claim.token
    assert children == {
        done: Child(id=done, status=S.COMPLETED, token=token, result='{"a":1}'),
        failed: Child(id=failed, status=S.FAILED, token=token, error=ERROR),
        cancelled: Child(
            id=cancelled,
            status=S.CANCELLED,
            token=token,
            cancel_reason="not needed",
        ),
        retrying: Child(id=retrying, status=S.RETRYING, token=token),
        waiting: Child(id=waiting, status=S.QUEUED, token=token),
    }
    assert await backend.children.find([]) == {}
    assert await backend.children.find(["nobody"]) == {}


async def test_those_of_another_prefix_are_not_found(
    backend: Backend, make_backend: MakeBackend, prefix: str
) -> None:
    _, (child,) = await with_children(backend)
    other = await make_backend(queue_prefix=f"{prefix}-2")

    assert await other.children.find([child]) == {}


async def test_what_has_no_parent_is_no_child(backend: Backend) -> None:
    id_ = await insert_one(backend)

    assert await backend.children.find([id_]) == {}


# -- the end of a child wakes its parent

End = Callable[[Backend, str], Awaitable[Any]]


def settled_as(settlement: Settlement, *, flagged: bool = False) -> End:
    """Let an execution be claimed and settled, after it was cancelled or not."""

    async def end(backend: Backend, id: str) -> None:
        claim = await _claim(backend, id)
        if flagged:
            await backend.executions.cancel(id, "not needed")
        await settle(backend, claim, settlement)

    return end


async def _claim(backend: Backend, id: str, quarantine_after: int = 9) -> Claim:
    """Claim this execution of those that are due, by a worker of its own."""
    event = (await stored(backend, id)).event_name
    worker = replace(new_worker(event), quarantine_after=quarantine_after)
    await backend.workers.join(worker, ignore)
    claim = await claim_one(backend, worker)
    assert claim.execution.id == id
    return claim


async def cancelled_while_queued(backend: Backend, id: str) -> None:
    await backend.executions.cancel(id, "not needed")


async def cancelled_while_suspended(backend: Backend, id: str) -> None:
    await suspend(backend, await _claim(backend, id))
    await backend.executions.cancel(id, "not needed")


async def suspended_while_flagged(backend: Backend, id: str) -> None:
    claim = await _claim(backend, id)
    await backend.executions.cancel(id, "not needed")
    await suspend(backend, claim)


async def reaped_while_flagged(backend: Backend, id: str) -> None:
    claim = await _claim(backend, id)
    await backend.executions.cancel(id, "not needed")
    await reaped(backend, await joined(backend, "nothing"), 1, claim.worker_id)


async def found_to_kill_workers(backend: Backend, id: str) -> None:
    claim = await _claim(backend, id)
    assert await backend.claims.begin(claim)
    careful = replace(new_worker(claim.execution.event_name), quarantine_after=1)
    await backend.workers.join(careful, ignore)
    await reaped(backend, careful, 1, claim.worker_id)

    async def quarantined() -> Claim | None:
        return await backend.claims.claim_quarantined(careful)

    poison = await until(quarantined)
    assert poison is not None
    await settle(backend, poison, Failed(error=ERROR))


ENDS: dict[str, End] = {
    "completed": settled_as(Completed(result="1")),
    "failed": settled_as(Failed(error=ERROR)),
    "cancelled": settled_as(Cancelled(reason="not needed")),
    "cancelled while queued": cancelled_while_queued,
    "cancelled while suspended": cancelled_while_suspended,
    "completed while flagged": settled_as(Completed(result="1"), flagged=True),
    "released while flagged": settled_as(Released(), flagged=True),
    "retried while flagged": settled_as(RetryAt(error=ERROR, delay=0), flagged=True),
    "suspended while flagged": suspended_while_flagged,
    "reaped while flagged": reaped_while_flagged,
    "poison": found_to_kill_workers,
}
"""All ways in which an execution that is queued can end."""

ends = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())


@ends
@pytest.mark.parametrize("leaves", [False, True])
async def test_the_end_of_a_child_queues_who_awaits_it(
    backend: Backend, end: End, leaves: bool
) -> None:
    claim, (child,) = await with_children(backend, {"leaves": leaves})
    at = now() + timedelta(seconds=FAR)
    await suspend(backend, claim, awaits_children=True, until=at, reason="waits")

    await end(backend, child)

    parent = claim.execution.id
    await becomes(backend, parent, status=S.QUEUED)
    woken = await expect(backend, parent, run_at=None, reason=None, worker=None)
    assert woken.wakeups >= 1
    assert (await found(backend, child)).status.is_terminal
    again = await claim_one(backend, await joined(backend))
    assert again.execution.id == parent
    assert again.execution.wakeups == woken.wakeups


@ends
async def test_a_suspension_after_the_end_of_a_child_is_queued_instead(
    backend: Backend, end: End
) -> None:
    claim, (child,) = await with_children(backend)
    await end(backend, child)

    async def is_counted() -> int:
        return await backend.waits.wakeups(claim.execution.id)

    await until(is_counted)
    settled = await suspend(backend, claim, awaits_children=True)

    assert settled == Settled(applied=True, status=S.QUEUED)


async def test_who_follows_a_parent_is_told_that_it_is_queued(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    claim, (child,) = await with_children(first)
    await suspend(first, claim, awaits_children=True)

    async with first.notices.watch(claim.execution.id) as subscription:
        await settled_as(Completed(result="1"))(second, child)
        notice = await subscription.next(10)

    assert notice is not None
    assert (notice.execution_id, notice.status) == (claim.execution.id, S.QUEUED)


async def test_a_suspended_parent_that_awaits_no_child_is_only_counted(
    backend: Backend,
) -> None:
    claim, (child,) = await with_children(backend)
    at = now() + timedelta(seconds=FAR)
    await suspend(backend, claim, until=at, reason="waits")
    before = await stored(backend, claim.execution.id)

    await settled_as(Completed(result="1"))(backend, child)

    await becomes(backend, claim.execution.id, wakeups=1)
    assert await stored(backend, claim.execution.id) == replace(before, wakeups=1)


async def test_a_parent_that_runs_is_counted_and_hinted(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    hinted: list[str] = []
    worker = new_worker()
    await first.workers.join(worker, collect(hinted, WorkerHint.WOKEN))
    parent = await insert_one(first)
    claim = await claim_one(first, worker)
    (child,) = await started(first, claim)

    await settled_as(Completed(result="1"))(second, child)

    await becomes(first, parent, wakeups=1, worker=worker.id, status=S.PROCESSING)
    await until(lambda: hinted)
    assert set(hinted) == {parent}


async def test_only_the_suspension_that_said_so_awaits_children(
    backend: Backend,
) -> None:
    claim, (first, second) = await with_children(backend, {}, {})
    id_ = claim.execution.id
    await suspend(backend, claim, awaits_children=True)
    await backend.waits.wake([id_])
    claim = await claim_one(backend, await joined(backend))
    await suspend(backend, claim, reason="an event")

    await backend.executions.cancel(first, None)

    await becomes(backend, id_, wakeups=2)
    await expect(backend, id_, status=S.WAITING, reason="an event")
    # What was woken before it could be suspended awaits nothing either.
    await backend.waits.wake([id_])
    claim = await claim_one(backend, await joined(backend))
    await backend.waits.wake([id_])
    assert (await suspend(backend, claim, awaits_children=True)).status is S.QUEUED
    claim = await claim_one(backend, await joined(backend))
    await suspend(backend, claim)
    await backend.executions.cancel(second, None)
    await becomes(backend, id_, wakeups=5)
    await expect(backend, id_, status=S.WAITING)


async def test_a_woken_parent_still_pauses(backend: Backend) -> None:
    claim, (child,) = await with_children(backend)
    begin = now()
    await suspend(backend, claim, awaits_children=True, pause=FAR)

    await backend.executions.cancel(child, None)

    woken = await becomes(backend, claim.execution.id, status=S.QUEUED, wakeups=1)
    assert woken.run_at is not None
    assert woken.run_at > begin + timedelta(seconds=FAR - 60)


@pytest.mark.parametrize(
    "settlement",
    [Released(), RetryAt(error=ERROR, delay=FAR)],
    ids=lambda each: type(each).__name__,
)
async def test_a_child_that_goes_on_wakes_nobody(
    backend: Backend, settlement: Settlement
) -> None:
    claim, (child, other) = await with_children(backend, {}, {})
    await suspend(backend, claim)
    claims = await claim_many(backend, await joined(backend, CHILD), 2)
    by_id = {each.execution.id: each for each in claims}

    await settle(backend, by_id[child], settlement)

    # The end of the other one counts, and nothing else.
    await settle(backend, by_id[other], Completed(result="1"))
    await becomes(backend, claim.execution.id, wakeups=1)


async def test_many_children_that_end_at_once_queue_their_parent_once(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    claim, children = await with_children(first, *({} for _ in range(40)))
    claims = await claim_many(second, await joined(second, CHILD), 40, 40)

    await asyncio.gather(
        suspend(first, claim, awaits_children=True),
        *(settle(second, each, Completed(result="1")) for each in claims),
    )

    await becomes(first, claim.execution.id, status=S.QUEUED)
    assert {each.status for each in (await first.children.find(children)).values()} == {
        S.COMPLETED
    }
    worker = await joined(first)
    again = await claim_one(first, worker)
    assert again.execution.id == claim.execution.id
    assert not await first.claims.claim(worker, 10, 0.1)


async def test_a_parent_that_has_ended_is_not_woken(backend: Backend) -> None:
    claim, (child,) = await with_children(backend, {"leaves": True})
    await settle(backend, claim, Failed(error=ERROR))
    await backend.sweeping.sweep(claim.worker_id)
    before = await everything(backend, claim.execution.id)

    await settled_as(Completed(result="1"))(backend, child)

    await backend.sweeping.sweep(claim.worker_id)
    assert await everything(backend, claim.execution.id) == before


async def test_another_execution_of_the_id_of_the_parent_is_not_woken(
    backend: Backend,
) -> None:
    claim = await claimed(backend, id="same")
    stays = [child_of(claim, leaves=True), child_of(claim, leaves=True)]
    child, _ = await started(backend, claim, *stays)
    await settle(backend, claim, Completed(result="1"))
    await is_pruned(backend, claim)
    other = await claimed(backend, id="same")
    (own,) = await started(backend, other, child_of(other, event="own"))
    await suspend(backend, other)

    await backend.executions.cancel(child, None)

    await backend.executions.cancel(own, None)
    await becomes(backend, "same", wakeups=1)
    await backend.sweeping.sweep(claim.worker_id)
    await expect(backend, "same", wakeups=1, status=S.WAITING)


# -- the end of a parent cancels its children


@ends
@pytest.mark.parametrize("announced", ["under this claim", "under an earlier one"])
async def test_children_are_cancelled_when_their_parent_ends(
    backend: Backend, end: End, announced: str
) -> None:
    """Those that wait and those that run, in every status that is not an end."""
    worker = await joined(backend, CHILD)
    parent = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    new = [child_of(claim, leaves=number == 0) for number in range(6)]
    stays, queued, running, asleep, retrying, done = await started(backend, claim, *new)
    claims = {c.execution.id: c for c in await claim_many(backend, worker, 6)}
    await settle(backend, claims[queued], Released())
    await suspend(backend, claims[asleep], until=now() + timedelta(seconds=FAR))
    await settle(backend, claims[retrying], RetryAt(error=ERROR, delay=FAR))
    await settle(backend, claims[done], Completed(result='"done"'))
    before = [await everything(backend, each) for each in (done, stays)]
    if announced == "under this claim":
        await settle_and_announce_again(backend, claim)
    else:
        await settle(backend, claim, Released())

    await end(backend, parent)

    assert (await stored(backend, parent)).status.is_terminal
    reason = parent_ended_reason(parent)
    for id_ in (queued, asleep, retrying):
        await becomes(backend, id_, status=S.CANCELLED, cancel_reason=reason)
        ended = await expect(backend, id_, run_at=None, reason=None, worker=None)
        assert ended.finished_at is not None
    await becomes(backend, running, cancel_requested=True, cancel_reason=reason)
    await expect(backend, running, status=S.PROCESSING, worker=worker.id)
    assert (await renew(backend, worker.id)).cancelled == {running}
    assert [await everything(backend, each) for each in (done, stays)] == before
    settled = await settle(backend, claims[running], Released())
    assert settled == Settled(applied=True, status=S.CANCELLED)
    assert (await found(backend, running)).cancel_reason == reason


async def settle_and_announce_again(backend: Backend, claim: Claim) -> None:
    """Let the next claim be one that is asked to announce children, as they are."""
    await settle(backend, claim, Released())
    again = await claim_one(backend, await joined(backend))
    assert await backend.children.announce(again)
    await settle(backend, again, Released())


@pytest.mark.parametrize(
    "settlement",
    [Completed(result="1"), Failed(error=ERROR), Cancelled()],
    ids=lambda each: type(each).__name__,
)
async def test_children_of_the_claim_that_ends_are_cancelled(
    backend: Backend, settlement: Settlement
) -> None:
    """Its execution did not say yet that it may have some when it was claimed."""
    claim, (child, stays) = await with_children(backend, {}, {"leaves": True})
    assert not claim.execution.has_children

    await settle(backend, claim, settlement)

    await becomes(backend, child, status=S.CANCELLED)
    await expect(backend, stays, status=S.QUEUED, cancel_reason=None)


async def test_a_worker_is_hinted_that_a_child_is_cancelled(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    hinted: list[str] = []
    worker = new_worker(CHILD)
    await second.workers.join(worker, collect(hinted))
    claim, (child,) = await with_children(first)
    await claim_one(second, worker)

    await settle(first, claim, Completed(result="1"))

    await until(lambda: hinted)
    assert hinted == [child]


async def test_who_follows_a_child_is_told_of_its_end(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    claim, (child,) = await with_children(first)

    async with second.notices.watch(child) as subscription:
        await settle(first, claim, Completed(result="1"))
        notice = await subscription.next(10)

    assert notice is not None
    assert (notice.execution_id, notice.status) == (child, S.CANCELLED)


async def test_children_go_on_while_their_parent_does(backend: Backend) -> None:
    claim, (child,) = await with_children(backend)
    await claim_one(backend, await joined(backend, CHILD))
    before = await everything(backend, child)
    await settle(backend, claim, Released())
    claim = await claim_one(backend, await joined(backend))
    await settle(backend, claim, RetryAt(error=ERROR, delay=0))
    claim = await claim_one(backend, await joined(backend))
    await reaped(backend, await joined(backend), 1, claim.worker_id)
    claim = await claim_one(backend, await joined(backend))
    await suspend(backend, claim, awaits_children=True)

    await backend.sweeping.sweep(claim.worker_id)

    assert await everything(backend, child) == before


async def test_children_that_are_not_those_of_the_end_stay(
    backend: Backend, make_backend: MakeBackend, prefix: str
) -> None:
    """Of a later claim, of another life of its id, and of another prefix."""
    claim = await claimed(backend)
    later = child_of(claim, token=claim.token + 1)
    other = child_of(claim, nonce="another")
    own, *rest = await started(backend, claim, child_of(claim), later, other)
    elsewhere = await make_backend(queue_prefix=f"{prefix}-2")
    (foreign,) = await insert(elsewhere, child_of(claim))

    await settle(backend, claim, Completed(result="1"))

    await becomes(backend, own, status=S.CANCELLED)
    await backend.sweeping.sweep(claim.worker_id)
    for id_ in rest:
        await expect(backend, id_, status=S.QUEUED, cancel_reason=None)
    await expect(elsewhere, foreign, status=S.QUEUED, cancel_reason=None)


async def test_what_somebody_has_cancelled_keeps_its_reason(backend: Backend) -> None:
    claim, (child,) = await with_children(backend)
    running = await claim_one(backend, await joined(backend, CHILD))
    await backend.executions.cancel(child, "too slow")

    await settle(backend, claim, Completed(result="1"))

    await settle(backend, running, Released())
    await becomes(backend, child, status=S.CANCELLED, cancel_reason="too slow")


async def lineage(backend: Backend, depth: int) -> list[Claim]:
    """Claims of an execution, its child, the child of that, and so on."""
    claims = [await claimed(backend)]
    for number in range(depth):
        event = f"level {number}"
        worker = await joined(backend, event)
        await started(backend, claims[-1], child_of(claims[-1], event=event))
        claims.append(await claim_one(backend, worker))
    return claims


async def test_the_children_of_children_are_cancelled_too(backend: Backend) -> None:
    first, *claims = await lineage(backend, 4)
    for claim in claims:
        await suspend(backend, claim, awaits_children=True)

    await settle(backend, first, Completed(result="1"))

    for above, claim in zip([first, *claims[:-1]], claims, strict=True):
        reason = parent_ended_reason(above.execution.id)
        this = claim.execution.id
        await becomes(backend, this, status=S.CANCELLED, cancel_reason=reason)


async def test_the_children_of_one_that_runs_are_cancelled_when_it_ends(
    backend: Backend,
) -> None:
    first, second, third = await lineage(backend, 2)
    await suspend(backend, third)

    await settle(backend, first, Completed(result="1"))

    await becomes(backend, second.execution.id, cancel_requested=True)
    await expect(backend, third.execution.id, status=S.WAITING)
    await settle(backend, second, Released())
    await becomes(backend, third.execution.id, status=S.CANCELLED)


async def test_a_child_that_leaves_keeps_its_children(backend: Backend) -> None:
    claim, (stays, goes) = await with_children(
        backend, {"leaves": True}, {"event": "goes"}
    )
    child = await claim_one(backend, await joined(backend, CHILD))
    assert child.execution.id == stays
    (grandchild,) = await started(backend, child)

    await settle(backend, claim, Completed(result="1"))

    await becomes(backend, goes, status=S.CANCELLED)
    await expect(backend, stays, status=S.PROCESSING, cancel_requested=False)
    await expect(backend, grandchild, status=S.QUEUED)


async def test_more_children_than_a_page_are_all_cancelled(backend: Backend) -> None:
    count = CHILDREN_PAGE + 1
    claim = await claimed(backend)
    children = await started(backend, claim, *(child_of(claim) for _ in range(count)))
    assert len(await backend.children.find(children)) == count

    await settle(backend, claim, Completed(result="1"))

    # What is removed now leaves nobody behind.
    await backend.retention.prune(S.COMPLETED, 0.0, 10)
    await all_cancelled(backend, claim, children)


async def all_cancelled(backend: Backend, claim: Claim, children: list[str]) -> None:
    async def are_cancelled() -> bool:
        await backend.sweeping.sweep(claim.worker_id)
        each = (await backend.children.find(children)).values()
        return [child.status for child in each] == [S.CANCELLED] * len(children)

    await until(are_cancelled)


async def test_a_repeated_settlement_changes_nothing(backend: Backend) -> None:
    claim, (child, stays) = await with_children(backend, {}, {"leaves": True})
    await settle(backend, claim, Completed(result="1"))
    await becomes(backend, child, status=S.CANCELLED)
    before = [await everything(backend, each) for each in (child, stays)]

    settled = await settle(backend, claim, Completed(result="1"))

    assert settled == Settled(applied=True, status=S.COMPLETED)
    assert [await everything(backend, each) for each in (child, stays)] == before


async def test_a_repeated_settlement_of_a_child_leaves_its_parent_as_it_is(
    backend: Backend,
) -> None:
    claim, (child,) = await with_children(backend)
    ended = await claim_one(backend, await joined(backend, CHILD))
    await settle(backend, ended, Completed(result="1"))
    await becomes(backend, claim.execution.id, wakeups=1)

    settled = await settle(backend, ended, Completed(result="1"))

    assert settled == Settled(applied=True, status=S.COMPLETED)
    assert (await found(backend, child)).result == "1"
    await expect(backend, claim.execution.id, status=S.PROCESSING)
    assert (await settle(backend, claim, Completed(result="2"))).applied


async def test_a_late_settlement_of_a_parent_touches_no_child(backend: Backend) -> None:
    late, (child,) = await with_children(backend)
    await reaped(backend, await joined(backend, "nothing"), 1, late.worker_id)
    claim = await claim_one(backend, await joined(backend))
    before = await everything(backend, child)

    assert not (await settle(backend, late, Failed(error=ERROR))).applied

    assert await everything(backend, child) == before
    assert (await settle(backend, claim, Completed(result="1"))).applied
    await becomes(backend, child, status=S.CANCELLED)


async def test_a_parent_and_its_children_may_end_at_once(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    worker, other = await joined(first), await joined(second, CHILD)
    await insert(first, *(new_execution() for _ in range(20)))
    parents = await claim_many(first, worker, 20, 20)
    for claim in parents:
        await started(first, claim)
    children = await claim_many(second, other, 20, 20)

    await asyncio.gather(
        *(settle(first, claim, Completed(result="1")) for claim in parents),
        *(settle(second, claim, Completed(result="2")) for claim in children),
    )

    for claim in (*parents, *children):
        await becomes(first, claim.execution.id, status=S.COMPLETED)
    assert len(await first.children.find(ids(children))) == 20


# -- retries


async def test_an_explicit_retry_of_a_parent_repeats_a_child_once(
    backend: Backend,
) -> None:
    claim, (failed, cancelled) = await with_children(backend, {}, {"event": "other"})
    child = await claim_one(backend, await joined(backend, CHILD))
    assert child.execution.id == failed
    step = await backend.steps.checkpoint(child, new_step())
    await settle(backend, child, Failed(error=ERROR))
    await settle(backend, claim, Failed(error=ERROR))
    await becomes(backend, cancelled, status=S.CANCELLED)
    again = await claimed_after_retry(backend, claim)
    assert (await found(backend, failed)).token == claim.token

    assert await backend.children.retry(again, failed)
    assert await backend.children.retry(again, cancelled)
    assert not await backend.children.retry(again, failed)

    for id_ in (failed, cancelled):
        await expect(
            backend, id_, status=S.QUEUED, error=None, cancel_reason=None, depth=1
        )
        assert (await found(backend, id_)).token == again.token
    repeated = await claim_one(backend, await joined(backend, CHILD))
    assert repeated.execution.id == failed
    assert list(repeated.steps) == [step.step_id]
    assert not repeated.parent_has_ended
    await settle(backend, repeated, Failed(error=ERROR))
    # It has failed in this life: that is its outcome.
    assert not await backend.children.retry(again, failed)
    assert (await found(backend, failed)).status is S.FAILED


async def test_a_child_is_repeated_in_each_life(backend: Backend) -> None:
    claim, (child,) = await with_children(backend)
    tokens = [claim.token]
    for _ in range(2):
        await settled_as(Failed(error=ERROR))(backend, child)
        claim = await retried(backend, claim)
        assert await backend.children.retry(claim, child)
        tokens.append((await found(backend, child)).token)

    assert tokens == sorted(set(tokens))


async def test_no_child_is_repeated_without_an_explicit_retry(
    backend: Backend,
) -> None:
    claim, (child,) = await with_children(backend)
    await settled_as(Failed(error=ERROR))(backend, child)
    before = await everything(backend, child)

    assert not await backend.children.retry(claim, child)

    await settle(backend, claim, Released())
    again = await claim_one(backend, await joined(backend))
    assert not await backend.children.retry(again, child)
    assert await everything(backend, child) == before


async def test_only_own_children_that_did_not_succeed_are_repeated(
    backend: Backend,
) -> None:
    claim, (done,) = await with_children(backend)
    await settled_as(Completed(result="1"))(backend, done)
    again = await retried(backend, claim)
    other = await claimed(backend)
    of_other, other_life = await insert(
        backend, child_of(other), child_of(claim, nonce="another")
    )
    new, unrelated = await insert(
        backend, child_of(again), new_execution(event="unrelated")
    )
    for each in (of_other, other_life, new, unrelated):
        await backend.executions.cancel(each, None)
    each_of_them = (done, of_other, other_life, new, unrelated)
    before = [await everything(backend, each) for each in each_of_them]

    for each in (*each_of_them, "nobody"):
        assert not await backend.children.retry(again, each), each

    assert [await everything(backend, each) for each in each_of_them] == before


async def test_a_child_that_goes_on_is_not_repeated(backend: Backend) -> None:
    claim, (child,) = await with_children(backend)
    running = await claim_one(backend, await joined(backend, CHILD))
    again = await retried(backend, claim)

    assert not await backend.children.retry(again, child)

    # The end before the retry has cancelled it: once it is over it may be repeated.
    await becomes(backend, child, cancel_requested=True)
    await settle(backend, running, Released())
    await becomes(backend, claim.execution.id, wakeups=1)
    assert await backend.children.retry(again, child)


async def test_one_that_was_retried_by_itself_is_taken_back(backend: Backend) -> None:
    claim, (child,) = await with_children(backend)
    await settle(backend, claim, Failed(error=ERROR))
    await becomes(backend, child, status=S.CANCELLED)
    await backend.executions.retry(child)
    await becomes(backend, child, status=S.QUEUED)
    _, is_queued = await backend.executions.retry(claim.execution.id)
    assert is_queued
    again = await claim_one(backend, await joined(backend))

    assert not await backend.children.retry(again, child)

    execution = await stored(backend, child)
    assert execution.parent is not None
    assert (execution.parent.token, execution.parent.leaves) == (again.token, False)
    await settle(backend, again, Completed(result="1"))
    await becomes(backend, child, status=S.CANCELLED)


async def test_the_children_of_a_life_before_do_not_outlive_it(
    backend: Backend,
) -> None:
    """A retry at once forgets none of those that its end has to cancel."""
    count = CHILDREN_PAGE + 1
    claim = await claimed(backend)
    children = await started(backend, claim, *(child_of(claim) for _ in range(count)))

    again = await retried(backend, claim)

    await all_cancelled(backend, again, children)
    await expect(backend, claim.execution.id, status=S.PROCESSING)


async def test_a_repeated_child_ends_with_its_parent_again(backend: Backend) -> None:
    claim, (child,) = await with_children(backend)
    await settled_as(Failed(error=ERROR))(backend, child)
    again = await retried(backend, claim)
    assert again.execution.has_children
    assert await backend.children.retry(again, child)

    await settle(backend, again, Completed(result="1"))

    reason = parent_ended_reason(claim.execution.id)
    await becomes(backend, child, status=S.CANCELLED, cancel_reason=reason)


@pytest.mark.parametrize("parent", ["ended", "gone", "another of its id"])
async def test_a_child_that_is_retried_after_its_parent_leaves_it(
    backend: Backend, parent: str
) -> None:
    claim, (child,) = await with_children(backend)
    await settle(backend, claim, Failed(error=ERROR))
    await becomes(backend, child, status=S.CANCELLED)
    if parent != "ended":
        await is_pruned(backend, claim)
    if parent == "another of its id":
        await claimed(backend, id=claim.execution.id)
    _, is_queued = await backend.executions.retry(child)

    assert is_queued
    execution = await stored(backend, child)
    assert execution.parent is not None
    assert execution.parent.leaves
    claimed_ = await claim_one(backend, await joined(backend, CHILD))
    assert not claimed_.parent_has_ended
    if parent == "ended":
        again = await claimed_after_retry(backend, claim)
        await settle(backend, again, Completed(result="1"))
        await backend.sweeping.sweep(claim.worker_id)
        await expect(backend, child, status=S.PROCESSING, cancel_requested=False)


async def is_pruned(backend: Backend, claim: Claim) -> None:
    """Prune until an execution is gone, once all is done that follows its end."""
    status = (await stored(backend, claim.execution.id)).status

    async def is_gone() -> bool:
        await backend.sweeping.sweep(claim.worker_id)
        await backend.retention.prune(status, 0.0, 10)
        return await backend.executions.get(claim.execution.id) is None

    await until(is_gone)


async def test_a_child_that_is_retried_while_its_parent_lives_stays_its_child(
    backend: Backend,
) -> None:
    claim, (child,) = await with_children(backend)
    await settled_as(Failed(error=ERROR))(backend, child)

    await backend.executions.retry(child)

    execution = await stored(backend, child)
    assert execution.parent is not None
    assert not execution.parent.leaves
    await settle(backend, claim, Completed(result="1"))
    await becomes(backend, child, status=S.CANCELLED)


# -- children that are late


async def test_a_claim_of_a_late_child_says_that_its_parent_has_ended(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    live = await claimed(backend)
    await settle(backend, claim, Completed(result="1"))
    late, stays, of_live, other_life, of_nobody, ordinary = await insert(
        backend,
        child_of(claim),
        child_of(claim, leaves=True),
        child_of(live),
        child_of(live, nonce="another"),
        child_of(live, id="nobody"),
        new_execution(event=CHILD),
    )

    worker = await joined(backend, CHILD)
    claims = await claim_many(backend, worker, 6)

    late_ones = {late, other_life, of_nobody}
    told = {each.execution.id: each.parent_has_ended for each in claims}
    assert told == {
        each: each in late_ones for each in (*late_ones, stays, of_live, ordinary)
    }
    adopted = await backend.claims.adopt(worker, frozenset(told))
    assert {each.execution.id: each.parent_has_ended for each in adopted} == told


async def test_an_adopted_child_is_told_that_its_parent_has_ended_since(
    backend: Backend,
) -> None:
    claim, (child,) = await with_children(backend)
    worker: WorkerRecord = await joined(backend, CHILD)
    before = await claim_one(backend, worker)
    await settle(backend, claim, Completed(result="1"))

    (after,) = await backend.claims.adopt(worker, frozenset({child}))

    assert (before.parent_has_ended, after.parent_has_ended) == (False, True)


# -- retention


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_child_stays_as_long_as_its_parent_may_ask_for_it(
    backend: Backend, leaves: bool
) -> None:
    claim, (child,) = await with_children(backend, {"leaves": leaves})
    done = await claim_one(backend, await joined(backend, CHILD))
    await settle(backend, done, Completed(result="1"))
    for end in (None, Failed(error=ERROR)):
        if end is not None:
            # It may be retried, and ask for the child then.
            await settle(backend, claim, end)
        other = await claimed(backend)
        await settle(backend, other, Completed(result="1"))

        # What ended after it goes, so it would have gone as well.
        await is_pruned(backend, other)

        assert (await found(backend, child)).result == "1"
    await is_pruned(backend, claim)
    await is_pruned(backend, done)


async def test_a_child_goes_once_its_parent_is_completed(backend: Backend) -> None:
    claim, _ = await with_children(backend)
    done = await claim_one(backend, await joined(backend, CHILD))
    await settle(backend, done, Completed(result="1"))
    await settle(backend, claim, Completed(result="1"))

    await is_pruned(backend, done)


async def test_a_child_of_another_life_of_that_id_is_pruned(backend: Backend) -> None:
    claim = await claimed(backend)
    await insert(backend, child_of(claim, nonce="another"))
    done = await claim_one(backend, await joined(backend, CHILD))
    await settle(backend, done, Completed(result="1"))

    await is_pruned(backend, done)


async def test_an_execution_that_had_children_is_pruned(backend: Backend) -> None:
    claim, (child,) = await with_children(backend)
    await settle(backend, claim, Completed(result="1"))
    await becomes(backend, child, status=S.CANCELLED)

    await is_pruned(backend, claim)

    await expect(backend, child, status=S.CANCELLED)
