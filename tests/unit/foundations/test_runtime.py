"""The machine's clocks, random numbers and ids."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

from worchflow.foundations.runtime import SYSTEM


def test_the_clocks_are_those_of_the_machine() -> None:
    before = SYSTEM.monotonic()

    assert abs(SYSTEM.now() - datetime.now(UTC)) < timedelta(seconds=60)
    assert SYSTEM.now().tzinfo is UTC
    assert SYSTEM.monotonic() >= before


def test_ids_and_random_numbers_differ() -> None:
    assert SYSTEM.uuid() != SYSTEM.uuid()
    assert SYSTEM.uuid().version == 4
    numbers = {SYSTEM.random() for _ in range(10)}
    assert len(numbers) == 10
    assert all(0 <= number < 1 for number in numbers)


def test_a_wait_ends_with_its_event_or_its_time() -> None:
    event = threading.Event()
    began = time.monotonic()
    assert not SYSTEM.wait(event, 0.01)
    SYSTEM.sleep(0.01)
    assert time.monotonic() - began >= 0.02
    event.set()

    assert SYSTEM.wait(event, 600)
