"""Slots of what runs, and what is parked without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.stores import claim_many, insert, joined, new_execution, new_worker
from tests.waiting import until
from worchflow import Context, WorkerOptions, create_function
from worchflow.engine.ownership import Interruption
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.records import Claim
from worchflow.storage.sqlite.backend import SQLiteBackend
from worchflow.worker.execution_slots import MAX_PARKED_BYTES, ExecutionSlots, Parked
from worchflow.worker.lease import Lease
from worchflow.worker.worcher import Worcher


class Fleet:
    """The slots of a worker that is not started, and claims for them."""

    def __init__(self, **options: Any) -> None:
        self.go_on = asyncio.Event()

        async def handler(ctx: Context[Any]) -> None:
            await self.go_on.wait()

        self.backend = SQLiteBackend(":memory:")
        self.worcher = Worcher(
            [create_function("payment", handler)],
            backend=self.backend,
            options=WorkerOptions(**options),
        )
        self.slots: ExecutionSlots = self.worcher._slots
        self.claims: list[Claim] = []
        self.suspended: list[str] = []

    async def start(self, count: int) -> None:
        worker = await joined(self.backend)
        lease = Lease(worker, 3600.0, SYSTEM)
        lease.renewed(SYSTEM.monotonic())
        await insert(self.backend, *(new_execution() for _ in range(count)))
        self.claims = await claim_many(self.backend, worker, count)
        for claim in self.claims:
            self.slots.start(claim, lease)

    def park(
        self, number: int, *, can: bool = True, size: int = 0, sync: bool = False
    ) -> bool:
        """Park one; it is suspended if it can be."""

        def suspend() -> bool:
            if can:
                self.suspended.append(str(number))
            return can

        parked = Parked(suspend=suspend, size=size, is_sync=sync)
        return self.slots.park(self.id(number), parked)

    def id(self, number: int) -> str:
        return self.claims[number].execution.id


MakeFleet = Callable[..., Any]


@pytest.fixture
async def make_fleet() -> AsyncIterator[MakeFleet]:
    fleets: list[Fleet] = []

    async def make(count: int, **options: Any) -> Fleet:
        fleet = Fleet(**options)
        fleets.append(fleet)
        await fleet.backend.open()
        await fleet.start(count)
        return fleet

    yield make
    for fleet in fleets:
        fleet.slots.interrupt_all(Interruption.STOPPING)
        fleet.go_on.set()
        await fleet.slots.drained()
        await fleet.backend.close()


async def test_what_is_parked_has_no_slot(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(2, concurrency=2)
    assert fleet.slots.free == 0

    assert fleet.park(0)

    assert fleet.slots.free == 1
    assert fleet.id(0) in fleet.slots.ids
    await asyncio.wait_for(fleet.slots.wait_free(), 5)


@pytest.mark.parametrize(
    ("concurrency", "running", "is_few"),
    [(8, 7, False), (20, 14, False), (20, 15, True)],
)
async def test_of_many_slots_a_few_that_are_free_are_few(
    make_fleet: MakeFleet, concurrency: int, running: int, is_few: bool
) -> None:
    fleet = await make_fleet(running, concurrency=concurrency)

    assert fleet.slots.few_are_free is is_few


async def test_what_asks_for_a_slot_comes_before_what_is_new(
    make_fleet: MakeFleet,
) -> None:
    fleet = await make_fleet(3, concurrency=3)
    assert fleet.park(0)
    assert fleet.park(1)
    fleet.slots._options = WorkerOptions(concurrency=1)

    first, second = fleet.slots.ask(fleet.id(1)), fleet.slots.ask(fleet.id(0))
    assert not first.done()
    assert fleet.slots.free == 0
    fleet.park(2)
    assert first.done()
    assert not second.done()
    assert fleet.slots.free == 0
    first_again = fleet.slots.ask(fleet.id(2))
    # Who does not want it any more is in nobody's way.
    second.cancel()
    assert fleet.park(1)
    assert first_again.done()


async def test_a_slot_that_is_taken_without_asking_is_made_up_for(
    make_fleet: MakeFleet,
) -> None:
    fleet = await make_fleet(2, concurrency=2)
    fleet.park(0)
    fleet.slots._options = WorkerOptions(concurrency=1)

    fleet.slots.take(fleet.id(0))

    assert fleet.slots.free == 0
    asked = fleet.slots.ask(fleet.id(1))
    assert not asked.done()


async def test_the_longest_parked_leaves_when_there_are_too_many(
    make_fleet: MakeFleet,
) -> None:
    fleet = await make_fleet(4, concurrency=4, max_parked=2)
    assert fleet.park(0, can=False)
    assert fleet.park(1)

    assert fleet.park(2)

    assert fleet.suspended == ["1"]


async def test_what_finds_no_place_keeps_its_slot(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(2, concurrency=2, max_parked=1)
    assert fleet.park(0, can=False)

    assert not fleet.park(1, can=False)

    assert fleet.slots.free == 1


async def test_what_keeps_too_much_leaves(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(2, concurrency=2)
    assert fleet.park(0, size=MAX_PARKED_BYTES)
    assert fleet.suspended == []

    assert fleet.park(1, size=1)

    assert fleet.suspended == ["0"]


async def test_plain_handlers_are_parked_as_many_as_there_are_slots(
    make_fleet: MakeFleet,
) -> None:
    fleet = await make_fleet(4, concurrency=2)
    for number in (0, 1):
        assert fleet.park(number, sync=True, can=False)
    assert fleet.park(2)

    assert not fleet.park(3, sync=True, can=False)


async def test_a_worker_that_stops_keeps_nothing(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(2, concurrency=2)
    assert fleet.slots.keeps_for(fleet.id(1)) == 1.0
    assert fleet.park(0)

    fleet.slots.suspend_parked()

    assert fleet.suspended == ["0"]
    assert fleet.slots.keeps_for(fleet.id(1)) == 0
    assert fleet.park(1)
    assert fleet.suspended == ["0", "1"]
    await until(lambda: fleet.slots.free >= 0)


async def test_the_wait_for_a_slot_counts_until_the_deadline(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float | None] = []

    async def attempt(self: ExecutionSlots, claim: Claim, lease: Lease) -> None:
        left.append(claim.deadline_left)

    fleet = await make_fleet(1, concurrency=1, park_for=30.0)
    await until(lambda: bool(fleet.slots._runners))
    monkeypatch.setattr(ExecutionSlots, "_attempt", attempt)
    (claim,) = fleet.claims
    execution = replace(claim.execution, id="another")
    lease = Lease(replace(new_worker(), id=claim.worker_id), 3600.0, SYSTEM)
    fleet.slots.start(replace(claim, execution=execution, deadline_left=60.0), lease)
    await asyncio.sleep(0.3)
    assert left == []

    fleet.park(0)
    await until(lambda: bool(left))

    (seconds,) = left
    assert seconds is not None
    assert 30.0 < seconds <= 60.0 - 0.2
