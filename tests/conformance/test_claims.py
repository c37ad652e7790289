"""Claiming: each execution by one worker at a time, oldest first, never too many."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.stores import (
    EVENT,
    MakeBackend,
    claim_many,
    claim_one,
    claimed,
    counted,
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
    nothing_to_claim,
    now,
    settle,
    stored,
)
from tests.waiting import until
from worchflow.model.records import Claim, ExecutionStatus, WorkerRecord
from worchflow.model.settlement import Completed, Released
from worchflow.storage.contract.backend import Backend

CLAIMERS = 8


async def test_a_claim_says_and_stores_whose_the_execution_is(backend: Backend) -> None:
    worker = await joined(backend)
    before = now()
    id_ = await insert_one(backend)

    claim = await claim_one(backend, worker)

    assert (claim.worker_id, claim.token, claim.steps) == (worker.id, 1, {})
    execution = await expect(
        backend,
        id_,
        status=ExecutionStatus.PROCESSING,
        worker=worker.id,
        token=1,
        function_id=worker.functions[EVENT],
        attempt_count=0,
        recoveries=0,
        run_at=None,
        reason=None,
    )
    assert execution.started_at is not None
    assert before <= execution.started_at + timedelta(seconds=1)
    assert claim.execution == execution


@pytest.mark.parametrize("delay", [0.05, 0.0])
async def test_a_later_claim_is_as_the_execution_stands_then(
    backend: Backend, delay: float
) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, Released(delay=delay, reason="because"))

    again = await claim_one(backend, await joined(backend, claim.execution.event_name))

    assert again.token == claim.token + 1
    assert again.execution == await stored(backend, claim.execution.id)
    assert (again.execution.run_at, again.execution.reason) == (None, None)
    assert again.execution.started_at == claim.execution.started_at
    await counted(backend, {ExecutionStatus.PROCESSING: 1})


async def test_the_oldest_are_claimed_first_whatever_their_event(
    backend: Backend,
) -> None:
    worker = await joined(backend, "a", "b", "c")
    news = [new_execution(event="abcab"[n % 5]) for n in range(20)]
    for new in news:
        await insert(backend, new)

    claims = await claim_many(backend, worker, 20, limit=7)

    assert ids(claims) == [new.id for new in news]


async def test_a_claim_takes_what_is_there_and_never_more_than_asked(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    await insert(backend, *(new_execution() for _ in range(5)))

    first = await backend.claims.claim(worker, 3, 5.0)
    rest = await claim_many(backend, worker, 5 - len(first))

    assert 1 <= len(first) <= 3
    assert len({*ids(first), *ids(rest)}) == 5
    assert await nothing_to_claim(backend, worker)


async def test_nothing_is_claimed_without_a_free_slot(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)

    assert list(await backend.claims.claim(worker, 0, 0.0)) == []

    await expect(backend, id_, status=ExecutionStatus.QUEUED, worker=None)


async def test_concurrent_claimers_never_share_an_execution(
    make_backend: MakeBackend,
) -> None:
    backends = [await make_backend(), await make_backend()]
    workers = [
        (backends[n % 2], await joined(backends[n % 2])) for n in range(CLAIMERS)
    ]
    news = [new_execution() for _ in range(200)]
    await insert(backends[0], *news)
    claims: list[Claim] = []

    async def claim_until_empty(backend: Backend, worker: WorkerRecord) -> None:
        while len(claims) < len(news):
            claims.extend(await backend.claims.claim(worker, 7, 0.2))

    async with asyncio.timeout(20):
        await asyncio.gather(*(claim_until_empty(*pair) for pair in workers))

    assert sorted(ids(claims)) == sorted(new.id for new in news)
    for claim in claims:
        await expect(backends[0], claim.execution.id, worker=claim.worker_id, token=1)


async def test_every_claim_has_a_higher_token(backend: Backend) -> None:
    first, second = await joined(backend), await joined(backend)
    await insert_one(backend)
    tokens = []

    for worker in (first, second, first, first):
        claim = await claim_one(backend, worker)
        tokens.append(claim.token)
        await expect(backend, claim.execution.id, token=claim.token, worker=worker.id)
        await settle(backend, claim, Released())

    assert tokens == sorted(set(tokens))


async def test_only_the_first_claim_sets_when_it_started(backend: Backend) -> None:
    claim = await claimed(backend)
    worker = await joined(backend)
    await settle(backend, claim, Released())

    again = await claim_one(backend, worker)

    assert again.execution.started_at == claim.execution.started_at
    await expect(backend, claim.execution.id, started_at=claim.execution.started_at)


async def test_a_later_claim_carries_everything_recorded(backend: Backend) -> None:
    claim = await claimed(backend)
    steps = [
        await backend.steps.checkpoint(claim, new_step(number)) for number in (1, 2)
    ]
    await settle(backend, claim, Released())
    worker = await joined(backend)

    again = await claim_one(backend, worker)

    assert again.steps == {step.step_id: step for step in steps}


async def test_the_function_is_the_one_of_the_worker_that_claims(
    backend: Backend,
) -> None:
    old = new_worker(functions={EVENT: "pay-v1"})
    new = new_worker(functions={EVENT: "pay-v2"})
    for worker in (old, new):
        await backend.workers.join(worker, ignore)
    id_ = await insert_one(backend)

    claim = await claim_one(backend, old)
    await expect(backend, id_, function_id="pay-v1")
    await settle(backend, claim, Released())
    await claim_one(backend, new)

    await expect(backend, id_, function_id="pay-v2")


async def test_odd_event_names_are_claimed_too(backend: Backend) -> None:
    names = ['a"b', "a'b", "a\\b", "$[0]", "é漢😀", "{x}", "a b", "%", "null"]
    worker = await joined(backend, *names)
    news = [new_execution(event=name) for name in names]
    await insert(backend, *news)

    claims = await claim_many(backend, worker, len(names))

    assert {c.execution.event_name: c.execution.function_id for c in claims} == dict(
        worker.functions
    )


async def test_what_is_owned_delayed_or_finished_is_not_claimed(
    backend: Backend,
) -> None:
    owned = await claimed(backend)
    done = await claimed(backend)
    await settle(backend, done, Completed(result="1"))
    cancelled = await insert_one(backend)
    await backend.executions.cancel(cancelled, None)
    await insert_one(backend, delay=3600.0)
    before = [await stored(backend, id_) for id_ in (*ids([owned, done]), cancelled)]
    worker = await joined(backend)

    assert await nothing_to_claim(backend, worker)

    after = [await stored(backend, id_) for id_ in (*ids([owned, done]), cancelled)]
    assert after == before


async def test_a_worker_that_left_claims_nothing(backend: Backend) -> None:
    worker = await joined(backend)
    other = await joined(backend)
    await backend.workers.leave(worker.id)
    id_ = await insert_one(backend)

    claim = await claim_one(backend, other)

    assert claim.execution.id == id_


async def test_adopting_returns_the_claim_as_it_is(backend: Backend) -> None:
    claim = await claimed(backend)
    step = await backend.steps.checkpoint(claim, new_step())
    worker = new_worker()
    id_ = claim.execution.id
    before = await everything(backend, id_)
    holder = _same_worker(claim)

    (again,) = await backend.claims.adopt(holder, frozenset({id_, "unknown"}))

    assert (again.worker_id, again.token) == (claim.worker_id, claim.token)
    assert again.steps == {step.step_id: step}
    assert again.execution == before[0]
    assert list(await backend.claims.adopt(worker, frozenset({id_}))) == []
    assert await everything(backend, id_) == before


async def test_what_is_not_owned_any_more_cannot_be_adopted(backend: Backend) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, Completed(result="1"))

    adopted = await backend.claims.adopt(
        _same_worker(claim), frozenset({claim.execution.id})
    )

    assert list(adopted) == []


async def test_cancelling_a_claim_loses_nothing(backend: Backend) -> None:
    worker = await joined(backend)
    news = [new_execution() for _ in range(60)]
    found: list[Claim] = []

    for turns, new in enumerate(news):
        waiting = asyncio.ensure_future(backend.claims.claim(worker, 1, 5.0))
        inserting = asyncio.ensure_future(insert(backend, new))
        for _ in range(turns % 12):
            await asyncio.sleep(0)
        waiting.cancel()
        await inserting
        with suppress(asyncio.CancelledError):
            found.extend(await waiting)

    async def all_found() -> bool:
        found.extend(await backend.claims.claim(worker, 10, 0.1))
        renewal = await asyncio.to_thread(backend.workers.renew, worker.id)
        lost = renewal.owned - set(ids(found))
        found.extend(await backend.claims.adopt(worker, lost))
        return len(found) >= len(news)

    await until(all_found)
    assert sorted(ids(found)) == sorted(new.id for new in news)
    assert [claim.token for claim in found] == [1] * len(news)


async def test_what_a_cancelled_claim_took_goes_back_when_its_worker_leaves(
    backend: Backend,
) -> None:
    gone, stays = await joined(backend), await joined(backend)
    waiting = asyncio.ensure_future(backend.claims.claim(gone, 1, 5.0))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    id_ = await insert_one(backend)

    await backend.workers.leave(gone.id)

    claim = await claim_one(backend, stays)
    assert claim.execution.id == id_
    await expect(backend, id_, worker=stays.id, recoveries=0)


def _same_worker(claim: Claim) -> WorkerRecord:
    """The record of the worker that holds a claim."""
    return replace(new_worker(), id=claim.worker_id)
