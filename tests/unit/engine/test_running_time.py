"""A timeout counts the time in which code runs, and no other."""

from __future__ import annotations

import asyncio

from tests.waiting import until
from worchflow.engine.running_time import RunningTime


async def test_it_is_over_after_its_running_time() -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    began = loop.time()
    running = RunningTime(loop, 0.2, over.set)
    running.start()
    await asyncio.sleep(0.1)
    running.pause(True)
    await asyncio.sleep(0.3)
    assert not over.is_set()
    running.pause(False)
    await until(over.is_set)

    assert loop.time() - began >= 0.49


async def test_what_was_stopped_is_never_over() -> None:
    over = asyncio.Event()
    running = RunningTime(asyncio.get_running_loop(), 0.05, over.set)
    running.start()
    running.pause(True)
    running.pause(True)
    running.stop()
    await asyncio.sleep(0.1)

    assert not over.is_set()
