"""One chaos run: sends work, waits for its end, and has the ledger judged."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.chaos.fleet import Fleet
from tests.chaos.records import record
from tests.chaos.schedule import pause
from tests.chaos.settings import Settings
from tests.chaos.workload import Work, model
from tests.waiting import until
from worchflow import (
    Execution,
    ExecutionNotFound,
    ExecutionStatus,
    StoreUnavailable,
    WorchflowClient,
)
from worchflow.ledger import Kind, Ledger, Line, Plan, Report, check, read

T = TypeVar("T")

LIVE = ("queued", "processing", "retrying")
WORK_AT_A_FAULT = 30
AT_ONCE = 8
"""Sends and reads in the air."""


class Run:
    """The sending and judging side of a chaos run; `fleet` is the working side."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.ledger)
        self.fleet = Fleet(settings, self.ledger, folder)
        self.client: WorchflowClient[Any] = WorchflowClient(backend=settings.backend())
        self.refused: list[StoreUnavailable] = []
        """Sends of unknown outcome, which were sent again."""
        self.accepted: list[str] = []
        self._extra_seeds = count(1_000_000)
        self._began = time.monotonic()

    async def __aenter__(self) -> Self:
        await self.client.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fleet.__exit__()
        await self.client.close()
        self.ledger.close()

    def id(self, name: str) -> str:
        """An id no other run on the same database has."""
        return f"{self.settings.prefix.strip('{}')}.{name}"

    async def send(
        self,
        id: str,
        message: Any,
        result: Any,
        *,
        attempts: int = 0,
        error: str | None = None,
    ) -> None:
        """Send until it is accepted; tell the ledger what it has to end with."""
        while True:
            try:
                await self.client.send(message, id=id)
            except StoreUnavailable as refused:
                self.refused.append(refused)
                await pause(0.2)
            else:
                break
        self.accepted.append(id)
        self.ledger.write(
            Kind.ACCEPTED,
            execution=id,
            status="failed" if error else "completed",
            value={"result": result, "error": error, "attempts": attempts},
        )

    async def feed(
        self, seeds: Iterable[int], seconds: float, chance: random.Random
    ) -> None:
        """Send work over about this time: alone, in bursts, and with breaks."""
        waiting = list(seeds)
        rate = len(waiting) / seconds
        while waiting:
            burst = chance.choice((1, 2, 5, 20))
            some, waiting = waiting[:burst], waiting[burst:]
            await asyncio.gather(*(self.work(seed) for seed in some))
            await pause(len(some) / rate)

    async def feed_until(self, enough: Callable[[], bool], most: int) -> None:
        """Send as much as is done, with up to `most` on its way, until it is enough."""
        seeds = count()
        while not enough():
            live = await self._live()
            for _ in range(0, most - live, AT_ONCE):
                some = [next(seeds) for _ in range(AT_ONCE)]
                await asyncio.gather(*(self.work(seed) for seed in some))
            await pause(1)

    async def _live(self) -> int:
        try:
            counts = await self.client.counts()
        except StoreUnavailable:
            return 0
        return sum(counts[ExecutionStatus(status)] for status in LIVE)

    async def work(self, seed: int) -> None:
        """Send one execution of the workload."""
        result, attempts = model(seed)
        await self.send(
            self.id(f"work-{seed}"), Work(seed=seed), result, attempts=attempts
        )

    async def more_work(self) -> None:
        """Send a burst beside the rest, so that what comes right after hits some."""
        some = [next(self._extra_seeds) for _ in range(WORK_AT_A_FAULT)]
        await asyncio.gather(*(self.work(seed) for seed in some))

    async def fault_in_work(self, name: str, inject: Callable[[], T]) -> T:
        """Inject a fault right after sending work, so that it hits some."""
        await self.more_work()
        return await self.fault(name, inject)

    async def fault(self, name: str, inject: Callable[[], T]) -> T:
        """Inject a fault into a store and tell the ledger; returns what it gave."""
        with self.ledger.fault(name):
            return await asyncio.to_thread(inject)

    def lines(self) -> list[Line]:
        """The ledger so far."""
        return read(self.settings.ledger)[0]

    async def drained(self, timeout: float) -> None:
        """Wait until nothing live is left, and tell the ledger."""
        await until(self._nothing_live, timeout)
        self.ledger.write(Kind.DRAINED)

    async def judge(self, plan: Plan) -> Report:
        """End the chaos, wait for the work, read the stores and judge the ledger.

        Fails the test with the report, the ledger's place and the ends of the logs
        unless every promise was kept and the plan was met.
        """
        self.ledger.plan(plan)
        self.ledger.calm()
        try:
            await self.drained(plan.drained_within)
        except AssertionError as error:
            print(error)  # noqa: T201 - beside the report
        await self._read_the_stores()
        report = check(*read(self.settings.ledger))
        print(report)  # noqa: T201 - the figures of a run that passed
        record(
            {
                "ledger": self.settings.prefix,
                "seconds": round(time.monotonic() - self._began),
                "violations": len(report.violations),
                "doubts": len(report.doubts),
                **report.figures,
            }
        )
        if not report.passed:
            ledger = self.settings.ledger
            raise AssertionError(f"{self.fleet.tails()}\n{ledger}\n{report}")
        return report

    async def _nothing_live(self) -> bool:
        await pause(0.1)
        try:
            pages = [await self.client.list(status=s, limit=1) for s in LIVE]
            if any(page.items for page in pages):
                return False
            # What is taken back between two of these looks is seen by neither.
            return all(await self._for_each_accepted(self._has_ended))
        except StoreUnavailable:
            return False

    async def _has_ended(self, id: str) -> bool:
        try:
            return (await self.client.get(id)).status.is_terminal
        except ExecutionNotFound:
            return True  # and lost, as the ledger will tell

    async def _for_each_accepted(self, do: Callable[[str], Awaitable[T]]) -> list[T]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(id: str) -> T:
            async with gate:
                return await do(id)

        return await asyncio.gather(*map(one, self.accepted))

    async def _read_the_stores(self) -> None:
        async def one(id: str) -> None:
            while True:
                try:
                    return await self._read(id)
                except StoreUnavailable:
                    await pause(0.2)

        await self._for_each_accepted(one)

    async def _read(self, id: str) -> None:
        try:
            execution = await self.client.get(id)
            steps = await self.client.steps(id)
        except ExecutionNotFound:
            self.ledger.write(Kind.ENDED, execution=id, status="missing")
            return
        self.ledger.write(
            Kind.ENDED, execution=id, status=execution.status, value=_end(execution)
        )
        for step in steps:
            run, name = step.result["run"], step.result["step"]
            self.ledger.write(Kind.STORED, execution=id, step=name, value=run)


def _end(execution: Execution) -> dict[str, Any]:
    return {
        "result": execution.result,
        "error": execution.error.type if execution.error else None,
        "attempts": execution.attempt_count,
    }


async def replace_the_dead(run: Run) -> None:
    """Start a worker for each that has died, as a supervisor would."""
    told: set[int] = set()
    while True:
        seen_alive = time.monotonic()
        await pause(0.05)
        for worker in list(run.fleet.workers):
            if not worker.alive and worker.pid not in told:
                told.add(worker.pid)
                assert worker.exit_code == -signal.SIGABRT, worker.text
                run.fleet.died(worker, seen_alive)
                run.fleet.start()
