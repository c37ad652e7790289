"""Each kind of fault once, in seconds: real processes, real servers, a ledger.

`tests/chaos` has the same faults many times over and at random moments. Here each
comes at a moment that a condition decides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
import redis
from pymongo.errors import PyMongoError

from tests.chaos.conftest import MakeRun
from tests.chaos.fleet import NEW_IDENTITY, WorkerProcess
from tests.chaos.run import Run, replace_the_dead
from tests.chaos.troublemakers import HERE, Freeze, Point, Poison, freezing_result
from tests.chaos.workload import WIDTH
from tests.servers import MongoServer, RedisServer
from tests.waiting import until
from worchflow.ledger import Kind, Plan

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

LEASE = 4.0
"""Long enough that a busy machine does not end it, short enough to wait for."""
SLOTS = 4
WAIT = 60.0
"""Seconds after which what has to come will not come any more."""

StartRedis = Callable[..., RedisServer]
StartMongo = Callable[..., MongoServer]


async def sent(run: Run, count: int, first: int = 0) -> None:
    """Send so many executions of the workload at once."""
    await asyncio.gather(*(run.work(seed) for seed in range(first, first + count)))


def steps_done(run: Run) -> int:
    """How many steps have a recorded result that their handler had."""
    return sum(line.kind is Kind.ACKED for line in run.lines())


async def at_the_point(workers: list[WorkerProcess]) -> WorkerProcess:
    """The worker that waits where it was told to."""

    def waiting() -> list[WorkerProcess]:
        return [worker for worker in workers if HERE in worker.text]

    (found,) = await until(waiting, WAIT)
    return found


@pytest.mark.parametrize("point", [Point.INSIDE, Point.CHECKPOINT, Point.SETTLEMENT])
async def test_a_worker_killed_at_its_work(
    make_run: MakeRun, stores: tuple[str, ...], point: Point
) -> None:
    async with make_run(*stores, slots=SLOTS, lease_ttl=LEASE) as run:
        workers = await run.fleet.start_and_wait(2)
        await sent(run, 10)
        await run.send(
            run.id("freeze"), Freeze(point=point, seed=1), freezing_result(1)
        )
        victim = await at_the_point(workers)
        run.fleet.kill(victim)
        await run.fleet.start_and_wait(1)
        await sent(run, 10, first=10)

        await run.judge(
            Plan(
                executions=21,
                faults={"kill": 1},
                mid_step=int(point is Point.INSIDE),
                slots=SLOTS,
                width=WIDTH,
                drained_within=WAIT,
            )
        )


@pytest.mark.parametrize("point", [Point.INSIDE, Point.SETTLEMENT])
async def test_a_worker_frozen_for_longer_than_its_lease(
    make_run: MakeRun, stores: tuple[str, ...], point: Point
) -> None:
    async with make_run(*stores, slots=SLOTS, lease_ttl=LEASE, pace=0.02) as run:
        workers = await run.fleet.start_and_wait(2)
        name = run.id("freeze")
        await run.send(name, Freeze(point=point, seed=1), freezing_result(1))
        zombie = await at_the_point(workers)
        await run.fleet.freeze(zombie)
        handle = run.client.handle(name)
        assert await handle.result(timeout=WAIT) == freezing_result(1)

        run.fleet.resume(zombie)
        await until(lambda: NEW_IDENTITY in zombie.text, WAIT)
        await sent(run, 10)

        await run.judge(
            Plan(
                executions=11,
                faults={"stop": 1, "cont": 1},
                mid_step=int(point is Point.INSIDE),
                slots=SLOTS,
                width=WIDTH,
                drained_within=WAIT,
            )
        )


@pytest.mark.redis_mongo
async def test_a_redis_that_loses_everything(
    make_run: MakeRun, start_redis: StartRedis, mongo_url: str
) -> None:
    server = start_redis()

    def wipe() -> None:
        with redis.Redis.from_url(server.url) as client:
            client.flushall()

    async with make_run(
        server.url, mongo_url, slots=SLOTS, lease_ttl=LEASE, pace=0.05
    ) as run:
        await sent(run, 60)
        await run.fault("wiped before anybody claimed", wipe)
        await run.fleet.start_and_wait(2)
        await until(lambda: steps_done(run) > 60, WAIT)
        await run.fault("wiped at work", wipe)
        await sent(run, 10, first=60)

        await run.judge(
            Plan(
                executions=70,
                faults={"wiped at work": 1},
                slots=SLOTS,
                width=WIDTH,
                drained_within=WAIT,
            )
        )


@pytest.mark.redis_mongo
async def test_a_primary_that_steps_down(
    make_run: MakeRun, start_mongo: StartMongo, redis_url: str
) -> None:
    server = start_mongo()

    def step_down() -> None:
        with server.client() as client, contextlib.suppress(PyMongoError):
            # The member closes the connection on which it was told.
            client.admin.command("replSetStepDown", 1, force=True)

    def term() -> int:
        with server.client() as client:
            return int(client.admin.command("replSetGetStatus")["term"])

    # Longer than an election takes.
    async with make_run(
        redis_url, server.database_url("faults"), slots=SLOTS, lease_ttl=3 * LEASE
    ) as run:
        await run.fleet.start_and_wait(2)
        before = await asyncio.to_thread(term)
        await sent(run, 40)
        await until(lambda: steps_done(run) > 10, WAIT)
        await run.fault("step down", step_down)
        await sent(run, 10, first=40)

        await run.judge(
            Plan(
                executions=50,
                faults={"step down": 1},
                slots=SLOTS,
                width=WIDTH,
                drained_within=WAIT,
            )
        )
        assert await asyncio.to_thread(term) > before


async def test_a_payload_that_kills_its_workers(
    make_run: MakeRun, stores: tuple[str, ...]
) -> None:
    async with make_run(
        *stores, slots=SLOTS, lease_ttl=LEASE, quarantine_deaths=1
    ) as run:
        await run.fleet.start_and_wait(2)
        replacing = asyncio.create_task(replace_the_dead(run))
        await run.send(run.id("poison"), Poison(), None, error="poison")
        await sent(run, 15)

        await run.judge(
            Plan(
                executions=16,
                faults={"death": 3},
                mid_step=3,
                slots=SLOTS,
                width=WIDTH,
                drained_within=2 * WAIT,
            )
        )
        replacing.cancel()
        await asyncio.wait({replacing})
        assert replacing.cancelled(), replacing.exception()
