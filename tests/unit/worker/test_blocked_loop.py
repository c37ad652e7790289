"""The watch over the event loop: it goes on watching whatever becomes of a report."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.waiting import until
from worchflow.worker.blocked_loop import BlockedLoopWatch


async def test_a_report_that_fails_ends_no_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports = threading.Semaphore(0)
    watch = BlockedLoopWatch(asyncio.get_running_loop(), 0.02)

    def fail() -> None:
        reports.release()
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(watch, "_report", fail)
    watch.start()
    try:
        for _ in range(2):
            # Blocks the loop until the thread has seen that it is blocked.
            assert reports.acquire(timeout=30)
            await until(lambda: not watch._reported)
    finally:
        watch.stop()
