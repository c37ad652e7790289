"""Warns of events that are sent and that no live worker serves, beside the sends."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..foundations.errors import WorchflowError
from ..foundations.suggestions import did_you_mean
from ..model.transitions import unserved_reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.records import WorkerSeen
    from ..storage.contract.backend import Backend

logger = logging.getLogger("worchflow.client")

PAUSE_SECONDS = 1.0
"""Seconds until the workers are asked for; what is sent meanwhile shares the answer."""
REPEAT_SECONDS = 60.0
"""Seconds until the same name is looked at again."""
MAX_NAMES = 1000
"""Names that are remembered; more are a program that makes them up."""
MAX_SHOWN = 5


def unserved_warning(name: str, workers: Iterable[WorkerSeen]) -> str | None:
    """What to tell of an event that was sent; None if a live worker serves it."""
    served = {event for each in workers if each.is_alive for event in each.functions}
    if name in served:
        return None
    text = f"{unserved_reason(name)}{did_you_mean(name, served) or ';'}"
    if not served:
        return f"{text} what was sent waits until one is started"
    some = sorted(served)[:MAX_SHOWN]
    more = ", …" if len(served) > MAX_SHOWN else ""
    return f"{text} what was sent waits. Live workers serve: {', '.join(some)}{more}"


@dataclass(eq=False)
class ServedEvents:
    """Looks for live workers of what one client sends, on its own task.

    No send waits for it, and of a name it tells at most once a minute. What is sent
    right before the event loop ends is not looked at.
    """

    _looked_at: dict[str, float] = field(default_factory=dict[str, float])
    _names: set[str] = field(default_factory=set[str])
    _task: asyncio.Task[None] | None = None

    def sent(self, store: Backend, name: str) -> None:
        """Look soon whether a worker serves the name."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at.get(name, -math.inf) < REPEAT_SECONDS:
            return
        if len(self._looked_at) >= MAX_NAMES:
            self._looked_at.clear()
        self._looked_at[name] = now
        self._names.add(name)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(store))

    def close(self) -> None:
        """Look no more; what was sent a moment ago is not looked at."""
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()
        self._task = None

    async def _look(self, store: Backend) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        names, self._names = self._names, set()
        try:
            workers = await store.workers.seen()
        except WorchflowError:  # closed meanwhile, or the sends tell it themselves
            return
        for name in sorted(names):
            if (warning := unserved_warning(name, workers)) is not None:
                logger.warning(warning)
