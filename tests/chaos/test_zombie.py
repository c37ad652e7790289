"""A worker frozen past its lease changes nothing any more when it continues."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from pathlib import Path

import pytest

from tests.chaos.fenced import FencedRegister
from tests.chaos.fleet import NEW_IDENTITY, WorkerProcess
from tests.chaos.run import Run
from tests.chaos.schedule import long_run, pause
from tests.chaos.settings import Settings
from tests.chaos.troublemakers import HERE, Freeze, Point, freezing_result
from tests.chaos.workload import WIDTH
from tests.waiting import until
from worchflow.ledger import Kind, Plan

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

ROUNDS = int(3 * long_run())
SLOTS = 4


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_a_frozen_worker_harms_nothing_when_it_goes_on(
    stores: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    async with asyncio.TaskGroup() as group:
        for number, point in enumerate(Point):
            folder = tmp_path / point.name
            folder.mkdir()
            settings = Settings(
                stores=stores,
                prefix=f"{prefix}-{number}",
                ledger=str(folder / "ledger"),
                lease_ttl=1.5,
                slots=SLOTS,
                pace=0.02,
            )
            group.create_task(haunt(Run(settings, folder), point))


async def haunt(run: Run, point: Point) -> None:
    """Two workers; in every round one freezes at the point and the other takes over."""
    async with run:
        workers = await run.fleet.start_and_wait(2)
        fresh = count()
        for seed in range(ROUNDS):
            await freeze_once(run, workers, Freeze(point=point, seed=seed), fresh)
        report = await run.judge(
            Plan(
                executions=ROUNDS * 2,
                faults={"stop": ROUNDS, "cont": ROUNDS},
                mid_step=ROUNDS if point is Point.INSIDE else 0,
                slots=SLOTS,
                width=WIDTH,
            )
        )
        late = report.figures["starts by a process that was frozen before the call"]
        assert late == 0


async def freeze_once(
    run: Run, workers: list[WorkerProcess], message: Freeze, fresh: count[int]
) -> None:
    """Freeze a worker, let the other take over and finish, resume it, use it again."""
    name = run.id(f"freeze-{message.seed}")
    expected = freezing_result(message.seed)
    await run.send(name, message, expected)
    (zombie,) = await until(lambda: at_the_point(workers), 20)
    await run.fleet.freeze(zombie)
    assert await run.client.handle(name).result(timeout=30) == expected

    identities = zombie.text.count(NEW_IDENTITY)
    resumed = time.monotonic()
    run.fleet.resume(zombie)

    await until(lambda: zombie.text.count(NEW_IDENTITY) > identities, 20)
    await until(lambda: works_again(run, zombie, resumed, fresh), 20)
    outside = FencedRegister(f"{run.settings.ledger}.register").read(name)
    by = 1 if message.point is Point.SETTLEMENT else 2
    assert outside["value"] == f"by token {by}"
    assert outside["refused"] == ([1] if message.point is Point.INSIDE else [])


def at_the_point(workers: list[WorkerProcess]) -> list[WorkerProcess]:
    """The worker that waits to be frozen, if there is one."""
    return [
        worker
        for worker in workers
        if worker.text.count(HERE) > worker.text.count(NEW_IDENTITY)
    ]


async def works_again(
    run: Run, worker: WorkerProcess, since: float, fresh: count[int]
) -> bool:
    """Send work until this worker has some of it."""
    await asyncio.gather(*(run.work(next(fresh)) for _ in range(SLOTS)))
    await pause(0.1)
    return any(
        line.kind is Kind.START
        and line.pid == worker.pid
        and line.time > since
        and line.execution.startswith(run.id("work-"))
        for line in run.lines()
    )
