"""Connections that are slow, deaf, mute or torn: calls end in time, work continues."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.run import Run
from tests.chaos.schedule import long_run, pause, seeded
from tests.chaos.settings import Settings
from tests.chaos.workload import WIDTH
from tests.toxic_proxy import Toxic, ToxicProxy
from tests.waiting import until
from worchflow.ledger import Plan

pytestmark = [pytest.mark.chaos, pytest.mark.redis_mongo, pytest.mark.slow]

WORKERS = 2
SLOTS = 6
SECONDS = 1.0 * long_run()
"""For which each toxic works, and longer where nothing has passed until then."""
LEASE = max(20.0, 4 * SECONDS)
"""Nobody is cut off for so long: who loses a lease here would lose it for nothing."""


@pytest.mark.timeout(120 + 60 * SECONDS)
async def test_spoiled_connections_lose_nothing(
    redis_url: str, mongo_url: str, prefix: str, tmp_path: Path
) -> None:
    chance = seeded("toxics")
    with ExitStack() as stack:
        redis = stack.enter_context(ToxicProxy(port_of(redis_url)))
        mongo = stack.enter_context(ToxicProxy(port_of(mongo_url)))
        # Directly, or the driver would find the server behind the proxy.
        direct = f"{mongo_url.partition('?')[0]}?directConnection=true"
        ways = {
            "redis": (redis, (through(redis, redis_url), mongo_url)),
            "mongo": (mongo, (redis_url, through(mongo, direct))),
        }
        async with asyncio.TaskGroup() as group:
            for name, (proxy, stores) in ways.items():
                folder = tmp_path / name
                folder.mkdir()
                settings = Settings(
                    stores=stores,
                    prefix=f"{prefix}-{name}",
                    ledger=str(folder / "ledger"),
                    lease_ttl=LEASE,
                    timeout=2.0,
                    slots=SLOTS,
                )
                run = Run(settings, folder)
                group.create_task(spoil(run, name, proxy, chance))


async def spoil(run: Run, name: str, proxy: ToxicProxy, chance: random.Random) -> None:
    """Set one toxic after the other while work continues."""
    toxics = list(Toxic)
    chance.shuffle(toxics)
    executions = 20 * len(toxics)
    async with run:
        await run.fleet.start_and_wait(WORKERS)
        seconds = len(toxics) * (SECONDS + 0.5)
        feeding = asyncio.create_task(run.feed(range(executions), seconds, chance))
        for toxic in toxics:
            await run.more_work()
            with run.ledger.fault(f"{name}: {toxic}"):
                proxy.toxic = toxic
                await pause(SECONDS)
                await until(partial(hit, proxy, toxic), 10)
                proxy.toxic = None
            await pause(0.5)
        await feeding

        await run.judge(
            Plan(
                executions=executions,
                faults={f"{name}: {toxic}": 1 for toxic in toxics},
                slots=SLOTS,
                width=WIDTH,
                drained_within=60,
            )
        )


def hit(proxy: ToxicProxy, toxic: Toxic) -> bool:
    return proxy.hits[toxic] > 0


def port_of(url: str) -> int:
    return int(url.partition("127.0.0.1:")[2].partition("/")[0])


def through(proxy: ToxicProxy, url: str) -> str:
    return url.replace(f":{port_of(url)}/", f":{proxy.port}/")
