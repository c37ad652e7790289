"""The watch over the event loop: it watches on whatever becomes of a report."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.runtimes import ManualRuntime
from tests.waiting import until
from worchflow.foundations.runtime import SYSTEM
from worchflow.worker.blocked_loop import BlockedLoopWatch


async def test_a_report_that_fails_ends_no_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports = threading.Semaphore(0)
    watch = BlockedLoopWatch(asyncio.get_running_loop(), 0.02, SYSTEM)

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


async def test_it_reports_by_the_clock_of_the_runtime(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = ManualRuntime()
    watch = BlockedLoopWatch(asyncio.get_running_loop(), 10.0, runtime)
    reported = threading.Semaphore(0)
    report = watch._report
    monkeypatch.setattr(watch, "_report", lambda: (report(), reported.release()))
    watch.start()
    try:
        await until(lambda: bool(runtime.waiting))
        runtime.seconds += 2.5  # a turn is asked for, and given
        await until(lambda: watch.blocked_for() == 0)
        await until(lambda: bool(runtime.waiting))
        assert not caplog.messages
        runtime.seconds += 10.5
        # Without giving the loop a turn.
        assert reported.acquire(timeout=30)
    finally:
        watch.stop()
    assert "has been blocked for 10.5 s" in caplog.text
