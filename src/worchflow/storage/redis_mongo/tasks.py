"""Ends background tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN = 0.1
"""Seconds; a task that did not end by then has missed that it was cancelled."""


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and return once it has ended, however it does.

    Until Python 3.12 `asyncio.wait_for`, which redis-py writes with, takes an answer
    that comes at the same time for more important than being cancelled.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN)
    if task is not None and not task.cancelled():
        task.exception()
