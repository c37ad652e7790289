"""Every wait of the chaos tests: between two faults, and inside the steps they hit.

Waits in tests hide races; these are the schedule itself, seeded and printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time


def long_run() -> float:
    """How many times longer than in CI the runs are (WORCHFLOW_CHAOS_SCALE)."""
    return float(os.environ.get("WORCHFLOW_CHAOS_SCALE", "1"))


def seeded(name: str) -> random.Random:
    """The random numbers of one run; its seed is printed, and taken if it is set."""
    seed = os.environ.get("WORCHFLOW_CHAOS_SEED") or str(time.time_ns() % 1_000_000)
    print(f"{name}: WORCHFLOW_CHAOS_SEED={seed}")  # noqa: T201 - to repeat it
    return random.Random(f"{name} {seed}")


async def pause(seconds: float) -> None:
    """Let the run go on for a while."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


def pause_thread(seconds: float) -> None:
    """The same in a thread."""
    threading.Event().wait(seconds)
