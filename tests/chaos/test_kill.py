"""Worker processes are killed all the time; nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from tests.chaos.conftest import MakeRun
from tests.chaos.fleet import Fleet
from tests.chaos.run import Run
from tests.chaos.schedule import long_run, pause, seeded
from tests.chaos.workload import WIDTH
from worchflow.ledger import Plan

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

WORKERS = 6
SLOTS = 8
SECONDS = 50 * long_run()
EXECUTIONS = 2_000
TTL = 3.0 if long_run() == 1 else 10.0
"""A long run has to live with whatever else its machine does meanwhile: with thirty
programs for each processor, a commit may take longer than a lease of three seconds."""
KILLS = int(SECONDS / 1.75 * 0.8 * 0.6)
"""Six tenths of those that `hunt` would make of workers that start at once."""
DEATHS = 1000
"""Where workers are killed all the time, seven deaths of one execution are chance."""
MOST_WAITING = 300
"""Of a long run, which sends as much as the machine does."""


async def hunt(fleet: Fleet, chance: random.Random) -> None:
    """Kill a worker every 0.5 to 3 s, or let one in five drain; replace each."""
    while True:
        await pause(chance.uniform(0.5, 3.0))
        # Each that drains has its successor already.
        workers = [each for each in fleet.workers if not each.told_to_end]
        ready = [worker for worker in workers if worker.alive and worker.polls]
        if len(ready) < WORKERS // 2:
            continue  # a busy machine starts them more slowly than they are killed
        victim = chance.choice(ready)
        if chance.random() < 0.2:
            fleet.terminate(victim)
        else:
            fleet.kill(victim)
        fleet.start()


def enough(run: Run, hunting: asyncio.Task[None]) -> Callable[[], bool]:
    """Whether a long run has shown what it is to show; a busy machine takes longer."""
    end = time.monotonic() + SECONDS

    def is_enough() -> bool:
        return hunting.done() or (
            time.monotonic() > end
            and len(run.accepted) >= EXECUTIONS
            # Some hit a worker that has only just begun.
            and run.fleet.hits["kill"] > KILLS * 1.2
        )

    return is_enough


@pytest.mark.timeout(180 + 6 * SECONDS)
async def test_killed_workers_lose_nothing(
    make_run: MakeRun, stores: tuple[str, ...]
) -> None:
    chance = seeded("kill")
    async with make_run(
        *stores, slots=SLOTS, pace=0.15, lease_ttl=TTL, quarantine_deaths=DEATHS
    ) as run:
        await run.fleet.start_and_wait(WORKERS)
        hunting = asyncio.create_task(hunt(run.fleet, chance))
        if long_run() > 1:
            await run.feed_until(enough(run, hunting), MOST_WAITING)
        else:
            await run.feed(range(EXECUTIONS), SECONDS, chance)
        hunting.cancel()
        await asyncio.wait({hunting})
        assert hunting.cancelled(), hunting.exception()

        await run.judge(
            Plan(
                executions=EXECUTIONS,
                faults={"kill": KILLS, "term": 1},
                mid_step=KILLS // 2,
                slots=SLOTS,
                width=WIDTH,
            )
        )
