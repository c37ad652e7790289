"""Maps and crowds of children in worker processes, some of them killed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.fleet import WorkerProcess
from tests.chaos.settings import Settings
from tests.scale import worker_process
from tests.scale.worker_process import Crowd, Items
from tests.waiting import until
from worchflow import ExecutionFailed, Worchflow, WorchflowClient
from worchflow.foundations.types import Message

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]

COUNT = int(os.environ.get("WORCHFLOW_SCALE", "300"))
KILLS = 10 if COUNT >= 1000 else 2
MAX_REPLAYS = 20
SLOTS = 20
RESULT_SECONDS = 60 + COUNT / 20
LEASE_SECONDS = 5.0
"""Longer than a busy machine may hold up a worker that lives."""


class Workers:
    """Two worker processes on one store, and what their parts have written."""

    def __init__(self, settings: Settings, folder: Path, stack: ExitStack) -> None:
        self._settings = settings
        self._folder = folder
        self._stack = stack
        self._started = 0
        self._effects = Path(settings.ledger)
        self.running: dict[str, WorkerProcess] = {}
        self.app = Worchflow("scale", backend=settings.backend())

    async def start(self) -> None:
        """Start one more."""
        self._started += 1
        log = self._folder / f"worker-{self._started}.log"
        process = WorkerProcess(self._settings, log, worker_process.main)
        self._stack.callback(process.end, signal.SIGKILL)
        await until(lambda: process.polls, timeout=60)
        self.running[str(process.pid)] = process

    def ran(self) -> Counter[int]:
        """How often each part has run."""
        with suppress(FileNotFoundError):
            return Counter(map(int, self._effects.read_text().splitlines()))
        return Counter()

    def mend(self) -> None:
        """Let no item fail any more."""
        self._effects.with_suffix(".mended").touch()

    async def kill_owner(self, client: WorchflowClient[Any], id: str) -> None:
        """Kill who runs an execution, or anybody if nobody does, and replace it."""
        owner = (await client.get(id)).worker
        pids = [
            pid
            for pid, process in self.running.items()
            if owner is not None and owner in process.text
        ]
        pid = (pids or list(self.running))[0]
        self.running.pop(pid).end(signal.SIGKILL)
        await self.start()

    async def replayed(self) -> int:
        """How often their parents were continued from their records."""
        total = 0
        for pid, process in self.running.items():
            process.signal(signal.SIGUSR1)
            told = await until(partial(self._told_by, pid))
            total += int(told)
        return total

    def _told_by(self, pid: str) -> str:
        with suppress(FileNotFoundError):
            return Path(f"{self._effects}.{pid}").read_text()
        return ""


@pytest.fixture(params=["sqlite", "redis_mongo"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    if request.param == "sqlite":
        return (f"sqlite:///{tmp_path / 'worchflow.db'}",)
    return request.getfixturevalue("redis_url"), request.getfixturevalue("mongo_url")


@pytest.fixture
def workers(stores: tuple[str, ...], tmp_path: Path, prefix: str) -> Iterator[Workers]:
    ledger = str(tmp_path / "effects")
    settings = Settings(
        stores=stores,
        prefix=prefix,
        ledger=ledger,
        slots=SLOTS,
        lease_ttl=LEASE_SECONDS,
    )
    with ExitStack() as stack:
        yield Workers(settings, tmp_path, stack)


MESSAGES = pytest.mark.parametrize(
    "message", [Items(count=COUNT), Crowd(count=COUNT)], ids=["map", "children"]
)


@MESSAGES
async def test_each_part_runs_once_and_its_parent_is_hardly_ever_replayed(
    workers: Workers, message: Message[int]
) -> None:
    await workers.start()
    await workers.start()
    async with workers.app.client() as client:
        handle = await client.send(message)
        assert await handle.result(timeout=RESULT_SECONDS) == sum(range(COUNT))

    assert workers.ran() == Counter(range(COUNT))
    assert await workers.replayed() <= MAX_REPLAYS


@MESSAGES
async def test_no_recorded_part_runs_again_whoever_is_killed(
    workers: Workers, message: Message[int]
) -> None:
    await workers.start()
    await workers.start()
    recorded: dict[int, int] = {}
    """The parts that were recorded at a kill, and how often they had run by then."""
    async with workers.app.client() as client:
        handle = await client.send(message)
        for kill in range(1, KILLS + 1):
            await has_run(workers, COUNT * kill // (KILLS + 1))
            await workers.kill_owner(client, handle.id)
            steps = await client.steps(handle.id)
            results = [each.result for each in steps if each.kind in ("run", "invoke")]
            ran = workers.ran()
            for number in results:
                recorded.setdefault(number, ran[number])
        assert await handle.result(timeout=RESULT_SECONDS) == sum(range(COUNT))
        steps = await client.steps(handle.id)

    ran = workers.ran()
    assert {number: ran[number] for number in recorded} == recorded
    assert set(ran) == set(range(COUNT))
    # Of the others only what ran when its worker was killed has run twice.
    assert sum(ran.values()) <= COUNT + KILLS * SLOTS
    assert sorted(each.result for each in steps if each.key is not None) == list(
        range(COUNT)
    )


async def test_a_retry_repeats_the_failed_items_only(workers: Workers) -> None:
    await workers.start()
    async with workers.app.client() as client:
        handle = await client.send(Items(count=COUNT, broken=True))
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=RESULT_SECONDS)
        assert failed.value.error_type == "StepsFailed"
        assert workers.ran() == Counter(range(COUNT))
        workers.mend()
        await client.retry(handle.id)
        assert await handle.result(timeout=RESULT_SECONDS) == sum(range(COUNT))

    again = Counter(range(0, COUNT, 10))
    assert workers.ran() == Counter(range(COUNT)) + again


async def has_run(workers: Workers, count: int) -> None:
    """Wait until so many parts have run at least once."""
    await until(lambda: len(workers.ran()) >= count, timeout=RESULT_SECONDS)
