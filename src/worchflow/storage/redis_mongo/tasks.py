"""Ends background tasks for certain: drivers may swallow that they are cancelled.

Until Python 3.12 `asyncio.wait_for`, which redis-py writes with, takes an answer that
comes at the same time for more important.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

CANCEL_AGAIN_SECONDS = 0.1
"""Seconds; a task that did not end by then has missed that it was cancelled."""


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and return once it has ended, however it does."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_SECONDS)
    if task is not None and not task.cancelled():
        task.exception()


@contextmanager
def heeding_cancellation() -> Generator[None]:
    """Raise a cancellation of the running task that the code inside swallowed."""
    task = asyncio.current_task()
    asked = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > asked:
            raise asyncio.CancelledError
