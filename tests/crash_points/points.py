"""Finds the points of a store, breaks a process at each, and judges what came of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.crash_points.injection import (
    CANCELS,
    KILLS,
    Fault,
    Injection,
    Point,
    read_points,
)
from tests.crash_points.victim import ENDED, WORKER_ENDED, Place, main
from tests.crash_points.workload import ENDS
from worchflow.ledger import Kind, Ledger, Plan, check, read

LONGEST = 120.0
"""Seconds in which a process has either done its work or ended."""
TRIES = 3
"""Runs in which a point may fail to come up: loops turn as time allows."""

CONTRACT = ("SQLiteBackend.", "RedisMongoBackend.")

_context = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Outcome:
    """What came of one injection. `wrong` is empty where everything was right."""

    injection: Injection
    hit: bool
    healed: bool
    """The process itself went on; else another one took over."""
    wrong: str


class Crashes:
    """Breaks processes on one kind of store, several at a time."""

    def __init__(self, stores: tuple[str, ...], prefix: str, folder: Path) -> None:
        self._stores = stores
        self._prefix = prefix
        self._folder = folder
        self._started = 0
        _context.set_forkserver_preload(["tests.crash_points.victim"])

    async def points(self, runs: int) -> dict[Point, str]:
        """The points of runs in which nothing breaks, as far as all of them had them.

        Only the first on a database makes its indexes, so one goes before; and loops
        turn as time allows: as many should run at once as when points are broken.
        """
        await self._recorded()
        found = await asyncio.gather(*(self._recorded() for _ in range(runs)))
        counts = [Counter(point.name for point in each) for each in found]
        return {
            point: where
            for point, where in found[0].items()
            if point.number <= _certain([each[point.name] for each in counts])
        }

    async def _recorded(self) -> dict[Point, str]:
        place = self._place()
        code = await self._run(place, None, place.seen)
        wrong = _judge(place)
        if code != ENDED or wrong:
            raise AssertionError(_told(place, f"without a fault: exit {code}; {wrong}"))
        return read_points(place.seen)

    async def break_all(
        self, injections: Iterable[Injection], at_once: int
    ) -> list[Outcome]:
        """Break one process for each injection."""
        gate = asyncio.Semaphore(at_once)

        async def one(injection: Injection) -> Outcome:
            async with gate:
                return await self._break(injection)

        return list(await asyncio.gather(*map(one, injections)))

    async def _break(self, injection: Injection) -> Outcome:
        for _ in range(TRIES):
            place = self._place()
            code = await self._run(place, injection, place.seen)
            if _hit(place):
                break
            if code != ENDED:
                return Outcome(injection, False, False, _told(place, f"exit {code}"))
        else:
            return Outcome(injection, hit=False, healed=True, wrong="")
        healed = code == ENDED
        wrong = ""
        if code not in _expected(injection.fault):
            wrong = f"it neither went on nor ended: exit code {code}; "
        if not healed:
            rescue = await self._rescue(place)
            if rescue != ENDED:
                wrong += f"the next process ended with {rescue}; "
        wrong += _judge(place)
        return Outcome(injection, True, healed, _told(place, wrong) if wrong else "")

    async def _rescue(self, place: Place) -> int:
        """Start the next process, again if it could not start, as a supervisor does."""
        code = WORKER_ENDED
        for number in range(TRIES):
            code = await self._run(place, None, place.folder / f"seen by next {number}")
            if code != WORKER_ENDED:
                break
        return code

    async def _run(self, place: Place, injection: Injection | None, seen: Path) -> int:
        """Run a process to its end; its exit code, None of which means too late."""
        log = place.folder / f"{seen.name}.log"
        process = _context.Process(
            target=main, args=(place, injection, seen, log), daemon=True
        )
        process.start()
        try:
            await _ended(process)
        finally:
            if process.is_alive():
                process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode

    def _place(self) -> Place:
        self._started += 1
        folder = self._folder / f"{self._started:04}"
        folder.mkdir()
        stores = tuple(store.replace("FOLDER", str(folder)) for store in self._stores)
        return Place(stores, f"{self._prefix}-{self._started}", folder)


def _certain(counts: Sequence[int]) -> int:
    """How many calls of a name come up in any run, after so many in some.

    Where that differs it depends on how long a run takes: half of the fewest, or one.
    """
    fewest = min(counts)
    return fewest if fewest == max(counts) else max(min(fewest, 1), fewest // 2)


def faults_of(point: Point, where: str) -> list[Fault]:
    """The faults that can happen at a point.

    A thread cannot be cancelled, nor can what runs behind the contract: its tasks are
    the backend's own, and a cancellation reaches them through the contract alone.
    """
    if where == "loop" and point.name.startswith(CONTRACT):
        return list(Fault)
    return [fault for fault in Fault if fault not in CANCELS]


def _expected(fault: Fault) -> tuple[int, ...]:
    return (-9,) if fault in KILLS else (ENDED, WORKER_ENDED)


def _hit(place: Place) -> bool:
    return any(line.kind is Kind.FAULT for line in read(place.ledger)[0])


def _judge(place: Place) -> str:
    """What the ledger says is wrong; nothing if all is right."""
    ledger = Ledger(place.ledger)
    ledger.plan(Plan(executions=len(ENDS), drained_within=None))
    ledger.calm()
    ledger.close()
    report = check(*read(place.ledger))
    return "" if report.passed else str(report)


def _told(place: Place, wrong: str) -> str:
    logs = "\n".join(
        f"--- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        for log in sorted(place.folder.glob("*.log"))
    )
    return f"{wrong}\n{logs}"


async def _ended(process: ForkServerProcess) -> None:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    # A copy, for the process closes its own when it is joined.
    sentinel = os.dup(process.sentinel)
    loop.add_reader(sentinel, lambda: ended.done() or ended.set_result(None))
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                await ended
    finally:
        loop.remove_reader(sentinel)
        os.close(sentinel)
