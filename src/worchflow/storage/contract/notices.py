"""Telling those who watch an execution. Latency only: losing one is allowed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ...model.notices import Notice


MAX_UNREAD = 1000
"""Notices that wait for one reader; more push out the oldest."""


class Subscription:
    """Notices about one execution, from when it was opened. Losing one is allowed."""

    def __init__(self) -> None:
        self._notices: deque[Notice] = deque(maxlen=MAX_UNREAD)
        self._arrived = asyncio.Event()

    def put(self, notice: Notice) -> None:
        """Hand a notice to the reader."""
        self._notices.append(notice)
        self._arrived.set()

    async def next(self, timeout: float) -> Notice | None:
        """The next notice, or None after `timeout` seconds."""
        if not self._notices:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
        return self._notices.popleft() if self._notices else None


class NoticeStore(ABC):
    """Notices of what happens to executions."""

    @abstractmethod
    def watch(
        self, execution_id: str, *, progress: bool = True
    ) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe to notices about one execution. Latency only: see `next`.

        Without `progress` those of its starts and steps are left out.
        """
