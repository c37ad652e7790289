"""Executions and reconnects in one worker: what it holds comes back to where it was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import redis

from tests.chaos.fleet import WorkerProcess
from tests.chaos.records import record
from tests.chaos.schedule import pause
from tests.chaos.settings import Settings
from tests.chaos.test_toxics import port_of, through
from tests.soak import worker_process
from tests.soak.workload import Drop
from tests.toxic_proxy import ToxicProxy
from tests.waiting import until
from worchflow import ExecutionStatus, StoreUnavailable, WorchflowClient

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

SCALE = float(os.environ.get("WORCHFLOW_SOAK_SCALE", "1"))
EXECUTIONS = int(1000 * SCALE)
RECONNECTS = max(20, int(5 * SCALE))
SPARE = 2 if SCALE > 1 else 6
"""How many connections more there may be: pools grow with what is asked at once, which
a short run has hardly seen. One more for each cut would be twice as many even there."""
ROUNDS = 3 if SCALE == 1 else 20
"""Between two of them the worker rests and is looked at."""
WARM = ROUNDS // 4
"""The round after which everything that is made when it is first needed is there."""
SLOTS = 20
THREADS = 2 * SLOTS + 10
"""A worker's threads are started when they are needed, so many at most, and stay."""
BATCH = 100
REST = 4
"""Looks in a row, half a second apart, that see no more come: it is at rest."""
PER_THOUSAND = 1024
"""Bytes by which each thousand executions may let a worker grow."""
FINISHED_TTL = 2.0
LASTING = frozenset({"epoch", "functions", "workers"})
"""Kinds of keys that have no end."""


@dataclass(frozen=True)
class Sample:
    """What a worker at rest holds; `connections` to the servers."""

    memory: int
    objects: int
    descriptors: int
    threads: int
    tasks: int
    connections: int = 0

    @property
    def rest(self) -> int:
        """Descriptors of anything but connections to the servers."""
        return self.descriptors - self.connections

    def more_than(self, before: Sample, spare: int) -> list[str]:
        """What is counted one by one and has grown by more than `spare`."""
        return [
            f"{name}: {getattr(before, name)}, now {getattr(self, name)}"
            for name in ("descriptors", "tasks", "connections")
            if getattr(self, name) > getattr(before, name) + spare
        ]


class Soak:
    """One worker, whose way to its servers can be cut; the client's cannot."""

    def __init__(
        self,
        settings: Settings,
        stores: tuple[str, ...],
        proxies: list[ToxicProxy],
        folder: Path,
    ) -> None:
        self.settings = settings
        self.proxies = proxies
        self.sent = 0
        own = replace(settings, stores=stores)
        self.client: WorchflowClient[Any] = WorchflowClient(backend=own.backend())
        self.worker = WorkerProcess(
            settings, folder / "worker.log", work=worker_process.main
        )

    async def send(self, count: int) -> None:
        """Send so many more."""
        end = self.sent + count
        while self.sent < end:
            some = range(self.sent, min(end, self.sent + BATCH))
            await asyncio.gather(*map(self._send, some))
            self.sent = some.stop

    async def _send(self, number: int) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self.client.send(
                    Drop(number=number), id=f"{self.settings.prefix}.{number}"
                )
                return
            await pause(0.1)

    async def done(self) -> bool:
        """Whether everything that was sent has completed."""
        await pause(0.2)
        try:
            counts = await self.client.counts()
        except StoreUnavailable:
            return False
        return counts[ExecutionStatus.COMPLETED] == self.sent

    async def sample(self) -> Sample:
        """Ask the worker what it holds."""
        samples = Path(self.settings.ledger)
        seen = len(read(samples))
        self.worker.signal(signal.SIGUSR1)
        await until(lambda: len(read(samples)) > seen, 30)
        connections = sum(proxy.connections for proxy in self.proxies)
        return replace(read(samples)[-1], connections=connections)

    async def at_rest(self) -> Sample:
        """What it holds once no more comes, and what is not needed has gone."""
        found = await self.sample()
        unchanged = 0
        for _ in range(40):
            if unchanged == REST:
                break
            await pause(0.5)
            before, found = found, await self.sample()
            same = not found.more_than(before, 0) and not before.more_than(found, 0)
            unchanged = unchanged + 1 if same else 0
        return found

    async def close(self) -> None:
        """End the worker and the client."""
        self.worker.end(signal.SIGKILL)
        await self.client.close()


def read(samples: Path) -> list[Sample]:
    if not samples.exists():
        return []
    lines = samples.read_text().splitlines()
    return [Sample(**json.loads(line)) for line in lines]


