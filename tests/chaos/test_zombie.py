"""A worker frozen past its lease changes nothing any more when it goes on."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.chaos.fenced import FencedRegister
from tests.chaos.fleet import WorkerProcess
from tests.chaos.ledger import Kind, Plan
from tests.chaos.run import Run
from tests.chaos.schedule import long_run, pause
from tests.chaos.settings import Settings
from tests.chaos.troublemakers import Freeze, Point, freezing_result
from tests.chaos.workload import WIDTH
from tests.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

ROUNDS = int(3 * long_run())
SLOTS = 4
NEW_IDENTITY = "goes on with a new identity"


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
    """Freeze one of two workers at a point, let the other take over, and resume it."""
    async with run:
        register = FencedRegister(f"{run.settings.ledger}.register")
        workers = await run.fleet.start_and_wait(2)
        fresh = count()
        for seed in range(ROUNDS):
            name = run.id(f"freeze-{seed}")
            await run.send(name, Freeze(point=point, seed=seed), freezing_result(seed))
            zombie = await frozen_one(workers)
            await run.fleet.freezes(zombie)
            result = await run.client.handle(name).result(timeout=30)
            assert result == freezing_result(seed)

            identities = zombie.text.count(NEW_IDENTITY)
            resumed = time.monotonic()
            run.fleet.resume(zombie)

            await until(partial(has_new_identity, zombie, identities), 20)
            await until(partial(works_again, run, zombie, resumed, fresh), 20)
            outside = register.read(name)
            recorded = point is Point.SETTLEMENT
            assert outside["value"] == f"by token {1 if recorded else 2}"
            assert outside["refused"] == ([1] if point is Point.INSIDE else [])

        faults = {"stop": ROUNDS, "cont": ROUNDS}
        inside = ROUNDS if point is Point.INSIDE else 0
        report = await run.judge(
            Plan(
                executions=ROUNDS * 2,
                faults=faults,
                mid_step=inside,
                slots=SLOTS,
                width=WIDTH,
            )
        )
        late = report.figures["starts by a process that was frozen before the call"]
        assert late == 0


async def frozen_one(workers: list[WorkerProcess]) -> WorkerProcess:
    """The worker that froze."""
    await until(lambda: any(each.frozen for each in workers), 20)
    (frozen,) = [each for each in workers if each.frozen]
    return frozen


def has_new_identity(worker: WorkerProcess, before: int) -> bool:
    return worker.text.count(NEW_IDENTITY) > before


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
