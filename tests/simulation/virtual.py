"""Puts virtual time, threads and ids in the place of the machine's.

This is the list of everything through which the library sees the machine. What is
missing here makes two runs of one seed differ, which a test looks for.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.simulation import processes
from tests.simulation.processes import World, current_process
from worchflow.engine import calling_thread, context_calls, step_ids, threads
from worchflow.foundations import clock
from worchflow.storage.redis_mongo import (
    leadership,
    leases,
    store_clock,
    sweeper,
    upkeep,
)
from worchflow.worker import blocked_loop, lease, membership

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall's time at the beginning of every world."""

INTERVALS: tuple[tuple[Any, str, Any], ...] = (
    (leadership, "LOCK_TTL", 6_000),
    (sweeper, "GRACE_MILLISECONDS", 1_000),
    (sweeper, "RECENT_MILLISECONDS", 10_000),
    (upkeep, "TICK_SECONDS", 1.0),
)
"""Those that suit a lease of some seconds: with the real ones nothing would be swept
while things go wrong, and half of a run would be waiting for it."""

THREADING = SimpleNamespace(
    Thread=processes.Thread,
    Event=processes.Event,
    Lock=processes.Lock,
    get_ident=processes.get_ident,
    current_thread=processes.running_thread,
)


@contextmanager
def machine_of(world: World) -> Iterator[None]:
    """Let the library see this world's time, threads and random numbers."""

    def monotonic() -> float:
        return world.now

    def wall() -> datetime:
        offset = current_process().wall_offset
        return BEGINNING + timedelta(seconds=world.now + offset)

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=world.random.getrandbits(128), version=4)

    replaced: list[tuple[Any, str, Any]] = [
        (time, "monotonic", monotonic),
        (time, "sleep", processes.sleep),
        (uuid, "uuid4", uuid4),
        (clock, "monotonic", monotonic),
        (clock.SystemClock, "monotonic", staticmethod(monotonic)),
        (clock.SystemClock, "now", staticmethod(wall)),
        (store_clock.StoreClock.__init__, "__defaults__", (monotonic,)),
        (membership, "os", SimpleNamespace(getpid=lambda: 1)),
        (membership, "socket", SimpleNamespace(gethostname=lambda: "simulated")),
        (threads, "SimpleQueue", processes.SimpleQueue),
        (calling_thread, "SimpleQueue", processes.SimpleQueue),
        *INTERVALS,
        *(
            (module, "threading", THREADING)
            for module in (
                context_calls,
                blocked_loop,
                lease,
                leases,
                threads,
                step_ids,
            )
        ),
    ]
    state = random.getstate()
    random.seed(world.random.getrandbits(64))
    patches = [mock.patch.object(*each) for each in replaced]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in reversed(patches):
            patch.stop()
        random.setstate(state)
