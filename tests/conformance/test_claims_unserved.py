"""Executions of events a worker does not serve: in nobody's way, never lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.stores import (
    MakeBackend,
    claim_many,
    claim_one,
    counted,
    expect,
    ids,
    insert,
    insert_one,
    joined,
    new_execution,
    nothing_to_claim,
    stored,
)
from tests.waiting import until
from worchflow.model.records import ExecutionStatus
from worchflow.model.transitions import unserved_reason
from worchflow.storage.contract.backend import Backend

S = ExecutionStatus


async def test_without_a_worker_for_it_an_execution_waits_and_says_why(
    backend: Backend,
) -> None:
    worker = await joined(backend, "served")
    id_ = await insert_one(backend, event="unserved")

    async def explained() -> bool:
        assert not await backend.claims.claim(worker, 1, 0.1)
        await backend.sweeping.sweep(worker.id)
        return (await stored(backend, id_)).reason is not None

    await until(explained)
    await expect(
        backend,
        id_,
        status=S.QUEUED,
        worker=None,
        token=0,
        attempt_count=0,
        recoveries=0,
        reason=unserved_reason("unserved"),
    )
    await counted(backend, {S.QUEUED: 1})


async def test_it_runs_when_a_worker_for_it_comes(backend: Backend) -> None:
    worker = await joined(backend, "served")
    id_ = await insert_one(backend, event="unserved")

    async def explained() -> bool:
        await backend.claims.claim(worker, 1, 0.1)
        await backend.sweeping.sweep(worker.id)
        return (await stored(backend, id_)).reason is not None

    await until(explained)
    right = await joined(backend, "unserved")

    claim = await claim_one(backend, right)

    assert claim.execution.id == id_
    await expect(backend, id_, reason=None, status=S.PROCESSING, run_at=None)


@pytest.mark.parametrize("where", ["same backend", "two backends"])
async def test_while_another_live_worker_serves_it_it_stays_as_it_is(
    make_backend: MakeBackend, where: str
) -> None:
    first = await make_backend()
    second = first if where == "same backend" else await make_backend()
    wrong, right = await joined(first, "other"), await joined(second, "served")
    id_ = await insert_one(first, event="served")

    for _ in range(3):
        assert not await first.claims.claim(wrong, 5, 0.1)
        await expect(first, id_, status=S.QUEUED, reason=None, worker=None)

    claim = await claim_one(second, right)
    assert claim.execution.id == id_


async def test_what_is_served_is_found_behind_much_that_is_not(
    backend: Backend,
) -> None:
    worker = await joined(backend, "served")
    await insert(backend, *(new_execution(event="unserved") for _ in range(300)))
    served = await insert(backend, *(new_execution(event="served") for _ in range(5)))

    claims = await claim_many(backend, worker, 5)

    assert sorted(ids(claims)) == sorted(served)
    await counted(backend, {S.QUEUED: 300, S.PROCESSING: 5})


async def test_what_another_takes_its_time_for_is_in_nobody_s_way(
    make_backend: MakeBackend,
) -> None:
    first, second = await make_backend(), await make_backend()
    busy, worker = await joined(first, "busy"), await joined(second, "other")
    sent = await insert(first, *(new_execution(event="busy") for _ in range(300)))
    (wanted,) = await insert(first, new_execution(event="other"))

    claim = await claim_one(second, worker)

    assert claim.execution.id == wanted
    for id_ in sent[::50]:
        await expect(second, id_, status=S.QUEUED, token=0, reason=None, run_at=None)
    claims = await claim_many(first, busy, 300, limit=50)
    assert ids(claims) == sent


async def test_of_each_event_the_oldest_come_first(
    make_backend: MakeBackend,
) -> None:
    first, second = await make_backend(), await make_backend()
    one, both = await joined(first, "one"), await joined(second, "a", "b")
    sent: dict[str, list[str]] = {"a": [], "b": []}
    for _ in range(4):
        for event, of_event in sent.items():
            new = [new_execution(event=event) for _ in range(3)]
            of_event.extend(await insert(second, *new))
        assert await nothing_to_claim(first, one)

    claims = await claim_many(second, both, 24, limit=5)

    for event, of_event in sent.items():
        assert ids([c for c in claims if c.execution.event_name == event]) == of_event


async def test_a_waiting_claim_wakes_for_what_a_worker_without_it_has_found(
    make_backend: MakeBackend,
) -> None:
    first, second = await make_backend(), await make_backend()
    wrong, right = await joined(first, "other"), await joined(second, "served")
    claims = [
        asyncio.ensure_future(backend.claims.claim(worker, 1, 60.0))
        for backend, worker in ((first, wrong), (second, right))
    ]
    id_ = await insert_one(first, event="served")

    async with asyncio.timeout(50):
        (claim,) = await claims[1]

    assert claim.execution.id == id_
    assert not claims[0].done()
    await insert_one(first, event="other")
    async with asyncio.timeout(50):
        assert len(await claims[0]) == 1


async def test_several_unserved_events_are_all_explained(backend: Backend) -> None:
    worker = await joined(backend, "served")
    names = ["a", "b", "c"]
    sent = await insert(backend, *(new_execution(event=name) for name in names))

    async def all_explained() -> bool:
        await backend.claims.claim(worker, 5, 0.1)
        await backend.sweeping.sweep(worker.id)
        return all([(await stored(backend, id_)).reason for id_ in sent])

    await until(all_explained)
    for id_, name in zip(sent, names, strict=True):
        await expect(backend, id_, reason=unserved_reason(name))


async def test_an_unserved_execution_can_be_cancelled(backend: Backend) -> None:
    worker = await joined(backend, "served")
    id_ = await insert_one(backend, event="unserved")

    async def explained() -> bool:
        await backend.claims.claim(worker, 1, 0.1)
        await backend.sweeping.sweep(worker.id)
        return (await stored(backend, id_)).reason is not None

    await until(explained)

    _, changed = await backend.executions.cancel(id_, "nobody comes")

    assert changed
    await expect(backend, id_, status=S.CANCELLED, reason=None, run_at=None)


async def test_a_delayed_execution_needs_no_worker_before_it_is_due(
    backend: Backend,
) -> None:
    worker = await joined(backend, "served")
    id_ = await insert_one(backend, event="unserved", delay=3600.0)
    before = await stored(backend, id_)

    assert not await backend.claims.claim(worker, 1, 0.2)

    assert await stored(backend, id_) == before
