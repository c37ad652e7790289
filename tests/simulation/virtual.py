"""Puts virtual time, ids and threads in the place of the machine's.

This is the list of everything through which the library sees the machine. What is
missing here makes two runs of one seed differ, which a test looks for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import UUID

from tests.simulation import processes
from tests.simulation.processes import World, current_process
from worchflow.engine import calling_thread, context_calls, step_ids, threads
from worchflow.foundations.runtime import Runtime
from worchflow.serialization import json_schemas
from worchflow.storage.redis_mongo import (
    follow_ups,
    leadership,
    leases,
    sweeper,
    upkeep,
)
from worchflow.worker import blocked_loop, lease, membership

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall's time at the beginning of every world."""

INTERVALS: tuple[tuple[Any, str, Any], ...] = (
    (leadership, "LOCK_TTL", 6_000),
    (sweeper, "GRACE_MILLISECONDS", 1_000),
    (follow_ups, "GRACE_MILLISECONDS", 1_000),
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


class SimulatedRuntime(Runtime):
    """The time of a world, wrong where the wall clock of a process is."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random.Random(world.random.getrandbits(64))

    def now(self) -> datetime:
        offset = current_process().wall_offset
        return BEGINNING + timedelta(seconds=self._world.now + offset)

    def monotonic(self) -> float:
        return self._world.now

    def random(self) -> float:
        return self._random.random()

    def uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def sleep(self, seconds: float) -> None:
        processes.sleep(seconds)


@contextmanager
def machine_of(world: World) -> Iterator[None]:
    """Let the library see this world's threads and names."""
    # The first who asks for it has a thread import it, in this process: once.
    json_schemas._check()
    replaced: list[tuple[Any, str, Any]] = [
        (time, "sleep", processes.sleep),
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
