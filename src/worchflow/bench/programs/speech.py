"""What a measured program and its driver tell each other: JSON lines on its pipes.

A program gets its settings as its one argument, answers `ready`, and then does what
the lines on its standard input say. It ends with the driver: at the end of input it
takes its whole process group with it.

Only the standard library is used here, and nothing of the package: programs of other
libraries import this file by itself, in environments of their own.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import queue
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

REPORT_EVERY = 0.01
"""Seconds between two reports of how much is done."""

Line = dict[str, Any]


def read_settings() -> Line:
    """What the driver wants of this process."""
    settings: Line = json.loads(sys.argv[1])
    return settings


def say(**line: Any) -> None:
    """Tell the driver; one write, so that lines of forked processes do not mix."""
    os.write(1, f"{json.dumps(line)}\n".encode())


def lines() -> Iterator[Line]:
    """What the driver says, blocking; whoever iterates may be busy in between."""
    said: queue.SimpleQueue[Line] = queue.SimpleQueue()
    _listen(said.put)
    while True:
        yield said.get()


def on_lines(hear: Callable[[Line], None]) -> None:
    """Hear the driver on this event loop."""
    loop = asyncio.get_running_loop()
    _listen(lambda line: loop.call_soon_threadsafe(hear, line))


def _listen(hear: Callable[[Line], object]) -> None:
    """Hear the driver in its own thread: its end is heard even by who is busy."""

    def read() -> None:
        # Not sys.stdin: forked children close that, and would wait for who reads it.
        with os.fdopen(os.dup(0), encoding="utf-8") as stream:
            for line in stream:
                hear(json.loads(line))
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=read, daemon=True).start()


def wait_for_go() -> None:
    """Say `ready` and wait until the driver lets all workers begin."""
    say(ready=True)
    next(lines())


class Completions:
    """Counts what this process has completed, and reports it while it grows.

    A plain task begins and is complete at once, so that `add` says enough of it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._last = 0.0
        self._reporter: threading.Thread | None = None
        self._began = False

    def begin(self) -> None:
        """One begins; the first of them is reported."""
        with self._lock:
            if not self._began:
                self._began = True
                say(began=time.monotonic())

    def add(self) -> None:
        """One more is complete; from any thread, and in a forked process too."""
        self.begin()
        with self._lock:
            self._count += 1
            self._last = time.monotonic()
            if self._reporter is None or not self._reporter.is_alive():
                self._reporter = threading.Thread(target=self._report, daemon=True)
                self._reporter.start()

    def _report(self) -> None:
        reported = 0
        while True:
            with self._lock:
                count, last = self._count, self._last
            if count != reported:
                reported = count
                say(done=count, last=last, pid=os.getpid())
            time.sleep(REPORT_EVERY)


def run_sender(send: Callable[[int], object], one: Callable[[], object]) -> None:
    """Serve the driver with blocking calls: many at once, or one after another."""
    say(ready=True)
    for line in lines():
        if "close" in line:
            return
        if "send" in line:
            say(sending=time.monotonic())
            send(line["send"])
            say(sent=line["send"])
        else:
            say(seconds=[_timed(one) for _ in rounds_of(line)])


def rounds_of(line: Line) -> Iterator[int]:
    """As many rounds as are asked for, while there is time."""
    ends = time.monotonic() + line.get("at_most", math.inf)
    for number in range(line["rounds"]):
        yield number
        if time.monotonic() > ends:
            return


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


async def serve(answer: Callable[[Line], Awaitable[Line]]) -> None:
    """Answer each line of the driver with one line, until it says `close`."""
    queue: asyncio.Queue[Line] = asyncio.Queue()
    on_lines(queue.put_nowait)
    say(ready=True)
    while "close" not in (line := await queue.get()):
        say(**await answer(line))


async def serve_sender(
    send: Callable[[int], Awaitable[object]], one: Callable[[], Awaitable[object]]
) -> None:
    """As `run_sender`, on an event loop."""

    async def answer(line: Line) -> Line:
        if "send" in line:
            say(sending=time.monotonic())
            await send(line["send"])
            return {"sent": line["send"]}
        return {"seconds": [await _awaited(one) for _ in rounds_of(line)]}

    await serve(answer)


async def _awaited(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def gather_in_flight(
    count: int, in_flight: int, send: Callable[[], Awaitable[object]]
) -> None:
    """Make `count` calls, `in_flight` of them at a time."""
    left = count

    async def write_behind() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await send()

    await asyncio.gather(*(write_behind() for _ in range(min(in_flight, count))))
