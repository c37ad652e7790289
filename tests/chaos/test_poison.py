"""A payload that kills its workers is stopped; what ran beside it completes."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.conftest import MakeRun
from tests.chaos.run import Run, replace_the_dead
from tests.chaos.schedule import long_run
from tests.chaos.troublemakers import Poison
from tests.chaos.workload import WIDTH
from worchflow.ledger import Kind, Line, Plan

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

WORKERS = 3
SLOTS = 4
INNOCENTS = 100
MOST_DEATHS = 8
FEW = 20
"""Innocents of the test with two workers, whose slots they share with the poison."""
ROUNDS = min(20, max(1, int(long_run())))


@pytest.mark.timeout(150)
async def test_a_poison_payload_is_stopped_and_harms_no_other(
    make_run: MakeRun, stores: tuple[str, ...]
) -> None:
    async with make_run(*stores, slots=SLOTS, lease_ttl=1.5, pace=0.2) as run:
        await run.fleet.start_and_wait(WORKERS)
        replacing = asyncio.create_task(replace_the_dead(run))
        innocents = [run.work(seed) for seed in range(INNOCENTS)]
        half = INNOCENTS // 2
        await asyncio.gather(*innocents[:half])
        await run.send("poison-1", Poison(), None, error="poison")
        await asyncio.gather(*innocents[half:])

        await run.judge(
            Plan(
                executions=INNOCENTS + 1,
                faults={"death": 7},
                mid_step=7,
                slots=SLOTS,
                width=WIDTH,
                drained_within=90,
            )
        )
        replacing.cancel()
        await asyncio.wait({replacing})
        assert replacing.cancelled(), replacing.exception()
        deaths = [line for line in run.lines() if line.kind is Kind.FAULT]
        assert len(deaths) <= MOST_DEATHS
        beside = {
            start.execution
            for death in deaths
            for start in run.lines()
            if start.pid == death.target and start.execution != "poison-1"
        }
        assert beside, "no innocent ran beside the poison"


@pytest.mark.timeout(120 * ROUNDS)
async def test_nobody_is_condemned_for_what_the_poison_beside_it_did(
    make_run: MakeRun, stores: tuple[str, ...]
) -> None:
    async with make_run(*stores, slots=SLOTS, lease_ttl=1.5, pace=0.2) as run:
        await run.fleet.start_and_wait(2)
        replacing = asyncio.create_task(replace_the_dead(run))
        for number in range(ROUNDS):
            first = number * FEW
            before = len(deaths_of(run))
            await asyncio.gather(
                run.send(run.id(f"poison-{number}"), Poison(), None, error="poison"),
                *(run.work(seed) for seed in range(first, first + FEW)),
            )
            await run.drained(90)
            assert len(deaths_of(run)) - before <= MOST_DEATHS

        await run.judge(
            Plan(
                executions=ROUNDS * (FEW + 1),
                faults={"death": 7 * ROUNDS},
                mid_step=7 * ROUNDS,
                slots=SLOTS,
                width=WIDTH,
                drained_within=90,
            )
        )
        replacing.cancel()
        await asyncio.wait({replacing})
        assert replacing.cancelled(), replacing.exception()


def deaths_of(run: Run) -> list[Line]:
    return [line for line in run.lines() if line.kind is Kind.FAULT]
