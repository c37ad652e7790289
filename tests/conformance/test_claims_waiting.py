"""Waiting claims: work and cancellations arrive at once, here and elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from tests.stores import (
    ERROR,
    MakeBackend,
    claim_one,
    claimed,
    collect,
    expect,
    insert,
    insert_one,
    joined,
    new_execution,
    new_worker,
    now,
    settle,
)
from tests.waiting import until
from worchflow.model.records import Claim, ExecutionStatus
from worchflow.model.settlement import (
    Released,
    RetryAt,
    Settlement,
)
from worchflow.storage.contract.backend import Backend
from worchflow.storage.contract.workers import WorkerHint
from worchflow.storage.sqlite import claims

S = ExecutionStatus
LONG = 120.0
"""Seconds a claim waits at most: who is not woken waits longer than its test may."""
WOKEN = 60.0
"""Seconds in which whoever is woken has returned, however busy the machine is."""


@pytest.fixture(autouse=True)
def nobody_looks_by_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file, a waiting claim would soon look whether it missed a wake-up."""
    monkeypatch.setattr(claims, "POLL_SECONDS", LONG)


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
    waiting = await started(receiver.claims.claim(worker, 1, LONG))

    id_ = await insert_one(sender)

    (claim,) = await asyncio.wait_for(waiting, WOKEN)
    assert claim.execution.id == id_


async def test_a_waiting_claim_wakes_when_an_execution_is_due(
    pair: tuple[Backend, Backend],
) -> None:
    sender, receiver = pair
    worker = await joined(receiver)
    waiting = await started(receiver.claims.claim(worker, 1, LONG))

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
    waiting = await started(receiver.claims.claim(worker, 1, LONG))

    await settle(holder, claim, settlement)

    (again,) = await asyncio.wait_for(waiting, WOKEN)
    assert again.execution.id == claim.execution.id


async def test_a_waiting_claim_wakes_for_an_explicit_retry(
    pair: tuple[Backend, Backend],
) -> None:
    sender, receiver = pair
    id_ = await insert_one(sender)
    await sender.executions.cancel(id_, None)
    worker = await joined(receiver)
    waiting = await started(receiver.claims.claim(worker, 1, LONG))

    await sender.executions.retry(id_)

    (claim,) = await asyncio.wait_for(waiting, WOKEN)
    assert claim.execution.id == id_


async def test_a_claim_that_finds_nothing_ends_in_time(backend: Backend) -> None:
    worker = await joined(backend)

    async with asyncio.timeout(WOKEN):
        assert not await backend.claims.claim(worker, 1, 0.3)


async def test_all_waiting_workers_together_claim_each_once(
    make_backend: MakeBackend,
) -> None:
    backends = [await make_backend(), await make_backend()]
    waiting = [
        await started(backend.claims.claim(await joined(backend), 1, LONG))
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
    await holder.workers.join(worker, collect(hints))
    id_ = await insert_one(holder)
    await claim_one(holder, worker)

    await canceller.executions.cancel(id_, "stop")

    await until(lambda: id_ in hints)


async def test_a_worker_that_breaks_when_it_is_told_keeps_nobody_else_from_it(
    pair: tuple[Backend, Backend],
) -> None:
    canceller, holder = pair
    broken, worker = new_worker(), new_worker()
    told: list[str] = []
    hints: list[str] = []

    def fail(hint: WorkerHint, execution_id: str) -> None:
        told.append(execution_id)
        raise RuntimeError("broken on purpose")

    await holder.workers.join(broken, fail)
    await holder.workers.join(worker, collect(hints))
    for _ in range(2):
        id_ = await insert_one(holder)
        await claim_one(holder, worker)
        async with holder.notices.watch(id_) as subscription:
            await canceller.executions.cancel(id_, "stop")
            await until(lambda id_=id_: id_ in told and id_ in hints)  # type: ignore[misc]
            del subscription


async def test_a_worker_that_left_is_told_nothing(backend: Backend) -> None:
    gone, stays = new_worker(), new_worker()
    hints: list[str] = []
    others: list[str] = []
    await backend.workers.join(gone, collect(hints))
    await backend.workers.join(stays, collect(others))
    await backend.workers.leave(gone.id)
    id_ = await insert_one(backend)
    await claim_one(backend, stays)

    await backend.executions.cancel(id_, None)

    await until(lambda: id_ in others)
    assert hints == []
