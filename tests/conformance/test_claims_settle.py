"""Settlements: what each leaves behind, once, and only by the holder."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.stores import (
    ERROR,
    claim_many,
    claim_one,
    claimed,
    counted,
    everything,
    expect,
    flushed,
    ids,
    insert,
    insert_one,
    joined,
    new_execution,
    nothing_to_claim,
    now,
    settle,
    stored,
)
from worchflow.model.records import Claim, ErrorInfo, ExecutionStatus
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

S = ExecutionStatus

SETTLEMENTS: list[tuple[Settlement, ExecutionStatus]] = [
    (Completed(result='{"paid":true}'), S.COMPLETED),
    (Failed(error=ERROR), S.FAILED),
    (RetryAt(error=ERROR, delay=60.0), S.RETRYING),
    (RetryAt(error=ERROR, delay=0.0), S.RETRYING),
    (Released(), S.QUEUED),
    (Released(delay=60.0, reason="waits"), S.QUEUED),
    (Cancelled(reason="not needed"), S.CANCELLED),
]
EACH = pytest.mark.parametrize(
    ("settlement", "status"),
    SETTLEMENTS,
    ids=[f"{type(s).__name__}-{n}" for n, (s, _) in enumerate(SETTLEMENTS)],
)


@EACH
async def test_every_settlement_lets_go(
    backend: Backend, settlement: Settlement, status: ExecutionStatus
) -> None:
    claim = await claimed(backend)
    id_ = claim.execution.id

    settled = await settle(backend, claim, settlement)

    assert settled == Settled(applied=True, status=status)
    execution = await expect(
        backend, id_, status=status, worker=None, token=claim.token, recoveries=0
    )
    assert (execution.finished_at is not None) == status.is_terminal
    await counted(backend, {status: 1})
    renewal = await asyncio.to_thread(backend.workers.renew, claim.worker_id)
    assert renewal.owned == frozenset()


@EACH
async def test_a_repeated_settlement_recognises_its_own_write(
    backend: Backend, settlement: Settlement, status: ExecutionStatus
) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, settlement)
    before = await everything(backend, claim.execution.id)

    settled = await settle(backend, claim, settlement)

    assert settled == Settled(applied=True, status=status)
    assert await everything(backend, claim.execution.id) == before


@EACH
async def test_the_same_settlement_twice_at_once_is_applied_once(
    backend: Backend, settlement: Settlement, status: ExecutionStatus
) -> None:
    claim = await claimed(backend)

    both = await asyncio.gather(
        settle(backend, claim, settlement), settle(backend, claim, settlement)
    )

    assert [settled.status for settled in both] == [status, status]
    assert [settled.applied for settled in both] == [True, True]
    failed = isinstance(settlement, Failed | RetryAt)
    await expect(backend, claim.execution.id, status=status, attempt_count=int(failed))
    await counted(backend, {status: 1})


async def test_completing_stores_the_result(backend: Backend) -> None:
    claim = await claimed(backend)

    await settle(backend, claim, Completed(result='{"paid":true}'))

    await expect(
        backend,
        claim.execution.id,
        result='{"paid":true}',
        error=None,
        attempt_count=0,
        reason=None,
        run_at=None,
    )


@pytest.mark.parametrize(
    "result",
    [
        "null",
        '""',
        "0",
        "[]",
        '"é漢😀 \\u0000"',
        '{"$a.b":1e400,"c":12345678901234567890}',
    ],
)
async def test_a_result_comes_back_unchanged(backend: Backend, result: str) -> None:
    claim = await claimed(backend)

    await settle(backend, claim, Completed(result=result))

    await expect(backend, claim.execution.id, result=result)


@pytest.mark.parametrize("attempted", [True, False])
async def test_failing_stores_the_error_and_counts_the_attempt(
    backend: Backend, attempted: bool
) -> None:
    claim = await claimed(backend)

    await settle(backend, claim, Failed(error=ERROR, attempted=attempted))

    await expect(
        backend,
        claim.execution.id,
        status=S.FAILED,
        error=ERROR,
        result=None,
        attempt_count=int(attempted),
    )
    worker = await joined(backend)
    assert await nothing_to_claim(backend, worker)


async def test_an_error_comes_back_unchanged(backend: Backend) -> None:
    claim = await claimed(backend)
    error = ErrorInfo(type="E", message="$set é 😀 \x00 {}", traceback="")

    await settle(backend, claim, Failed(error=error))

    await expect(backend, claim.execution.id, error=error)


async def test_an_error_leaves_nothing_of_the_one_before(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    other = ErrorInfo(type="E", message="elsewhere", traceback="")
    for error in (ERROR, other):
        claim = await claim_one(backend, worker)
        await settle(backend, claim, RetryAt(error=error, delay=0.0))
        await expect(backend, id_, error=error)

    claim = await claim_one(backend, worker)
    await settle(backend, claim, Failed(error=ERROR))
    await backend.executions.retry(id_)
    await expect(backend, id_, error=None)


async def test_a_retry_waits_for_its_delay(backend: Backend) -> None:
    claim = await claimed(backend)
    worker = await joined(backend)
    before = now()

    await settle(backend, claim, RetryAt(error=ERROR, delay=0.6))

    execution = await expect(
        backend, claim.execution.id, attempt_count=1, error=ERROR, result=None
    )
    assert execution.run_at is not None
    assert timedelta(seconds=0.55) < execution.run_at - before < timedelta(seconds=2)
    assert await nothing_to_claim(backend, worker)
    again = await claim_one(backend, worker)
    assert now() >= execution.run_at
    assert again.execution.attempt_count == 1
    await expect(backend, claim.execution.id, status=S.PROCESSING, attempt_count=1)


async def test_attempts_add_up(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)

    for failed in (1, 2, 3):
        claim = await claim_one(backend, worker)
        await settle(backend, claim, RetryAt(error=ERROR, delay=0.0))
        await expect(backend, id_, attempt_count=failed, status=S.RETRYING)
    claim = await claim_one(backend, worker)
    await settle(backend, claim, Completed(result="1"))

    await expect(backend, id_, attempt_count=3, status=S.COMPLETED, error=None)


async def test_a_retry_without_delay_goes_to_the_back_of_the_queue(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    news = await insert(backend, *(new_execution() for _ in range(4)))
    first = await claim_one(backend, worker)

    await settle(backend, first, RetryAt(error=ERROR, delay=0.0))

    claims = await claim_many(backend, worker, 4)
    assert ids(claims) == [*news[1:], news[0]]


async def test_what_is_released_goes_to_the_front_of_the_queue(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    news = await insert(backend, *(new_execution() for _ in range(4)))
    first = await claim_one(backend, worker)

    await settle(backend, first, Released())
    await flushed(backend)

    await expect(backend, news[0], status=S.QUEUED, attempt_count=0, run_at=None)
    claims = await claim_many(backend, worker, 4)
    assert ids(claims) == news


async def test_what_is_released_with_a_delay_waits_and_says_why(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    worker = await joined(backend)
    before = now()

    await settle(backend, claim, Released(delay=0.5, reason="no free slot"))

    execution = await expect(
        backend, claim.execution.id, reason="no free slot", attempt_count=0
    )
    assert execution.run_at is not None
    assert execution.run_at > before
    again = await claim_one(backend, worker)
    assert now() >= execution.run_at
    assert again.execution.reason is None
    await expect(backend, claim.execution.id, reason=None, run_at=None)


@pytest.mark.parametrize("reason", ["not needed", None])
async def test_a_cancelled_attempt_ends_the_execution(
    backend: Backend, reason: str | None
) -> None:
    claim = await claimed(backend)

    await settle(backend, claim, Cancelled(reason=reason))

    await expect(
        backend,
        claim.execution.id,
        status=S.CANCELLED,
        cancel_reason=reason,
        attempt_count=0,
        result=None,
        error=None,
    )


async def test_a_terminal_result_never_changes(backend: Backend) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, Completed(result='"first"'))
    before = await everything(backend, claim.execution.id)

    for settlement, _ in SETTLEMENTS:
        await settle(backend, claim, settlement)

    assert await everything(backend, claim.execution.id) == before
    await counted(backend, {S.COMPLETED: 1})


async def test_an_older_claim_of_the_same_worker_settles_nothing(
    backend: Backend,
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    old = await claim_one(backend, worker)
    await settle(backend, old, Released())
    new = await claim_one(backend, worker)
    before = await everything(backend, id_)

    await settle(backend, old, Completed(result='"old"'))

    assert await everything(backend, id_) == before
    assert (await settle(backend, new, Completed(result='"new"'))).applied
    await expect(backend, id_, result='"new"')


async def test_settling_what_does_not_exist_changes_nothing(backend: Backend) -> None:
    claim = await claimed(backend)
    other = new_execution()
    execution = type(claim.execution)(
        id=other.id,
        event_name=other.event_name,
        event_data=other.event_data,
        status=S.PROCESSING,
        created_at=other.created_at,
        updated_at=other.created_at,
    )
    ghost = Claim(execution=execution, worker_id=claim.worker_id, token=1)

    settled = await settle(backend, ghost, Completed(result="1"))

    assert settled == Settled(applied=False, status=None)
    assert await backend.executions.get(other.id) is None


async def test_many_settle_at_once_each_with_its_own_outcome(backend: Backend) -> None:
    worker = await joined(backend)
    news = await insert(backend, *(new_execution() for _ in range(70)))
    claims = await claim_many(backend, worker, 70)
    stale = claims[::7]
    for claim in stale:
        await settle(backend, claim, Failed(error=ERROR))

    outcomes = await asyncio.gather(
        *(
            settle(backend, claim, Completed(result=f'"{claim.execution.id}"'))
            for claim in claims
        )
    )

    for claim, settled in zip(claims, outcomes, strict=True):
        id_ = claim.execution.id
        ended = S.FAILED if claim in stale else S.COMPLETED
        assert settled.status is ended
        result = None if claim in stale else f'"{id_}"'
        await expect(backend, id_, status=ended, result=result)
    assert sorted(news) == sorted(ids(claims))
    await counted(backend, {S.FAILED: len(stale), S.COMPLETED: 70 - len(stale)})


async def test_a_settled_execution_says_when_it_ended(backend: Backend) -> None:
    before = now()
    claim = await claimed(backend)

    await settle(backend, claim, Completed(result="1"))

    execution = await stored(backend, claim.execution.id)
    for moment in (execution.started_at, execution.finished_at, execution.updated_at):
        assert moment is not None
        assert abs(moment - before) < timedelta(seconds=10)
