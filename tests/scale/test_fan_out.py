"""Maps and crowds of children in worker processes, some of them killed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos.settings import Settings
from tests.scale.worker_process import Crowd, Items
from tests.scale.workers import COUNT, KILLS, RESULT_SECONDS, SLOTS, Workers
from tests.waiting import until
from worchflow import ExecutionFailed
from worchflow.foundations.types import Message

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]

MAX_REPLAYS = 20
MAX_PARENT_BYTES = 256 * 1024 * 1024
"""Of a worker process, with ten thousand parts of one parent."""

LEASE_SECONDS = 5.0
"""Longer than a busy machine may hold up a worker that lives."""
UPKEEP_SECONDS = 0.5


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """What a killed worker has left is soon taken up."""
    return replace(settings, lease_ttl=LEASE_SECONDS, upkeep=UPKEEP_SECONDS)


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
    assert workers.peak_memory() <= MAX_PARENT_BYTES


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
