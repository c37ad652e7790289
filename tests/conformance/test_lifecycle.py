"""Opening and closing: counted, checked, and once for each event loop."""

from __future__ import annotations

import asyncio

import pytest

from tests.stores import (
    MakeBackend,
    claim_one,
    expect,
    insert,
    insert_one,
    joined,
    new_execution,
    stored,
)
from worchflow.foundations.errors import ConfigurationError
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed
from worchflow.storage.contract.backend import Backend


async def test_opening_and_closing_count(backend: Backend) -> None:
    await backend.open()
    id_ = await insert_one(backend)

    await backend.close()

    await expect(backend, id_, status=ExecutionStatus.QUEUED)


async def test_closing_once_too_often_is_harmless(make_backend: MakeBackend) -> None:
    backend = await make_backend()

    await backend.close()
    await backend.close()


async def test_a_backend_can_be_opened_again(make_backend: MakeBackend) -> None:
    keeps_open, backend = await make_backend(), await make_backend()
    id_ = await insert_one(backend)
    await backend.close()

    await backend.open()

    await expect(backend, id_, status=ExecutionStatus.QUEUED)
    await insert_one(backend)
    await expect(keeps_open, id_, status=ExecutionStatus.QUEUED)


async def test_a_closed_backend_says_so(make_backend: MakeBackend) -> None:
    backend = await make_backend()
    await backend.close()

    with pytest.raises(ConfigurationError, match="open"):
        await backend.executions.get("any")


async def test_several_openings_at_once_are_one(backend: Backend) -> None:
    await asyncio.gather(*(backend.open() for _ in range(5)))
    id_ = await insert_one(backend)

    await asyncio.gather(*(backend.close() for _ in range(5)))

    await expect(backend, id_, status=ExecutionStatus.QUEUED)


async def test_what_is_being_written_is_written_before_closing(
    make_backend: MakeBackend,
) -> None:
    other, backend = await make_backend(), await make_backend()
    news = [new_execution() for _ in range(100)]
    writing = [asyncio.ensure_future(insert(backend, new)) for new in news]
    for _ in range(5):
        await asyncio.sleep(0)

    await backend.close()

    await asyncio.gather(*writing)
    for new in news:
        await expect(other, new.id, status=ExecutionStatus.QUEUED)


async def test_a_claim_that_waits_ends_when_its_backend_is_closed(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend()
    worker = await joined(backend)
    waiting = asyncio.ensure_future(backend.claims.claim(worker, 1, 60.0))
    for _ in range(20):
        await asyncio.sleep(0)

    await backend.close()

    done, _ = await asyncio.wait([waiting], timeout=10.0)
    assert done
    assert not waiting.cancelled()
    assert waiting.exception() is not None or not waiting.result()


async def test_a_clone_serves_another_event_loop(backend: Backend) -> None:
    id_ = await insert_one(backend)

    async def elsewhere() -> str:
        clone = backend.clone()
        await clone.open()
        try:
            assert (await stored(clone, id_)) == before
            claim = await claim_one(clone, await joined(clone))
            await clone.claims.settle(claim, Completed(result='"cloned"'), None)
            return claim.execution.id
        finally:
            await clone.close()

    before = await stored(backend, id_)
    assert await asyncio.to_thread(asyncio.run, elsewhere()) == id_

    await expect(backend, id_, status=ExecutionStatus.COMPLETED, result='"cloned"')


async def test_a_clone_has_the_same_options(backend: Backend) -> None:
    assert backend.clone().options == backend.options


async def test_an_open_backend_passes_its_check(backend: Backend) -> None:
    await backend.check()


async def test_the_location_is_for_people(backend: Backend) -> None:
    assert backend.location
    assert "@" not in backend.location
