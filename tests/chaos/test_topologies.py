"""Servers that fail over: elections, a promoted replica, one that lost the end."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.conftest import MakeRun
from tests.chaos.schedule import long_run, pause, seeded
from tests.chaos.workload import WIDTH
from tests.conftest import make_or_skip
from tests.topologies import RedisClusterServers, ReplicaSet, WatchedRedis
from worchflow.ledger import Plan

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.redis_mongo,
    pytest.mark.slow,
    pytest.mark.timeout(150 + 60 * long_run()),
]

WORKERS = 3
SLOTS = 6
ROUNDS = max(1, int(long_run()))


async def test_elections_in_a_replica_set_lose_nothing(
    make_run: MakeRun, redis_url: str
) -> None:
    chance = seeded("elections")
    with make_or_skip(ReplicaSet) as members:
        stores = redis_url, members.database_url("chaos")
        async with make_run(*stores, slots=SLOTS, lease_ttl=6.0, timeout=6.0) as run:
            await run.fleet.start_and_wait(WORKERS)
            before = await asyncio.to_thread(members.term)
            for number in range(ROUNDS):
                feeding = asyncio.create_task(
                    run.feed(range(number * 60, (number + 1) * 60), 5, chance)
                )
                await pause(chance.uniform(0.5, 2))
                killed = await run.fault_in_work("election", members.kill_primary)
                await feeding
                await asyncio.to_thread(killed.start)
                await asyncio.to_thread(members.back_in_step)

            await run.judge(
                Plan(
                    executions=60 * ROUNDS,
                    faults={"election": ROUNDS},
                    slots=SLOTS,
                    width=WIDTH,
                )
            )
            after = await asyncio.to_thread(members.term)
            assert after - before >= ROUNDS


async def test_a_promoted_replica_of_a_cluster_loses_nothing(
    make_run: MakeRun, mongo_url: str, prefix: str
) -> None:
    chance = seeded("cluster")
    with make_or_skip(RedisClusterServers) as cluster:
        async with make_run(
            cluster.url, mongo_url, slots=SLOTS, prefix=f"{{{prefix}}}"
        ) as run:
            await run.fleet.start_and_wait(WORKERS)
            for number in range(ROUNDS):
                feeding = asyncio.create_task(
                    run.feed(range(number * 80, (number + 1) * 80), 5, chance)
                )
                await pause(chance.uniform(0.5, 2))
                killed = await run.fault_in_work(
                    "promotion", lambda: cluster.kill_master_of(run.settings.prefix)
                )
                await feeding
                await asyncio.to_thread(killed.start)
                await asyncio.to_thread(cluster.wait_until_whole)

            await run.judge(
                Plan(
                    executions=80 * ROUNDS,
                    faults={"promotion": ROUNDS},
                    slots=SLOTS,
                    width=WIDTH,
                )
            )


async def test_a_failover_that_loses_the_last_writes_loses_no_execution(
    make_run: MakeRun, mongo_url: str
) -> None:
    chance = seeded("failover")
    lost: list[int] = []
    with make_or_skip(WatchedRedis) as watched:

        def fail_over() -> None:
            lost.append(watched.lose(f"{run.settings.prefix}:*"))

        # Sent faster than done, so that there is a queue to lose.
        async with make_run(watched.url, mongo_url, slots=SLOTS, pace=0.2) as run:
            await run.fleet.start_and_wait(WORKERS)
            for number in range(ROUNDS):
                await asyncio.to_thread(watched.cut_the_replica_off)
                await run.feed(range(number * 80, (number + 1) * 80), 1, chance)
                await run.fault("failover", fail_over)
                if number < ROUNDS - 1:
                    await asyncio.to_thread(watched.bring_back)

            await run.judge(
                Plan(
                    executions=80 * ROUNDS,
                    faults={"failover": ROUNDS},
                    slots=SLOTS,
                    width=WIDTH,
                )
            )
    print(f"failover: the promoted replicas lacked {lost} keys")  # noqa: T201
    assert min(lost) > 0, "the replica had everything"
