"""Cancelling: at once when un-owned, by a sticky flag when owned, never a result."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.stores import (
    ERROR,
    MakeBackend,
    claimed,
    counted,
    everything,
    expect,
    insert_one,
    joined,
    new_execution,
    nothing_to_claim,
    settle,
    stored,
)
from worchflow.model.records import Claim, ExecutionStatus
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


@pytest.mark.parametrize("reason", ["not needed", None, "$unset é"])
async def test_a_waiting_execution_is_cancelled_at_once(
    backend: Backend, reason: str | None
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)

    execution, changed = await backend.executions.cancel(id_, reason)

    assert changed
    assert execution == await expect(
        backend, id_, status=S.CANCELLED, cancel_reason=reason, worker=None, reason=None
    )
    assert execution.finished_at is not None
    assert await nothing_to_claim(backend, worker)
    await counted(backend, {S.CANCELLED: 1})


async def test_a_delayed_execution_is_cancelled_at_once(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend, delay=0.3)

    await backend.executions.cancel(id_, None)

    await expect(backend, id_, status=S.CANCELLED, run_at=None)
    assert not await backend.claims.claim(worker, 1, 0.6)


async def test_an_execution_that_waits_for_a_retry_is_cancelled_at_once(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, RetryAt(error=ERROR, delay=60.0))

    execution, changed = await backend.executions.cancel(claim.execution.id, "enough")

    assert changed
    assert execution is not None
    await expect(
        backend,
        claim.execution.id,
        status=S.CANCELLED,
        cancel_reason="enough",
        attempt_count=1,
    )


async def test_an_owned_execution_is_flagged_and_stays_owned(backend: Backend) -> None:
    claim = await claimed(backend)

    execution, changed = await backend.executions.cancel(
        claim.execution.id, "not needed"
    )

    assert changed
    assert execution == await expect(
        backend,
        claim.execution.id,
        status=S.PROCESSING,
        worker=claim.worker_id,
        token=claim.token,
        cancel_requested=True,
        cancel_reason="not needed",
        finished_at=None,
    )
    await counted(backend, {S.PROCESSING: 1})


async def test_the_first_reason_stays(backend: Backend) -> None:
    claim = await claimed(backend)
    await backend.executions.cancel(claim.execution.id, "first")
    before = await stored(backend, claim.execution.id)

    assert await backend.executions.cancel(claim.execution.id, "second") == (
        before,
        False,
    )

    assert await stored(backend, claim.execution.id) == before


@pytest.mark.parametrize(
    "settlement",
    [Completed(result="1"), Failed(error=ERROR), Cancelled(reason="by itself")],
    ids=lambda settlement: type(settlement).__name__,
)
async def test_what_has_ended_stays_as_it_is(
    backend: Backend, settlement: Settlement
) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, settlement)
    before = await everything(backend, claim.execution.id)

    execution, changed = await backend.executions.cancel(claim.execution.id, "too late")

    assert (execution, changed) == (before[0], False)
    assert await everything(backend, claim.execution.id) == before


async def test_cancelling_an_unknown_id_says_so(backend: Backend) -> None:
    assert await backend.executions.cancel("never-sent", None) == (None, False)
    assert await backend.executions.get("never-sent") is None


@pytest.mark.parametrize(
    "settlement",
    [
        RetryAt(error=ERROR, delay=0.0),
        RetryAt(error=ERROR, delay=60.0),
        Released(),
        Released(delay=60.0, reason="waits"),
        Cancelled(),
    ],
    ids=["retry", "later retry", "release", "later release", "cancelled"],
)
async def test_a_flagged_execution_ends_as_cancelled(
    backend: Backend, settlement: Settlement
) -> None:
    claim = await claimed(backend)
    worker = await joined(backend)
    await backend.executions.cancel(claim.execution.id, "not needed")

    settled = await settle(backend, claim, settlement)

    assert settled == Settled(applied=True, status=S.CANCELLED)
    execution = await expect(
        backend,
        claim.execution.id,
        status=S.CANCELLED,
        worker=None,
        cancel_reason="not needed",
        reason=None,
        run_at=None,
    )
    assert execution.finished_at is not None
    assert await nothing_to_claim(backend, worker)
    assert await settle(backend, claim, settlement) == settled
    assert await stored(backend, claim.execution.id) == execution


@pytest.mark.parametrize(
    ("settlement", "status"),
    [(Completed(result='"done"'), S.COMPLETED), (Failed(error=ERROR), S.FAILED)],
    ids=["completed", "failed"],
)
async def test_a_terminal_settlement_wins_over_the_flag(
    backend: Backend, settlement: Settlement, status: ExecutionStatus
) -> None:
    claim = await claimed(backend)
    await backend.executions.cancel(claim.execution.id, "not needed")

    settled = await settle(backend, claim, settlement)

    assert settled == Settled(applied=True, status=status)
    await expect(
        backend, claim.execution.id, status=status, worker=None, cancel_requested=False
    )
    await counted(backend, {status: 1})


async def test_cancelling_and_completing_at_once_gives_one_outcome(
    make_backend: MakeBackend,
) -> None:
    one, two = await make_backend(), await make_backend()
    claims = [await claimed(one) for _ in range(30)]

    async def race(claim: Claim) -> tuple[Settled, bool]:
        id_ = claim.execution.id
        settled, (_, changed) = await asyncio.gather(
            settle(one, claim, Completed(result='"done"')),
            two.executions.cancel(id_, "not needed"),
        )
        return settled, changed

    for claim, (settled, changed) in zip(
        claims, await asyncio.gather(*map(race, claims)), strict=True
    ):
        # Owned: the flag may come first, but a terminal settlement wins over it.
        assert settled == Settled(applied=True, status=S.COMPLETED)
        before = await expect(
            one, claim.execution.id, status=S.COMPLETED, result='"done"'
        )
        assert isinstance(changed, bool)
        assert await one.executions.cancel(claim.execution.id, None) == (before, False)
    await counted(one, {S.COMPLETED: 30})


async def test_cancelling_and_releasing_at_once_never_leaves_a_live_one_flagged(
    make_backend: MakeBackend,
) -> None:
    one, two = await make_backend(), await make_backend()
    claims = [await claimed(one) for _ in range(30)]

    async def race(claim: Claim) -> Any:
        return await asyncio.gather(
            settle(one, claim, Released()),
            two.executions.cancel(claim.execution.id, "stop"),
        )

    for claim, (settled, (_, changed)) in zip(
        claims, await asyncio.gather(*map(race, claims)), strict=True
    ):
        assert settled.applied
        assert changed
        await expect(
            one,
            claim.execution.id,
            status=S.CANCELLED,
            worker=None,
            cancel_reason="stop",
        )
    await counted(one, {S.CANCELLED: 30})


async def test_cancelling_and_claiming_at_once_gives_one_outcome(
    make_backend: MakeBackend,
) -> None:
    one, two = await make_backend(), await make_backend()
    worker = await joined(one)
    news = [new_execution() for _ in range(30)]
    await one.executions.insert(news)

    claiming = asyncio.ensure_future(one.claims.claim(worker, 30, 1.0))
    cancelled = await asyncio.gather(
        *(two.executions.cancel(new.id, "stop") for new in news)
    )
    claims = await claiming

    assert all(changed for _, changed in cancelled)
    held = {claim.execution.id for claim in claims}
    for new in news:
        execution = await stored(one, new.id)
        if new.id in held:
            assert execution.cancel_requested
            assert execution.status is S.PROCESSING
        else:
            assert execution.status is S.CANCELLED
            assert execution.worker is None


async def test_a_cancelled_execution_keeps_its_id(backend: Backend) -> None:
    id_ = await insert_one(backend)
    await backend.executions.cancel(id_, None)
    before = await stored(backend, id_)

    (outcome,) = await backend.executions.insert([new_execution(id_)])

    assert outcome.existing == before
    assert await stored(backend, id_) == before
