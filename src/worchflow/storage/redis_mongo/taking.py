"""How one worker takes ids from Redis: what waits for it, and what it waits for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ...foundations.errors import StoreUnavailable
from .scripts import FRONT
from .tasks import end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import WorkerRecord
    from .stores import Stores

MAX_BLOCK_SECONDS = 2.0
"""Seconds one BLMOVE waits. Then it is looked whether a hint was missed."""
MAX_SORTED_PER_CALL = 1000
"""So many ids one call looks at: others wait some milliseconds for it."""


class Taker:
    """Moves ids of a worker's events to its inflight list, from wherever they wait.

    What others serve is sorted into their ready lists on the way. An id whose hash does
    not say its event is taken as well: MongoDB decides. With `ts_compat` nothing is
    sorted, because the original reads the queue alone.
    """

    def __init__(self, stores: Stores, worker: WorkerRecord) -> None:
        self._stores = stores
        self._worker = worker
        self._inflight = stores.keys.inflight(worker.id)
        self._events = list(worker.functions)
        self._sortable = 0 if stores.options.ts_compat else MAX_SORTED_PER_CALL
        self._turn = 0
        self._woken = asyncio.Event()
        self._pop: asyncio.Task[bytes | None] | None = None
        """A BLMOVE on its way. It is never cancelled for a hint: it may have an id."""
        self._is_taking = False
        self.popped: list[bytes] = []
        """What a pop gave and the script has not seen yet."""

    def wake(self, event: str | None) -> None:
        """Look again: an event's ready list begins to fill; None: any may have."""
        if event is None or event in self._worker.functions:
            self._woken.set()

    async def take(self, limit: int, wait: float) -> list[bytes]:
        """Up to `limit` ids, waiting at most `wait` seconds for the first."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + min(wait, MAX_BLOCK_SECONDS)
        self._is_taking = True
        try:
            while True:
                self._woken.clear()
                ids = await self._run(limit, self.popped)
                self.popped = []
                left = deadline - clock()
                if ids or left <= 0:
                    return ids
                self.popped = await self._wait(left)
        finally:
            self._is_taking, self.popped = False, []
            self._put_back()

    async def keep(self, ids: Sequence[str | bytes]) -> list[bytes]:
        """Those of the ids in the inflight list that are for this worker to claim."""
        return await self._run(0, ids)

    async def close(self) -> None:
        """Wait for nothing any more."""
        await end(self._pop)

    async def _run(self, limit: int, taken: Sequence[str | bytes]) -> list[bytes]:
        stores = self._stores
        while True:
            self._turn += 1
            call = stores.scripts.take(
                self._worker.id,
                limit,
                self._events,
                self._sortable,
                self._turn,
                taken,
            )
            (answer,) = await stores.redis.run([call])
            if isinstance(answer, Exception):
                raise StoreUnavailable(f"Redis refused to hand out work: {answer}")
            sorted_, *ids = answer
            is_done = not self._sortable or sorted_ < self._sortable
            if ids or not limit or is_done:
                return ids
            taken = ()

    async def _wait(self, seconds: float) -> list[bytes]:
        """Until the queue gave an id, or a ready list of ours has begun to fill."""
        loop = asyncio.get_running_loop()
        timeout: float | None = seconds
        if self._pop is None:
            stores = self._stores
            self._pop = loop.create_task(
                stores.redis.pop(stores.keys.queue, self._inflight, seconds)
            )
            self._pop.add_done_callback(self._popped)
            timeout = None  # It ends by itself.
        woken = loop.create_task(self._woken.wait())
        try:
            await asyncio.wait(
                {self._pop, woken},
                timeout=timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            woken.cancel()
        if not self._pop.done():
            return []
        pop, self._pop = self._pop, None
        item = pop.result()
        return [] if item is None else [item]

    def _popped(self, _: asyncio.Task[bytes | None]) -> None:
        if not self._is_taking:
            self._put_back()

    def _put_back(self) -> None:
        """Give back what came after something else was taken: the slots may be full."""
        if self._pop is None or not self._pop.done():
            return
        pop, self._pop = self._pop, None
        if pop.cancelled() or pop.exception() is not None:
            return
        if (item := pop.result()) is None:
            return
        with suppress(UnicodeDecodeError):  # What is not text is dropped as orphaned.
            scripts = self._stores.scripts
            place = scripts.release(self._worker.id, item.decode(), FRONT)
            self._stores.write_behind.put(place)