@pytest.mark.redis_mongo
@pytest.mark.timeout(120 + 60 * SCALE)
async def test_a_worker_holds_no_more_after_executions_and_reconnects(
    redis_url: str, mongo_url: str, prefix: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(ToxicProxy(port_of(url)))
            for url in (redis_url, mongo_url)
        ]
        direct = f"{mongo_url.partition('?')[0]}?directConnection=true"
        stores = through(proxies[0], redis_url), through(proxies[1], direct)
        run = Soak(
            settings(stores, prefix, tmp_path),
            (redis_url, mongo_url),
            proxies,
            tmp_path,
        )
        samples = await soak(run)
        cuts = sum(proxy.cuts for proxy in proxies)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        await until(lambda: kinds(client, prefix) <= LASTING, 30)
        left = len(list(client.scan_iter(match=f"{prefix}:*", count=1000)))
    judge(samples, {"reconnects": cuts, "keys left in Redis": left})
    assert cuts >= RECONNECTS


@pytest.mark.timeout(120 + 60 * SCALE)
async def test_a_worker_on_a_file_holds_no_more_after_executions(
    prefix: str, tmp_path: Path
) -> None:
    stores = (f"sqlite:///{tmp_path}/worchflow.db",)
    run = Soak(settings(stores, prefix, tmp_path), stores, [], tmp_path)
    judge(await soak(run), {})


def settings(stores: tuple[str, ...], prefix: str, folder: Path) -> Settings:
    return Settings(
        stores=stores,
        prefix=prefix,
        ledger=str(folder / "samples"),
        # Long enough to outlast any cut; its beat comes often enough to be seen.
        lease_ttl=10.0,
        timeout=5.0,
        slots=SLOTS,
        finished_ttl=FINISHED_TTL,
    )


def kinds(client: redis.Redis, prefix: str) -> set[str]:
    """What kinds of keys there are under the prefix."""
    found = client.scan_iter(match=f"{prefix}:*", count=1000)
    return {key.split(":")[1] for key in found}


async def soak(run: Soak) -> list[Sample]:
    """Samples of the resting worker, one for each round."""
    samples: list[Sample] = []
    reconnects = iter(range(RECONNECTS if run.proxies else 0))
    try:
        await until(lambda: run.worker.polls, 60)
        for number in range(ROUNDS):
            sending = asyncio.create_task(run.send(EXECUTIONS // ROUNDS))
            for _ in range(-(-RECONNECTS // ROUNDS)):
                if (cut := next(reconnects, None)) is not None:
                    await cut_off(run.proxies[cut % len(run.proxies)])
            await sending
            await until(run.done, 60 + 10 * SCALE)
            rest = number in (WARM, ROUNDS - 1)
            if rest:
                # So that what the last cut closed is open again.
                await run.send(BATCH)
                await until(run.done, 60)
            samples.append(await (run.at_rest() if rest else run.sample()))
        assert run.worker.alive
        return samples
    finally:
        await run.close()


async def cut_off(proxy: ToxicProxy) -> None:
    """Cut the worker off once it is connected, which it may have to be again."""
    await until(lambda: proxy.connections and proxy.cut(), 30)


def judge(samples: list[Sample], figures: dict[str, int]) -> None:
    """Compare the worker at the end with the warm one."""
    warm, last = samples[WARM], samples[-1]
    memory = [sample.memory for sample in samples]
    growth = trend(memory[WARM:]) / (EXECUTIONS / ROUNDS / 1000)
    told = {
        "executions": EXECUTIONS // ROUNDS * ROUNDS,
        **figures,
        "bytes grown for each thousand": round(growth),
        "memory": memory,
        "warm": asdict(warm),
        "last": asdict(last),
    }
    print(told)  # noqa: T201
    record(told)
    assert last.more_than(warm, SPARE) == []
    assert last.rest <= warm.rest + 2
    assert last.tasks <= warm.tasks + 2
    assert last.threads <= THREADS
    if SCALE > 1:
        assert last.objects < warm.objects * 1.01
        steps = [abs(b - a) for a, b in pairwise(memory[WARM:])]
        noise = median(steps) / (EXECUTIONS / 1000)
        assert growth < PER_THOUSAND + 2 * noise


def trend(values: Sequence[int]) -> float:
    """By how much each value is above the one before: the median of all slopes.

    The system's allocator takes and gives back memory in pieces, so neither the first
    nor the last value tells by itself.
    """
    pairs = combinations(enumerate(values), 2)
    return median((later - before) / (j - i) for (i, before), (j, later) in pairs)
