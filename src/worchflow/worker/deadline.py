"""The moment by which a worker has to have stopped; it can only come forward."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Deadline:
    """A deadline that somebody may bring forward while it is waited for."""

    def __init__(self) -> None:
        self._at = float("inf")
        self._reserve = 0.0
        self._scope: asyncio.Timeout | None = None

    def left(self) -> float:
        """Seconds until then, never less than none."""
        return max(0.0, self._at - _now())

    def bring_forward(self, seconds: float) -> None:
        """Let it be in `seconds` at the latest."""
        self._at = min(self._at, _now() + seconds)
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(self._at - self._reserve)

    def at_least(self, seconds: float) -> None:
        """Put it off if less than `seconds` are left."""
        self._at = max(self._at, _now() + seconds)

    async def keeps(
        self, work: Callable[[], Awaitable[object]], *, reserve: float = 0.0
    ) -> bool:
        """Whether `work` ends `reserve` seconds before it; cancelled if not."""
        self._reserve = reserve
        try:
            async with asyncio.timeout_at(self._at - reserve) as self._scope:
                await work()
        except TimeoutError:
            return False
        finally:
            self._scope = None
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
