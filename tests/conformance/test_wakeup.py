"""Waking up: work, cancellations and notices arrive at once, here and elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from tests.stores import (
    ERROR,
    EVENT,
    MakeBackend,
    claim_one,
    claimed,
    expect,
    ignore,
    insert,
    insert_one,
    joined,
    new_execution,
    new_step,
    new_worker,
    notice_of,
    now,
    settle,
)
from tests.waiting import until
from worchflow.model.notices import (
    AttemptFailed,
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionUpdated,
    Notice,
    StepCompleted,
)
from worchflow.model.records import Claim, ExecutionStatus
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Released,
    RetryAt,
    Settlement,
)
from worchflow.storage.contract.backend import Backend, NoticeSubscription
from worchflow.storage.sqlite import claiming

S = ExecutionStatus
LONG = 120.0
"""Seconds a claim waits at most: who is not woken waits longer than its test may."""
WOKEN = 60.0
"""Seconds in which whoever is woken has returned, however busy the machine is."""


@pytest.fixture(autouse=True)
def nobody_looks_by_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file, a waiting claim would soon look whether it missed a wake-up."""
    monkeypatch.setattr(claiming, "POLL", LONG)


async def next_of(
    subscription: NoticeSubscription,
    kind: type[ExecutionUpdated],
    status: ExecutionStatus | None = None,
) -> Notice:
    """The next notice of a kind; others may come before it."""
    found = []

    async def arrived() -> bool:
        notice = await subscription.next(0.2)
        if type(notice) is kind and status in (None, notice.status):
            found.append(notice)
        return bool(found)

    await until(arrived)
    return found[0]


@pytest.fixture(params=["same backend", "two backends"])
async def pair(
    request: pytest.FixtureRequest, make_backend: MakeBackend
) -> tuple[Backend, Backend]:
    """Who acts and who waits."""
    first = await make_backend()
    if request.param == "same backend":
        return first, first
    return first, await make_backend()


