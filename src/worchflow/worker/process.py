"""A process that does nothing but serve: its event loop and its garbage collector."""

from __future__ import annotations

import asyncio
import gc
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

YOUNG_OBJECTS = 5_000
"""New objects between two searches for reference cycles, 700 by Python's default.
Ten times as many gain nothing more, and a user's cycles may hold much memory."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop: uvloop where it is installed."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def tune_garbage_collector() -> None:
    """Let it look less often, and never again at what was imported.

    Executions leave no reference cycles behind, so almost everything is freed
    without it, and looking at hundreds of running ones again and again costs a busy
    worker much of its time. Cycles of the user's own are found a little later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
