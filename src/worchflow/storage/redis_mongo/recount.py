"""Puts right the numbers of what has ended that a process did not live to change."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...model.records import TERMINAL
from .documents import META
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .documents import Document
    from .stores import Stores

MAX_LOOKS = 4
"""A day whose numbers change between all of them is left: it is being worked on."""


@dataclass(slots=True)
class _Look:
    """What is kept and what is stored of one day."""

    at: int
    kept: dict[str, int]
    stored: dict[str, int]


class Recount:
    """Counts each day again, one at a call, when it is asked for.

    Between the change of an execution and the subtraction a process may have died, or
    the answer was lost. A number
    is changed only when it was the same wrong one in two looks, further apart than a
    write takes: a subtraction that is on its way must not be made twice.
    """

    def __init__(
        self,
        stores: Stores,
        ended_on: Callable[[int, int], Awaitable[dict[str, int]]],
        apart: int,
    ) -> None:
        """`ended_on` counts what is stored of a day; `apart` is milliseconds."""
        self._stores = stores
        self._ended_on = ended_on
        self._apart = apart
        self.forget()

    def forget(self) -> None:
        """Another worker is elected, and begins anew."""
        self._asked: object = None
        self._days: deque[int] = deque()
        self._look: _Look | None = None
        self._looks = 0

    async def go_on(self, ended: Document) -> None:
        """Look at one day, if a recount is asked for in the kept numbers `ended`."""
        asked = ended.get("recount")
        if asked is None:
            return
        if self._asked is None:
            # Asked for again meanwhile, it continues: else those who die often would
            # keep it at its first days.
            self._asked = asked
            self._days.extend(sorted(_days(ended)))
        if not self._days:
            asked, self._asked = self._asked, None
            statement = {
                "q": {"_id": ended["_id"], "recount": asked},
                "u": {"$unset": {"recount": ""}},
            }
            await self._stores.mongo.update(META, [statement])
            return
        if await self._put_right(self._days[0], ended) or self._looks == MAX_LOOKS:
            self._days.popleft()
            self._look, self._looks = None, 0

    async def _put_right(self, day: int, ended: Document) -> bool:
        """Mend a day's numbers if they are certainly wrong; whether they are right."""
        now = self._stores.clock.now()
        before = self._look
        if before is not None and now - before.at < self._apart:
            return False
        up_to = milliseconds_of(ended.get("upTo")) or 0
        kept = _numbers(ended, day)
        stored = await self._ended_on(day, up_to)
        if kept == stored:
            return True
        self._looks += 1
        self._look = _Look(now, kept, stored)
        if before is None or (before.kept, before.stored) != (kept, stored):
            return False
        guard = {f"{s}.{day}": ended.get(s, {}).get(str(day)) for s in stored}
        statement = {
            "q": {"_id": ended["_id"], "upTo": ended["upTo"]} | guard,
            "u": {"$set": {f"{status}.{day}": n for status, n in stored.items()}},
        }
        return bool((await self._stores.mongo.update(META, [statement])).count)


def _numbers(ended: Document, day: int) -> dict[str, int]:
    return {s.value: ended.get(s.value, {}).get(str(day), 0) for s in TERMINAL}


def _days(ended: dict[str, Any]) -> set[int]:
    return {int(day) for status in TERMINAL for day in ended.get(status.value, {})}