async def started(
    coroutine: Coroutine[Any, Any, Sequence[Claim]],
) -> asyncio.Task[Sequence[Claim]]:
    """A task that has come as far as it can by itself."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(20):
        await asyncio.sleep(0)
    return task


async def test_a_waiting_claim_wakes_for_a_new_execution(
    pair: tuple[Backend, Backend],
) -> None:
    sender, receiver = pair
    worker = await joined(receiver)
    waiting = await started(receiver.claim(worker, 1, LONG))

    id_ = await insert_one(sender)

    (claim,) = await asyncio.wait_for(waiting, WOKEN)
    assert claim.execution.id == id_


async def test_a_waiting_claim_wakes_when_an_execution_is_due(
    pair: tuple[Backend, Backend],
) -> None:
    sender, receiver = pair
    worker = await joined(receiver)
    waiting = await started(receiver.claim(worker, 1, LONG))

    id_ = await insert_one(sender, delay=0.3)
    due = (await expect(sender, id_)).run_at

    (claim,) = await asyncio.wait_for(waiting, WOKEN)
    assert claim.execution.id == id_
    assert due is not None
    assert now() >= due


@pytest.mark.parametrize(
    "settlement",
    [Released(), Released(delay=0.1), RetryAt(error=ERROR, delay=0.0)],
    ids=["released", "released with a delay", "retried"],
)
async def test_a_waiting_claim_wakes_for_what_another_worker_hands_back(
    pair: tuple[Backend, Backend], settlement: Settlement
) -> None:
    holder, receiver = pair
    claim = await claimed(holder)
    worker = await joined(receiver)
    waiting = await started(receiver.claim(worker, 1, LONG))

    await settle(holder, claim, settlement)

    (again,) = await asyncio.wait_for(waiting, WOKEN)
    assert again.execution.id == claim.execution.id


async def test_a_waiting_claim_wakes_for_an_explicit_retry(
    pair: tuple[Backend, Backend],
) -> None:
    sender, receiver = pair
    id_ = await insert_one(sender)
    await sender.cancel(id_, None)
    worker = await joined(receiver)
    waiting = await started(receiver.claim(worker, 1, LONG))

    await sender.retry(id_)

    (claim,) = await asyncio.wait_for(waiting, WOKEN)
    assert claim.execution.id == id_


async def test_a_claim_that_finds_nothing_ends_in_time(backend: Backend) -> None:
    worker = await joined(backend)

    async with asyncio.timeout(WOKEN):
        assert not await backend.claim(worker, 1, 0.3)


async def test_all_waiting_workers_together_claim_each_once(
    make_backend: MakeBackend,
) -> None:
    backends = [await make_backend(), await make_backend()]
    waiting = [
        await started(backend.claim(await joined(backend), 1, LONG))
        for backend in backends * 3
    ]

    sent = await insert(backends[0], *(new_execution() for _ in range(6)))

    claims = [
        claim for task in waiting for claim in await asyncio.wait_for(task, WOKEN)
    ]
    assert sorted(claim.execution.id for claim in claims) == sorted(sent)


async def test_a_worker_is_told_that_its_execution_should_be_cancelled(
    pair: tuple[Backend, Backend],
) -> None:
    canceller, holder = pair
    worker = new_worker()
    hints: list[str] = []
    await holder.join(worker, hints.append)
    id_ = await insert_one(holder)
    await claim_one(holder, worker)

    await canceller.cancel(id_, "stop")

    await until(lambda: id_ in hints)


async def test_a_worker_that_breaks_when_it_is_told_keeps_nobody_else_from_it(
    pair: tuple[Backend, Backend],
) -> None:
    canceller, holder = pair
    broken, worker = new_worker(), new_worker()
    told: list[str] = []
    hints: list[str] = []

    def fail(execution_id: str) -> None:
        told.append(execution_id)
        raise RuntimeError("broken on purpose")

    await holder.join(broken, fail)
    await holder.join(worker, hints.append)
    for _ in range(2):
        id_ = await insert_one(holder)
        await claim_one(holder, worker)
        async with holder.watch(id_) as subscription:
            await canceller.cancel(id_, "stop")
            await until(lambda id_=id_: id_ in told and id_ in hints)  # type: ignore[misc]
            del subscription


async def test_a_worker_that_left_is_told_nothing(backend: Backend) -> None:
    gone, stays = new_worker(), new_worker()
    hints: list[str] = []
    others: list[str] = []
    await backend.join(gone, hints.append)
    await backend.join(stays, others.append)
    await backend.leave(gone.id)
    id_ = await insert_one(backend)
    await claim_one(backend, stays)

    await backend.cancel(id_, None)

    await until(lambda: id_ in others)
    assert hints == []


async def test_a_watcher_is_told_what_happens_to_its_execution(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    worker = await joined(actor)
    id_ = await insert_one(actor)

    async with watcher.watch(id_) as subscription:
        claim = await claim_one(actor, worker)
        start = await next_of(subscription, ExecutionStarted)
        step = new_step(key="order 7")
        await actor.checkpoint(claim, step)
        recorded = await next_of(subscription, StepCompleted)
        await actor.settle(
            claim,
            Completed(result="1"),
            notice_of(ExecutionCompleted, claim, S.COMPLETED, result="not sent"),
        )
        completed = await next_of(subscription, ExecutionCompleted)

    assert (start.execution_id, start.event_name, start.attempt, start.status) == (
        id_,
        EVENT,
        1,
        S.PROCESSING,
    )
    assert isinstance(recorded, StepCompleted)
    assert (recorded.step_id, recorded.title, recorded.key) == (
        *(step.step_id, step.title, "order 7"),
    )
    assert completed.status is S.COMPLETED
    await expect(watcher, id_, status=S.COMPLETED)


async def test_a_watcher_may_do_without_the_progress(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    worker = await joined(actor)
    id_ = await insert_one(actor)

    async with watcher.watch(id_, progress=False) as quiet, watcher.watch(id_) as all_:
        claim = await claim_one(actor, worker)
        await actor.checkpoint(claim, new_step())
        # So that what is told later cannot have been put together with it.
        await next_of(all_, StepCompleted)
        await actor.settle(
            claim,
            Completed(result="1"),
            notice_of(ExecutionCompleted, claim, S.COMPLETED),
        )
        first = await quiet.next(10)

    assert type(first) is ExecutionCompleted


async def test_a_watcher_that_comes_back_at_once_is_told(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    id_ = await insert_one(actor)
    async with watcher.watch(id_):
        pass

    async with watcher.watch(id_) as subscription:
        await actor.cancel(id_, None)
        told = await next_of(subscription, ExecutionUpdated, S.CANCELLED)

    assert told.execution_id == id_


async def test_a_watcher_is_told_about_failed_attempts(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    claim = await claimed(actor)

    async with watcher.watch(claim.execution.id) as subscription:
        notice = notice_of(AttemptFailed, claim, S.RETRYING, will_retry=True)
        await actor.settle(claim, RetryAt(error=ERROR, delay=60.0), notice)
        told = await next_of(subscription, AttemptFailed)

    assert isinstance(told, AttemptFailed)
    assert told.will_retry
    assert told.status is S.RETRYING


async def test_a_watcher_is_told_about_a_cancellation(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    id_ = await insert_one(actor)

    async with watcher.watch(id_) as subscription:
        await actor.cancel(id_, None)
        told = await next_of(subscription, ExecutionUpdated, S.CANCELLED)

    assert told.execution_id == id_


@pytest.mark.parametrize("settlement", [Released(), Cancelled()], ids=["released", "c"])
async def test_a_settlement_that_ends_otherwise_is_told_as_it_ended(
    pair: tuple[Backend, Backend], settlement: Settlement
) -> None:
    actor, watcher = pair
    claim = await claimed(actor)
    await actor.cancel(claim.execution.id, None)

    async with watcher.watch(claim.execution.id) as subscription:
        wrong = notice_of(ExecutionUpdated, claim, S.QUEUED)
        right = notice_of(ExecutionUpdated, claim, S.CANCELLED)
        sent = right if isinstance(settlement, Cancelled) else wrong
        await actor.settle(claim, settlement, sent)
        told = await next_of(subscription, ExecutionUpdated)

    assert told.status is S.CANCELLED


async def test_a_watcher_is_told_about_its_execution_alone(backend: Backend) -> None:
    watched, other = await insert_one(backend), await insert_one(backend)

    async with backend.watch(watched) as subscription:
        await backend.cancel(other, None)
        await backend.cancel(watched, None)
        told = await next_of(subscription, ExecutionUpdated)

    assert told.execution_id == watched


async def test_several_watchers_are_all_told(backend: Backend) -> None:
    id_ = await insert_one(backend)

    async with backend.watch(id_) as one, backend.watch(id_) as two:
        await backend.cancel(id_, None)
        for subscription in (one, two):
            told = await next_of(subscription, ExecutionUpdated)
            assert told.status is S.CANCELLED


async def test_a_watcher_of_a_quiet_execution_is_told_nothing_in_time(
    backend: Backend,
) -> None:
    id_ = await insert_one(backend)

    async with backend.watch(id_) as subscription:
        assert await subscription.next(0.1) is None


async def test_what_ends_before_watching_begins_is_not_told_later(
    backend: Backend,
) -> None:
    id_ = await insert_one(backend)
    async with backend.watch(id_):
        pass
    await backend.join(new_worker("other"), ignore)

    await backend.cancel(id_, None)

    await expect(backend, id_, status=S.CANCELLED)
