"""Who waits for work is told at once of what was woken."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.stores import claim_one, insert_one, joined, now, settle
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Suspended
from worchflow.storage.sqlite import claims
from worchflow.storage.sqlite.backend import SQLiteBackend

S = ExecutionStatus


@pytest.mark.parametrize("how", ["woken before", "woken after", "due soon"])
async def test_a_waiting_claim_does_not_have_to_look(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(claims, "POLL_SECONDS", 60.0)
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    waiting = asyncio.create_task(backend.claims.claim(worker, 1, 30.0))
    await asyncio.sleep(0.1)
    assert not waiting.done()

    if how == "woken before":
        await backend.waits.wake([id_])
    until = now() + timedelta(seconds=0.2) if how == "due soon" else None
    await settle(backend, claim, Suspended(status=S.WAITING, wakeups=0, until=until))
    if how == "woken after":
        await backend.waits.wake([id_])

    (again,) = await asyncio.wait_for(waiting, 10)
    assert again.execution.id == id_
