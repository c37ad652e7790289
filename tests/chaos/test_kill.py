"""Worker processes are killed all the time; nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.chaos.conftest import MakeRun
from tests.chaos.fleet import Fleet
from tests.chaos.ledger import Plan
from tests.chaos.schedule import long_run, pause, seeded
from tests.chaos.workload import WIDTH

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

WORKERS = 6
SLOTS = 8
EXECUTIONS = int(2000 * long_run())
SECONDS = 50 * long_run()


async def hunt(fleet: Fleet, chance: random.Random) -> None:
    """Kill a worker every 0.5 to 3 s, or let one in five drain; replace each."""
    while True:
        await pause(chance.uniform(0.5, 3.0))
        ready = [worker for worker in fleet.workers if worker.alive and worker.polls]
        victim = chance.choice(ready[:WORKERS])
        if chance.random() < 0.2:
            fleet.terminate(victim)
        else:
            fleet.kill(victim)
        fleet.start()


@pytest.mark.timeout(180 + 3 * SECONDS)
async def test_killed_workers_lose_nothing(
    make_run: MakeRun, stores: tuple[str, ...]
) -> None:
    chance = seeded("kill")
    async with make_run(*stores, slots=SLOTS, pace=0.15) as run:
        await run.fleet.start_and_wait(WORKERS)
        hunting = asyncio.create_task(hunt(run.fleet, chance))
        await run.feed(range(EXECUTIONS), SECONDS, chance)
        hunting.cancel()
        await asyncio.wait({hunting})
        assert hunting.cancelled(), hunting.exception()

        kills = int(SECONDS / 1.75 * 0.8 * 0.6)
        await run.judge(
            Plan(
                executions=EXECUTIONS,
                faults={"kill": kills, "term": 1},
                mid_step=kills // 2,
                slots=SLOTS,
                width=WIDTH,
            )
        )
