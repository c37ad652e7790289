"""What an attempt may ask of its worker is what the slots of a worker answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worchflow.engine.slot import ParkingCounts, Slot

if TYPE_CHECKING:
    from worchflow.worker.execution_slots import ExecutionSlot

    def of_a_worker(slot: ExecutionSlot) -> Slot:
        return slot


def test_a_worker_begins_to_count_at_nothing() -> None:
    assert ParkingCounts() == ParkingCounts(0, 0, 0, 0)
