"""Deaths of workers count against the executions whose code ran, and no others."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.conformance.test_workers import reaped
from tests.stores import (
    ERROR,
    claim_one,
    expect,
    ignore,
    insert_one,
    joined,
    new_step,
    new_worker,
    nothing_to_claim,
    settle,
)
from worchflow.model.records import Claim, WorkerRecord
from worchflow.model.settlement import Failed, Released
from worchflow.model.transitions import KILLED_WORKERS
from worchflow.storage.contract.backend import Backend


async def joined_with(backend: Backend, quarantine_after: int) -> WorkerRecord:
    """A worker that leaves alone what has had so many deaths."""
    worker = replace(new_worker(), quarantine_after=quarantine_after)
    await backend.workers.join(worker, ignore)
    return worker


async def dies(backend: Backend, *, begun: bool = False, steps: int = 0) -> Claim:
    """A worker claims the only execution and dies: at once, or while its code runs."""
    claim = await claim_one(backend, await joined_with(backend, 100))
    if begun:
        assert await backend.claims.begin(claim)
    for number in range(steps):
        await backend.steps.checkpoint(claim, new_step(claim.token * 10 + number))
    await reaped(backend, await joined(backend), 1, claim.worker_id)
    return claim


async def test_a_death_counts_once_the_code_has_begun(backend: Backend) -> None:
    id_ = await insert_one(backend)

    await dies(backend, begun=True)

    await expect(backend, id_, recoveries=1, deaths=1)


async def test_a_first_death_counts_when_a_second_one_does(backend: Backend) -> None:
    """Nobody knows of it whether the code had begun: to record that has a price."""
    id_ = await insert_one(backend)
    await dies(backend)
    await expect(backend, id_, recoveries=1, deaths=0, reason=None)

    await dies(backend, begun=True)

    await expect(backend, id_, recoveries=2, deaths=2, reason=KILLED_WORKERS)
    await dies(backend, begun=True)
    await expect(backend, id_, recoveries=3, deaths=3)


async def test_what_was_claimed_and_not_begun_is_innocent(backend: Backend) -> None:
    id_ = await insert_one(backend)

    for recoveries in (1, 2, 3):
        await dies(backend)
        await expect(backend, id_, recoveries=recoveries, deaths=0)


async def test_what_was_handed_back_is_innocent(backend: Backend) -> None:
    id_ = await insert_one(backend)
    for deaths in (0, 1):
        claim = await claim_one(backend, await joined(backend))
        assert await backend.claims.begin(claim)
        await settle(backend, claim, Released())
        await expect(backend, id_, recoveries=deaths, deaths=0)
        if not deaths:
            await dies(backend)


async def test_a_recorded_step_clears_the_deaths_before_it(backend: Backend) -> None:
    id_ = await insert_one(backend)
    for _ in range(3):
        await dies(backend, begun=True)
    await expect(backend, id_, deaths=3)

    await dies(backend, begun=True, steps=2)

    await expect(backend, id_, recoveries=4, deaths=1)
    await dies(backend, begun=True)
    await expect(backend, id_, recoveries=5, deaths=2)


async def test_a_step_tells_that_the_code_of_a_first_claim_had_begun(
    backend: Backend,
) -> None:
    id_ = await insert_one(backend)

    await dies(backend, steps=1)

    await expect(backend, id_, recoveries=1, deaths=1)


async def test_beginning_under_a_lost_claim_is_refused(backend: Backend) -> None:
    id_ = await insert_one(backend)
    lost = await dies(backend)

    assert not await backend.claims.begin(lost)

    claim = await claim_one(backend, await joined(backend))
    assert not await backend.claims.begin(lost)
    assert await backend.claims.begin(claim)
    assert await backend.claims.begin(claim)
    await expect(backend, id_, recoveries=1, deaths=0)


async def test_a_claim_leaves_alone_what_has_too_many_deaths(backend: Backend) -> None:
    id_ = await insert_one(backend)
    for _ in range(2):
        await dies(backend, begun=True)
    careful = await joined_with(backend, 2)

    assert await nothing_to_claim(backend, careful)
    await expect(backend, id_, worker=None, recoveries=2)
    other = await insert_one(backend)
    claim = await claim_one(backend, careful)
    assert claim.execution.id == other

    quarantined = await backend.claims.claim_quarantined(careful)
    assert quarantined is not None
    assert (quarantined.execution.id, quarantined.execution.deaths) == (id_, 2)
    assert quarantined.worker_id == careful.id
    assert quarantined.token > claim.token
    await expect(backend, id_, worker=careful.id, reason=None)
    assert await backend.claims.claim_quarantined(careful) is None


async def test_nothing_else_is_claimed_for_the_quarantine(backend: Backend) -> None:
    worker = await joined_with(backend, 2)
    await insert_one(backend)
    await insert_one(backend, delay=60.0)
    assert await backend.claims.claim_quarantined(worker) is None
    foreign = await joined(backend, "another event")
    assert await backend.claims.claim_quarantined(foreign) is None


async def test_each_is_claimed_once_for_a_quarantine(backend: Backend) -> None:
    ids = {await insert_one(backend)}
    await dies(backend, begun=True)
    other = await insert_one(backend)
    claim = await claim_one(backend, await joined_with(backend, 1))
    assert claim.execution.id == other
    assert await backend.claims.begin(claim)
    await reaped(backend, await joined(backend), 1, claim.worker_id)

    worker = await joined_with(backend, 1)
    found = [await backend.claims.claim_quarantined(worker) for _ in range(3)]

    assert {each.execution.id for each in found if each} == ids | {other}
    assert found[2] is None


async def test_an_explicit_retry_forgets_the_deaths(backend: Backend) -> None:
    id_ = await insert_one(backend)
    for _ in range(2):
        await dies(backend, begun=True)
    quarantined = await backend.claims.claim_quarantined(await joined(backend))
    assert quarantined is not None
    await settle(backend, quarantined, Failed(error=ERROR))

    await backend.executions.retry(id_)

    await expect(backend, id_, recoveries=0, deaths=0)
    claim = await claim_one(backend, await joined(backend))
    assert claim.execution.id == id_


async def test_what_begins_long_after_its_claim_has_less_left(
    backend: Backend,
) -> None:
    await insert_one(backend)
    first = await claim_one(backend, await joined(backend))
    assert await backend.claims.begin(first, 60.0)
    await reaped(backend, await joined(backend), 1, first.worker_id)
    claim = await claim_one(backend, await joined(backend))
    assert claim.deadline_left is not None

    # As after many tries without an answer.
    await asyncio.sleep(0.3)
    begun = await backend.claims.begin(claim)

    assert begun is not None
    assert begun.deadline_left is not None
    assert begun.deadline_left <= claim.deadline_left - 0.2
