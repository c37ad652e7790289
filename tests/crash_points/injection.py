"""Where a process breaks and how: before or after one call, by one kind of fault."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from worchflow import StoreUnavailable
from worchflow.ledger import Kind, Ledger

T = TypeVar("T")

LATE = 0.3
"""Seconds after which a call gives up that is to time out."""
MOST, MOST_OF_A_LOOP = 12, 3
"""Calls of one name that are points."""
LOOPS = re.compile(
    r"\.(get|claim|reap|sweep|renew|run \((take|promote|reclaim)\)|run$|pop|items|heads"
    r"|find|now|info|aggregate|first_value|hashes|steps|BEGIN)"
)
"""Calls that are made again and again, as time goes by."""
OF_THE_WORKER = re.compile(r"\.(claim|claim_quarantined|adopt|reap|sweep|elect|prune)$")
"""Calls that are made by the worker's own loops."""


class Fault(StrEnum):
    """What happens at a point."""

    KILL_BEFORE = "kill before"
    KILL_AFTER = "kill after"
    EXCEPTION_BEFORE = "exception before"
    EXCEPTION_AFTER = "exception after"
    CANCEL_BEFORE = "cancel before"
    CANCEL_AFTER = "cancel after"
    TIMEOUT_NOT_APPLIED = "timeout, not applied"
    TIMEOUT_APPLIED = "timeout, although applied"


KILLS = (Fault.KILL_BEFORE, Fault.KILL_AFTER)
CANCELS = (Fault.CANCEL_BEFORE, Fault.CANCEL_AFTER)
BEFORE = (
    *(Fault.KILL_BEFORE, Fault.EXCEPTION_BEFORE),
    *(Fault.CANCEL_BEFORE, Fault.TIMEOUT_NOT_APPLIED),
)
LATER = (Fault.TIMEOUT_NOT_APPLIED, Fault.TIMEOUT_APPLIED)
DYING = 0.5
"""Seconds within which a process that killed itself has ended for certain."""


@dataclass(frozen=True, order=True)
class Point:
    """The `number`th call of a name in the life of a process."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name} #{self.number}"


@dataclass(frozen=True)
class Injection:
    """One fault at one point."""

    point: Point
    fault: Fault

    def __str__(self) -> str:
        return f"{self.fault}: {self.point}"


class Injector:
    """Every wrapped call of this process goes through it.

    It writes down each point it sees in `seen`, and acts at the one that is wanted.
    Calls that run on the event loop are `around`, those in threads `in_thread`.
    """

    def __init__(self, wanted: Injection | None, seen: Path, ledger: Ledger) -> None:
        self._wanted = wanted
        self._seen = seen.open("a", buffering=1)
        self._ledger = ledger
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    async def around(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """One call on the event loop."""
        fault = self._arrive(name, "loop")
        if fault is None:
            return await call()
        value = None if fault in BEFORE else await call()
        self._strike(fault)
        if fault in CANCELS:
            await _cancel(name)
            raise AssertionError(f"not cancelled, with {value}")
        if fault in LATER:
            await asyncio.sleep(LATE)
        raise StoreUnavailable(f"injected: {self._wanted}")

    def in_thread(self, name: str, call: Callable[[], T]) -> T:
        """One call in a thread, which nobody can cancel."""
        fault = self._arrive(name, "thread")
        if fault is None:
            return call()
        if fault not in BEFORE:
            call()
        self._strike(fault)
        if fault in LATER:
            threading.Event().wait(LATE)
        raise StoreUnavailable(f"injected: {self._wanted}")

    def statement(self, name: str, call: Callable[[], T]) -> T:
        """One statement of SQLite: fails as the disk would make it fail."""
        try:
            return self.in_thread(name, call)
        except StoreUnavailable as error:
            failure = sqlite3.OperationalError(f"disk I/O error ({error})")
            failure.sqlite_errorcode = sqlite3.SQLITE_IOERR
            failure.sqlite_errorname = "SQLITE_IOERR"
            raise failure from error

    def _arrive(self, name: str, where: str) -> Fault | None:
        with self._lock:
            self._counts[name] += 1
            point = Point(name, self._counts[name])
        if point.number <= (MOST_OF_A_LOOP if LOOPS.search(name) else MOST):
            self._seen.write(f"{where}\t{point.name}\t{point.number}\n")
        wanted = self._wanted
        return wanted.fault if wanted is not None and wanted.point == point else None

    def _strike(self, fault: Fault) -> None:
        """Tell the ledger; then, if it is to be, end at this instruction."""
        kills = fault in KILLS
        now = time.monotonic()
        self._ledger.write(
            Kind.FAULT,
            # What other threads write until the signal ends them comes before it.
            time=now + DYING if kills else now,
            fault=str(fault),
            target=os.getpid() if kills else 0,
            asked=now,
        )
        if kills:
            os.kill(os.getpid(), signal.SIGKILL)


async def _cancel(name: str) -> None:
    """Cancel the calling task, as a caller in a hurry would.

    Nobody but the worker itself, when it stops, may cancel its loops: there it is
    something awaited that was cancelled, as a driver may do with what it awaits.
    """
    if OF_THE_WORKER.search(name):
        raise asyncio.CancelledError
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


def read_points(seen: Path) -> dict[Point, str]:
    """The points that a process has seen, and whether each was in loop or thread."""
    points: dict[Point, str] = {}
    for line in seen.read_text().splitlines():
        where, name, number = line.split("\t")
        points[Point(name, int(number))] = where
    return points
