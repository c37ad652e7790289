"""What a worker asks of the stores for its claims."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.stores import claimed, stored
from tests.unit.engine.attempts import Engine
from worchflow import StoreUnavailable, create_function
from worchflow.model.beginning import Begun
from worchflow.model.records import Claim
from worchflow.storage.contract.backend import Backend
from worchflow.worker.claim_calls import ClaimCalls


async def handler(ctx: Any) -> None: ...


LIMITED = create_function("payment", handler, deadline="1h")
FREE = create_function("payment", handler)


class Begins:
    """Counts how often a store is asked to begin; the first answers are lost."""

    def __init__(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.lost = 0
        self._begin = backend.claims.begin
        monkeypatch.setattr(backend.claims, "begin", self.begin)

    async def begin(self, claim: Claim, deadline: float | None = None) -> Begun | None:
        self.count += 1
        answer = await self._begin(claim, deadline)
        if self.lost:
            self.lost -= 1
            raise StoreUnavailable("no answer")
        return answer


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine() as engine:
        yield engine


@pytest.fixture
def begins(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Begins:
    return Begins(engine.backend, monkeypatch)


async def test_an_ordinary_execution_asks_nothing(
    engine: Engine, begins: Begins
) -> None:
    claim = await claimed(engine.backend)

    begun = await ClaimCalls(engine.runtime).begin(claim, engine.lease, FREE)

    assert begun == Begun(None, None)
    assert begins.count == 0


async def test_a_deadline_is_stored_once(engine: Engine, begins: Begins) -> None:
    claim, calls = await claimed(engine.backend), ClaimCalls(engine.runtime)

    begun = await calls.begin(claim, engine.lease, LIMITED)

    assert begun is not None
    execution = await stored(engine.backend, claim.execution.id)
    assert execution.deadline_at == begun.deadline_at is not None
    assert begins.count == 1
    later = replace(claim, execution=execution, deadline_left=1800.0)
    assert await calls.begin(later, engine.lease, LIMITED) == Begun(
        begun.deadline_at, 1800.0
    )
    assert begins.count == 1


async def test_what_was_recovered_is_recorded_unless_it_will_not_run(
    engine: Engine, begins: Begins
) -> None:
    claim, calls = await claimed(engine.backend), ClaimCalls(engine.runtime)
    recovered = replace(claim, execution=replace(claim.execution, recoveries=1))

    await calls.begin(recovered, engine.lease, FREE)
    assert begins.count == 1
    await calls.begin(replace(recovered, deadline_left=0.0), engine.lease, LIMITED)
    assert begins.count == 1


async def test_it_asks_until_there_is_an_answer(engine: Engine, begins: Begins) -> None:
    claim = await claimed(engine.backend)
    begins.lost = 1

    begun = await ClaimCalls(engine.runtime).begin(claim, engine.lease, LIMITED)

    assert begun is not None
    assert begun.deadline_at is not None
    assert begins.count == 2


async def test_without_a_lease_nothing_begins(engine: Engine, begins: Begins) -> None:
    claim = await claimed(engine.backend)
    engine.lease.lost = True

    assert await ClaimCalls(engine.runtime).begin(claim, engine.lease, LIMITED) is None
    assert begins.count == 0
