"""Accepting executions: once per id, durably, visible to whoever serves them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.stores import (
    EVENT,
    MakeBackend,
    claim_one,
    counted,
    expect,
    insert,
    insert_one,
    joined,
    new_execution,
    nothing_to_claim,
    now,
    stored,
)
from tests.waiting import until
from worchflow.model.records import ExecutionStatus, StoredExecution
from worchflow.storage.contract.backend import Backend
from worchflow.storage.contract.executions import Inserted

DUPLICATES = 200


async def test_an_accepted_execution_is_stored_as_queued(backend: Backend) -> None:
    new = new_execution()

    outcomes = await backend.executions.insert([new])

    assert outcomes == [Inserted(id=new.id)]
    execution = await stored(backend, new.id)
    assert execution == StoredExecution(
        id=new.id,
        event_name=EVENT,
        event_data=new.event_data,
        status=ExecutionStatus.QUEUED,
        created_at=new.created_at,
        updated_at=execution.updated_at,
        nonce=new.nonce,
        accepted_at=execution.accepted_at,
    )
    accepted_at = execution.accepted_at or execution.created_at
    assert abs(accepted_at - now()) < timedelta(seconds=10)
    assert await backend.steps.all(new.id) == []
    await counted(backend, {ExecutionStatus.QUEUED: 1})


async def test_an_unknown_id_is_none(backend: Backend) -> None:
    assert await backend.executions.get("never-sent") is None
    assert await backend.steps.all("never-sent") == []


async def test_inserting_nothing_returns_nothing(backend: Backend) -> None:
    assert await backend.executions.insert([]) == []


async def test_a_repeated_call_recognises_its_own_write(backend: Backend) -> None:
    new = new_execution()
    await insert(backend, new)
    before = await stored(backend, new.id)

    assert await backend.executions.insert([new]) == [Inserted(id=new.id)]

    assert await stored(backend, new.id) == before
    await counted(backend, {ExecutionStatus.QUEUED: 1})


async def test_an_id_that_exists_returns_what_has_it_and_writes_nothing(
    backend: Backend,
) -> None:
    id_ = await insert_one(backend, event_data='{"first":1}')
    before = await stored(backend, id_)

    (outcome,) = await backend.executions.insert(
        [new_execution(id_, "other", event_data='{"second":2}')]
    )

    assert outcome == Inserted(id=id_, existing=before)
    assert await stored(backend, id_) == before


async def test_of_many_concurrent_duplicates_one_is_accepted(
    make_backend: MakeBackend,
) -> None:
    backends = [await make_backend(), await make_backend()]
    news = [
        new_execution("order-1", event_data=f'{{"sender":{n}}}')
        for n in range(DUPLICATES)
    ]

    outcomes = await asyncio.gather(
        *(backends[n % 2].executions.insert([new]) for n, new in enumerate(news))
    )

    accepted = [n for n, (outcome,) in enumerate(outcomes) if outcome.existing is None]
    assert len(accepted) == 1
    execution = await expect(
        backends[0], "order-1", event_data=news[accepted[0]].event_data
    )
    existing = [outcome.existing for (outcome,) in outcomes if outcome.existing]
    assert existing == [execution] * (DUPLICATES - 1)
    await counted(backends[0], {ExecutionStatus.QUEUED: 1})
    worker = await joined(backends[1])
    await claim_one(backends[1], worker)
    assert await nothing_to_claim(backends[1], worker)


async def test_a_batch_has_one_outcome_for_each_in_order(backend: Backend) -> None:
    old = await insert_one(backend, event_data='"old"')
    batch = [new_execution(), new_execution(old), new_execution()]

    outcomes = await backend.executions.insert(batch)

    assert [outcome.id for outcome in outcomes] == [new.id for new in batch]
    assert [outcome.existing is None for outcome in outcomes] == [True, False, True]
    await expect(backend, old, event_data='"old"')
    for accepted in (batch[0], batch[2]):
        await expect(backend, accepted.id, status=ExecutionStatus.QUEUED)


async def test_the_first_of_an_id_in_one_batch_is_accepted(backend: Backend) -> None:
    first = new_execution("twice", event_data='"first"')
    second = new_execution("twice", event_data='"second"')

    outcomes = await backend.executions.insert([first, second])

    assert outcomes[0] == Inserted(id="twice")
    assert outcomes[1].existing == await stored(backend, "twice")
    await expect(backend, "twice", event_data='"first"')


async def test_a_large_batch_is_accepted_whole(backend: Backend) -> None:
    batch = [new_execution() for _ in range(1500)]

    await insert(backend, *batch)

    await counted(backend, {ExecutionStatus.QUEUED: 1500})


@pytest.mark.parametrize(
    "payload",
    [
        '"é漢字 😀 \\u0000 \\\\ \\" $where a.b"',
        '{"$ref":{"$id":1},"a.b":{"":[]},"__proto__":null}',
        '{"big":123456789012345678901234567890,"small":1e-300,"z":-0.0}',
        f'"{"x" * 1_000_000}"',
    ],
    ids=["odd characters", "odd keys", "odd numbers", "large"],
)
async def test_a_payload_comes_back_unchanged(backend: Backend, payload: str) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend, event_data=payload)

    await expect(backend, id_, event_data=payload)
    claim = await claim_one(backend, worker)
    assert claim.execution.event_data == payload


async def test_a_delayed_execution_is_claimed_when_it_is_due_and_not_before(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    before = now()

    id_ = await insert_one(backend, delay=0.6)

    execution = await expect(backend, id_, status=ExecutionStatus.QUEUED)
    assert execution.run_at is not None
    assert timedelta(seconds=0.55) < execution.run_at - before < timedelta(seconds=2)
    assert await nothing_to_claim(backend, worker)
    claim = await claim_one(backend, worker)
    assert now() >= execution.run_at
    assert claim.execution.id == id_


async def test_an_execution_at_a_moment_waits_for_that_moment(backend: Backend) -> None:
    worker = await joined(backend)
    moment = now() + timedelta(hours=1)

    id_ = await insert_one(backend, run_at=moment)

    await expect(backend, id_, status=ExecutionStatus.QUEUED, run_at=moment)
    assert await nothing_to_claim(backend, worker)


async def test_a_moment_that_has_passed_does_not_wait(backend: Backend) -> None:
    worker = await joined(backend)

    id_ = await insert_one(backend, run_at=now() - timedelta(days=1))

    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_


async def test_what_was_accepted_outlives_its_backend(
    make_backend: MakeBackend,
) -> None:
    other = await make_backend()
    sender = await make_backend()
    id_ = await insert_one(sender)

    await sender.close()

    await expect(other, id_, status=ExecutionStatus.QUEUED)
    worker = await joined(other)
    claim = await claim_one(other, worker)
    assert claim.execution.id == id_


async def test_two_prefixes_never_see_each_other(
    make_backend: MakeBackend, prefix: str
) -> None:
    ours, theirs = await make_backend(), await make_backend(queue_prefix=f"{prefix}-2")
    id_ = await insert_one(ours)
    their_worker = await joined(theirs)

    assert await theirs.executions.get(id_) is None
    assert await theirs.steps.all(id_) == []
    assert await theirs.executions.cancel(id_, None) == (None, False)
    assert await theirs.executions.retry(id_) == (None, False)
    assert await nothing_to_claim(theirs, their_worker)
    await counted(theirs, {})
    await expect(ours, id_, status=ExecutionStatus.QUEUED)


async def test_an_id_of_another_prefix_is_told_and_keeps_no_other_out(
    make_backend: MakeBackend, prefix: str
) -> None:
    ours, theirs = await make_backend(), await make_backend(queue_prefix=f"{prefix}-2")
    id_ = await insert_one(ours)
    before = await stored(ours, id_)
    also, after = new_execution(), new_execution()

    outcomes = await theirs.executions.insert([also, new_execution(id_), after])

    assert outcomes == [
        Inserted(id=also.id),
        Inserted(id=id_, is_foreign=True),
        Inserted(id=after.id),
    ]
    assert await stored(ours, id_) == before
    assert await theirs.executions.get(id_) is None
    for new in (also, after):
        await expect(theirs, new.id, status=ExecutionStatus.QUEUED)
    await counted(theirs, {ExecutionStatus.QUEUED: 2})


async def test_an_accepted_execution_becomes_visible_without_its_sender(
    make_backend: MakeBackend,
) -> None:
    other, sender = await make_backend(), await make_backend()
    worker = await joined(other)
    batch = [new_execution() for _ in range(50)]

    await insert(sender, *batch)
    await sender.close()

    found: set[str] = set()

    async def all_claimed() -> bool:
        claims = await other.claims.claim(worker, 50, 0.2)
        found.update(claim.execution.id for claim in claims)
        return len(found) == len(batch)

    await until(all_claimed)
    assert found == {new.id for new in batch}


async def test_headers_and_tags_come_back_unchanged(backend: Backend) -> None:
    headers = {"$a.b": "é 😀", "empty": "", "traceparent": "00-1-2-01"}
    new = new_execution(headers=headers, tags=("blue", "$ a.b", "é"))

    await insert(backend, new)

    await expect(backend, new.id, headers=headers, tags=("blue", "$ a.b", "é"))
    worker = await joined(backend)
    claim = await claim_one(backend, worker)
    assert claim.execution.headers == headers
    assert claim.execution.tags == ("blue", "$ a.b", "é")
