"""MongoDB crashes, is away or loses its primary; work waits and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest
from pymongo.errors import PyMongoError

from tests.chaos.conftest import MakeRun
from tests.chaos.schedule import long_run, pause, seeded
from tests.chaos.workload import WIDTH, Work
from tests.servers import MongoServer
from worchflow import StoreUnavailable
from worchflow.ledger import Kind, Plan

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.redis_mongo,
    pytest.mark.slow,
    pytest.mark.timeout(150 * long_run()),
]

WORKERS = 3
SLOTS = 8
TTL = 8.0
"""Longer than a restart takes, shorter than the outage."""
START_MONGO = Callable[..., MongoServer]


async def test_a_crashed_mongod_loses_nothing_that_was_accepted(
    make_run: MakeRun, start_mongo: START_MONGO, redis_url: str
) -> None:
    server = start_mongo()
    chance = seeded("crash")
    crashes = int(2 * long_run())

    def crash() -> None:
        server.kill()
        server.start()

    async with make_run(
        redis_url, server.database_url("chaos"), slots=SLOTS, lease_ttl=TTL
    ) as run:
        await run.fleet.start_and_wait(WORKERS)
        feeding = asyncio.create_task(run.feed(range(300), 12, chance))
        for _ in range(crashes):
            await pause(chance.uniform(2, 4))
            await run.fault_in_work("crash", crash)
        await feeding

        await run.judge(
            Plan(executions=300, faults={"crash": crashes}, slots=SLOTS, width=WIDTH)
        )


async def test_an_outage_longer_than_the_lease_is_waited_out(
    make_run: MakeRun, start_mongo: START_MONGO, redis_url: str
) -> None:
    server = start_mongo()
    chance = seeded("outage")
    # Upkeep right after the return: who renews first must not bury the others.
    async with make_run(
        redis_url,
        server.database_url("chaos"),
        slots=SLOTS,
        lease_ttl=TTL,
        timeout=4,
        upkeep=0.05,
    ) as run:
        await run.fleet.start_and_wait(WORKERS + 2)
        await run.feed(range(120), 2, chance)
        await run.fault_in_work("away", server.kill)
        feeding = asyncio.create_task(run.feed(range(120, 160), 5, chance))
        async with asyncio.timeout(run.settings.timeout + 3):
            with pytest.raises(StoreUnavailable) as refused:
                await run.client.send(Work(seed=160), id=run.id("work-160"))
        assert refused.value.execution_id == run.id("work-160")
        await pause(20 - run.settings.timeout)
        await run.fault("back", server.start)
        back = time.monotonic()
        await run.work(160)
        await feeding

        await run.judge(
            Plan(executions=161, faults={"away": 1}, slots=SLOTS, width=WIDTH)
        )
        resumed = min(
            line.time
            for line in run.lines()
            if line.kind is Kind.START and line.time > back
        )
        assert resumed - back <= 10
        assert len(run.refused) > 0


async def test_step_downs_of_the_primary_lose_nothing(
    make_run: MakeRun, start_mongo: START_MONGO, redis_url: str
) -> None:
    server = start_mongo()
    chance = seeded("step down")
    step_downs = int(5 * long_run())

    def step_down() -> None:
        with server.client() as client, contextlib.suppress(PyMongoError):
            # The member closes the connection on which it was told.
            client.admin.command("replSetStepDown", 1, force=True)

    async with make_run(
        redis_url, server.database_url("chaos"), slots=SLOTS, lease_ttl=TTL
    ) as run:
        await run.fleet.start_and_wait(WORKERS)
        before = await asyncio.to_thread(elections, server)
        feeding = asyncio.create_task(run.feed(range(300), 18, chance))
        for _ in range(step_downs):
            await pause(chance.uniform(2, 3.5))
            await run.fault_in_work("step down", step_down)
        await feeding

        await run.judge(
            Plan(
                executions=300,
                faults={"step down": step_downs},
                slots=SLOTS,
                width=WIDTH,
            )
        )
        after = await asyncio.to_thread(elections, server)
        assert after - before >= step_downs


def elections(server: MongoServer) -> int:
    """The election term: it grows with every primary."""
    with server.client() as client:
        status = client.admin.command("replSetGetStatus")
        return int(status["term"])
