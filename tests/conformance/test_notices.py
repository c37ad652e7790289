"""Notices: who watches an execution is told at once, here and elsewhere."""

from __future__ import annotations

import pytest

from tests.stores import (
    ERROR,
    EVENT,
    claim_one,
    claimed,
    expect,
    ignore,
    insert_one,
    joined,
    new_step,
    new_worker,
    notice_of,
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
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Released,
    RetryAt,
    Settlement,
)
from worchflow.storage.contract.backend import Backend
from worchflow.storage.contract.notices import Subscription

S = ExecutionStatus


async def next_of(
    subscription: Subscription,
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


async def test_a_watcher_is_told_what_happens_to_its_execution(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    worker = await joined(actor)
    id_ = await insert_one(actor)

    async with watcher.notices.watch(id_) as subscription:
        claim = await claim_one(actor, worker)
        actor.claims.announce(claim)
        start = await next_of(subscription, ExecutionStarted)
        step = new_step(key="order 7")
        await actor.steps.checkpoint(claim, step)
        recorded = await next_of(subscription, StepCompleted)
        await actor.claims.settle(
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

    async with (
        watcher.notices.watch(id_, progress=False) as quiet,
        watcher.notices.watch(id_) as all_,
    ):
        claim = await claim_one(actor, worker)
        actor.claims.announce(claim)
        await actor.steps.checkpoint(claim, new_step())
        # So that what is told later cannot have been put together with it.
        await next_of(all_, StepCompleted)
        await actor.claims.settle(
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
    async with watcher.notices.watch(id_):
        pass

    async with watcher.notices.watch(id_) as subscription:
        await actor.executions.cancel(id_, None)
        told = await next_of(subscription, ExecutionUpdated, S.CANCELLED)

    assert told.execution_id == id_


async def test_a_watcher_is_told_about_failed_attempts(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    claim = await claimed(actor)

    async with watcher.notices.watch(claim.execution.id) as subscription:
        notice = notice_of(AttemptFailed, claim, S.RETRYING, will_retry=True)
        await actor.claims.settle(claim, RetryAt(error=ERROR, delay=60.0), notice)
        told = await next_of(subscription, AttemptFailed)

    assert isinstance(told, AttemptFailed)
    assert told.will_retry
    assert told.status is S.RETRYING


async def test_a_watcher_is_told_about_a_cancellation(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    id_ = await insert_one(actor)

    async with watcher.notices.watch(id_) as subscription:
        await actor.executions.cancel(id_, None)
        told = await next_of(subscription, ExecutionUpdated, S.CANCELLED)

    assert told.execution_id == id_


@pytest.mark.parametrize("settlement", [Released(), Cancelled()], ids=["released", "c"])
async def test_a_settlement_that_ends_otherwise_is_told_as_it_ended(
    pair: tuple[Backend, Backend], settlement: Settlement
) -> None:
    actor, watcher = pair
    claim = await claimed(actor)
    await actor.executions.cancel(claim.execution.id, None)

    async with watcher.notices.watch(claim.execution.id) as subscription:
        wrong = notice_of(ExecutionUpdated, claim, S.QUEUED)
        right = notice_of(ExecutionUpdated, claim, S.CANCELLED)
        sent = right if isinstance(settlement, Cancelled) else wrong
        await actor.claims.settle(claim, settlement, sent)
        told = await next_of(subscription, ExecutionUpdated)

    assert told.status is S.CANCELLED


async def test_a_watcher_is_told_about_its_execution_alone(backend: Backend) -> None:
    watched, other = await insert_one(backend), await insert_one(backend)

    async with backend.notices.watch(watched) as subscription:
        await backend.executions.cancel(other, None)
        await backend.executions.cancel(watched, None)
        told = await next_of(subscription, ExecutionUpdated)

    assert told.execution_id == watched


async def test_several_watchers_are_all_told(backend: Backend) -> None:
    id_ = await insert_one(backend)

    async with backend.notices.watch(id_) as one, backend.notices.watch(id_) as two:
        await backend.executions.cancel(id_, None)
        for subscription in (one, two):
            told = await next_of(subscription, ExecutionUpdated)
            assert told.status is S.CANCELLED


async def test_a_watcher_of_a_quiet_execution_is_told_nothing_in_time(
    backend: Backend,
) -> None:
    id_ = await insert_one(backend)

    async with backend.notices.watch(id_) as subscription:
        assert await subscription.next(0.1) is None


async def test_what_ends_before_watching_begins_is_not_told_later(
    backend: Backend,
) -> None:
    id_ = await insert_one(backend)
    async with backend.notices.watch(id_):
        pass
    await backend.workers.join(new_worker("other"), ignore)

    await backend.executions.cancel(id_, None)

    await expect(backend, id_, status=S.CANCELLED)


async def test_a_claim_that_is_released_before_it_starts_is_not_told_as_a_start(
    pair: tuple[Backend, Backend],
) -> None:
    actor, watcher = pair
    worker = await joined(actor)
    id_ = await insert_one(actor)

    async with watcher.notices.watch(id_) as subscription:
        claim = await claim_one(actor, worker)
        await settle(actor, claim, Released())
        await actor.executions.cancel(id_, None)
        told: list[Notice] = []

        async def is_cancelled() -> bool:
            if (notice := await subscription.next(0.2)) is not None:
                told.append(notice)
            return bool(told) and told[-1].status is S.CANCELLED

        await until(is_cancelled)

    assert not any(isinstance(each, ExecutionStarted) for each in told)
