"""Redis is wiped, restarted, away or full; that delays work and loses none."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.chaos.conftest import MakeRun
from tests.chaos.run import Run
from tests.chaos.schedule import long_run, pause, seeded
from tests.chaos.workload import WIDTH
from tests.servers import RedisServer
from tests.waiting import until
from worchflow.ledger import Kind, Line, Plan

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.redis_mongo,
    pytest.mark.slow,
    pytest.mark.timeout(150 * long_run()),
]

WORKERS = 3
SLOTS = 8
EXECUTIONS = int(400 * long_run())
SECONDS = 16 * long_run()
START_REDIS = Callable[..., RedisServer]


def send_to(server: RedisServer, *command: Any) -> Callable[[], object]:
    """A command to the server as an injection."""

    def send() -> object:
        with redis.Redis.from_url(server.url) as client:
            return client.execute_command(*command)

    return send


def crash(server: RedisServer) -> None:
    server.kill()
    server.start()


async def inject(
    run: Run, chance: random.Random, faults: list[tuple[str, Callable[[], object]]]
) -> int:
    """Inject each fault once, in random order, spread over the time of the run.

    Returns how many executions waited in the queue at most when a fault hit it.
    """
    chance.shuffle(faults)
    waiting = 0
    for name, act in faults:
        await pause(SECONDS / (len(faults) + 1) * chance.uniform(0.6, 1.2))
        waiting = max(waiting, await asyncio.to_thread(queue_length, run))
        await run.fault_in_work(name, act)
    return waiting


def queue_length(run: Run) -> int:
    with redis.Redis.from_url(run.settings.stores[0]) as client:
        return int(client.llen(f"{run.settings.prefix}:queue"))


@pytest.mark.parametrize("kept", [True, False], ids=["with AOF", "without AOF"])
async def test_a_wiped_or_restarted_redis_loses_nothing(
    make_run: MakeRun, start_redis: START_REDIS, mongo_url: str, kept: bool
) -> None:
    server = start_redis(appendonly=kept)
    chance = seeded("wiped")
    faults: dict[str, Callable[[], object]] = {
        "flushall": send_to(server, "FLUSHALL"),
        "script flush": send_to(server, "SCRIPT", "FLUSH"),
        "crash": lambda: crash(server),
        "cut off": send_to(server, "CLIENT", "KILL", "TYPE", "normal"),
    }
    counts = {"flushall": 3, "script flush": 2, "crash": 2, "cut off": 1}
    # Sent much faster than done, so that there is a queue to lose.
    async with make_run(server.url, mongo_url, slots=SLOTS, pace=0.2) as run:
        await run.fleet.start_and_wait(WORKERS)
        _, waiting = await asyncio.gather(
            run.feed(range(EXECUTIONS), SECONDS / 3, chance),
            inject(
                run,
                chance,
                [(n, faults[n]) for n, c in counts.items() for _ in range(c)],
            ),
        )

        await run.judge(
            Plan(
                executions=EXECUTIONS,
                faults=counts,
                slots=SLOTS,
                width=WIDTH,
                drained_within=60 * long_run(),
            )
        )
        assert waiting >= 20, "no fault hit a queue worth losing"


async def test_work_goes_on_while_redis_is_away(
    make_run: MakeRun, start_redis: START_REDIS, mongo_url: str
) -> None:
    server = start_redis(appendonly=True)
    chance = seeded("away")
    async with make_run(server.url, mongo_url, slots=SLOTS) as run:
        await run.fleet.start_and_wait(WORKERS)
        await run.feed(range(50), 2, chance)
        await run.fault_in_work("away", server.kill)
        since = time.monotonic()
        feeding = asyncio.create_task(run.feed(range(50, 250), 8, chance))
        await pause(10)
        # A busy machine takes longer.
        await until(lambda: len(finished(run.lines(), since)) >= 20, 60)
        await run.fault("back", server.start)
        await feeding

        await run.judge(
            Plan(executions=250, faults={"away": 1}, slots=SLOTS, width=WIDTH)
        )


def finished(lines: list[Line], since: float) -> set[str]:
    """What was sent after that and has run its last step."""
    sent = {
        line.execution
        for line in lines
        if line.kind is Kind.ACCEPTED and line.time > since
    }
    return sent & {
        line.execution
        for line in lines
        if line.kind is Kind.ACKED and line.step == "Total"
    }


async def test_a_full_redis_is_drained(
    make_run: MakeRun, start_redis: START_REDIS, mongo_url: str
) -> None:
    server = start_redis(
        args=("--maxmemory", "8mb", "--maxmemory-policy", "noeviction")
    )
    chance = seeded("full")

    def fill() -> None:
        """Store junk until not even a small value fits."""
        with redis.Redis.from_url(server.url) as client:
            for size in (100_000, 1000, 10):
                try:
                    for _ in range(100_000):
                        client.rpush("junk", "x" * size)
                except redis.exceptions.OutOfMemoryError:
                    continue

    async with make_run(server.url, mongo_url, slots=SLOTS) as run:
        await run.fleet.start_and_wait(WORKERS)
        await run.feed(range(100), 2, chance)
        await run.fault_in_work("full", fill)
        await run.feed(range(100, 200), 4, chance)

        await run.judge(
            Plan(executions=200, faults={"full": 1}, slots=SLOTS, width=WIDTH)
        )
        with redis.Redis.from_url(server.url) as client:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                client.set("one more", "x" * 200_000)
            assert client.llen(f"{run.settings.prefix}:queue") == 0
