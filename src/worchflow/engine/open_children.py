"""The children that one attempt waits for: looked at together, a page in one call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..foundations.errors import StoreUnavailable

if TYPE_CHECKING:
    from ..model.children import Child
    from ..storage.contract.children import ChildStore
    from .operation import Operation
    from .parking import Parking
    from .scope import Scope

REST_FACTOR = 3.0
"""So many times as long as a look took passes before the next: where thousands of
children keep ending, looking takes no more than a quarter of the time."""
MAX_REST_SECONDS = 1.0
RETRY_SECONDS = 0.5
"""Seconds until the next look, after one that the store did not answer."""


class OpenChildren:
    """Looks at children: at once at those of one turn of the loop, or of one round."""

    __slots__ = (
        "_asked",
        "_ended",
        "_is_due",
        "_looking",
        "_loop",
        "_parking",
        "_scope",
        "_store",
        "_waiting",
        "round",
    )

    def __init__(self, scope: Scope, parking: Parking, store: ChildStore) -> None:
        self._scope = scope
        self._parking = parking
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, asyncio.Future[Child | None]] = {}
        """Those that are looked at next."""
        self._waiting: dict[str, Operation] = {}
        """By the id of the child that each waits for."""
        self._ended: dict[str, Child] = {}
        """Those that have ended, until what waits for them has taken note."""
        self._looking: asyncio.Future[None] | None = None
        self._is_due = False
        """Whether there is to be another look after the one that is on its way."""
        self.round = 0
        """Of the wake-ups, before the last look at all."""

    async def find(self, child_id: str) -> Child | None:
        """How a child stands now; None if there is none of this id."""
        if (ended := self._ended.pop(child_id, None)) is not None:
            return ended
        if not self._asked:
            self._loop.call_soon(self._find_asked)
        future = self._asked.get(child_id)
        if future is None:
            future = self._loop.create_future()
            self._asked[child_id] = future
        return await asyncio.shield(future)

    def add(self, child_id: str, operation: Operation) -> None:
        """Look at a child in each round, and have the operation look once it ended."""
        self._waiting[child_id] = operation

    def remove(self, child_id: str) -> None:
        """Look at it no more."""
        self._waiting.pop(child_id, None)
        self._ended.pop(child_id, None)

    def look(self) -> None:
        """Look at all that are waited for: the execution was woken."""
        if self._looking is not None:
            self._is_due = True
            return
        # As long as this is on its way the attempt is not suspended.
        self._looking = self._scope.keep(self._look())
        self._looking.add_done_callback(self._looked)

    def _find_asked(self) -> None:
        asked, self._asked = self._asked, {}
        _ = self._scope.keep(self._answer(asked))

    async def _answer(self, asked: dict[str, asyncio.Future[Child | None]]) -> None:
        """Tell who asked; what the store raises, too: that is repeated there."""
        error: Exception | None = None
        found: dict[str, Child] = {}
        try:
            found = await self._store.find(list(asked))
        except Exception as failure:  # noqa: BLE001 - it is raised where it is awaited
            error = failure
        for child_id, future in asked.items():
            if error is None:
                future.set_result(found.get(child_id))
            else:
                future.set_exception(error)
                future.exception()  # Whoever asked may be gone.

    async def _look(self) -> None:
        """Look at all, until the store answers: only then they were looked at."""
        while not self._scope.is_over:
            began, self.round = self._loop.time(), self._parking.wakeups.round
            try:
                ids = [each for each in self._waiting if each not in self._ended]
                found = await self._store.find(ids, only_ended=True)
            except StoreUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except Exception:
                # Whatever it is, each of them meets it, or does not.
                self._parking.look_again(*self._waiting.values())
                raise
            for child_id, child in found.items():
                if child_id in self._waiting:
                    self._ended[child_id] = child
            self._parking.look_again(*(self._waiting[each] for each in self._ended))
            if self._is_due:
                took = self._loop.time() - began
                await asyncio.sleep(min(MAX_REST_SECONDS, REST_FACTOR * took))
            return

    def _looked(self, _: object) -> None:
        self._looking = None
        is_due, self._is_due = self._is_due, False
        if is_due and not self._scope.is_over:
            self.look()
        else:
            self._parking.look_soon()
