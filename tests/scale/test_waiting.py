"""Very many that sleep and wait: none is lost, none runs twice, and none costs much."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.scale.worker_process import NEWS, Sleeper, Waiter
from tests.scale.workers import COUNT, IS_LARGE, RESULT_SECONDS, SLOTS, Workers, tell
from tests.waiting import until
from worchflow import ExecutionStatus, WorchflowClient

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(3600)]

SENDERS = 20
RESTING = 10 * COUNT if IS_LARGE else COUNT
"""So many sleep, and so many wait."""
REST_SECONDS = 60.0
"""For which the CPU time of a worker at rest is measured."""
MAX_CPU = 0.02
"""Of a core, by a worker at rest."""
MAX_GROWTH = 64 * 1024 * 1024
"""Bytes of a worker from a tenth of them to all."""
LOOK_SECONDS = 0.2
"""Between two looks, which take time themselves."""
WOKEN = min(COUNT, 1000)
MAX_WAKE_SECONDS = 2.0
MAX_DUE_SECONDS = 10.0


async def count_of(client: WorchflowClient[Any], status: str) -> int:
    return (await client.counts())[ExecutionStatus(status)]


async def all_are(client: WorchflowClient[Any], **counts: int) -> None:
    """Wait until so many executions have these statuses."""
    seconds = RESULT_SECONDS + sum(counts.values()) / 100
    for status, count in counts.items():

        async def are(status: str = status, count: int = count) -> bool:
            await asyncio.sleep(LOOK_SECONDS)
            return await count_of(client, status) == count

        await until(are, timeout=seconds)


async def send_all(client: WorchflowClient[Any], messages: Iterable[Any]) -> list[Any]:
    return [handle async for handle in client.send_stream(messages)]


def now() -> datetime:
    return datetime.now(UTC)


async def test_no_event_is_lost_however_close_it_comes(workers: Workers) -> None:
    """Each is emitted while the one that waits for it begins to."""
    pairs, several = COUNT // 2, asyncio.Semaphore(SENDERS)
    await workers.start()
    await workers.start()
    async with workers.app.client() as client:

        async def pair(number: int) -> Any:
            async with several:
                handle = await client.send(Waiter(number=number, key=str(number)))
                await client.emit(NEWS(f"news {number}"), key=str(number))
                return handle

        handles = await asyncio.gather(*map(pair, range(pairs)))
        results = [await each.result(timeout=RESULT_SECONDS) for each in handles]

    assert results == [f"news {number}" for number in range(pairs)]
    assert workers.ran() == Counter(range(pairs))


async def test_what_waits_costs_its_worker_nothing(workers: Workers) -> None:
    await workers.start()
    tomorrow = now() + timedelta(days=1)
    async with workers.app.client() as client:

        async def rest(numbers: range) -> None:
            await send_all(client, (Sleeper(number=n, until=tomorrow) for n in numbers))
            await send_all(client, (Waiter(number=n, key="all") for n in numbers))
            await all_are(client, sleeping=numbers.stop, waiting=numbers.stop)

        await rest(range(RESTING // 10))
        before = workers.usage()
        await rest(range(RESTING // 10, RESTING))
        filled = workers.usage()
        if IS_LARGE:
            await asyncio.sleep(REST_SECONDS / 4)
            began = workers.usage()
            await asyncio.sleep(REST_SECONDS)
            share = (workers.usage().cpu - began.cpu) / REST_SECONDS
            growth = filled.memory - before.memory
            tell(f"{2 * RESTING} at rest: {share:.2%} of a core, {growth:+} bytes")
            assert share < MAX_CPU
            assert growth < MAX_GROWTH

        assert workers.ran() == Counter()
        await client.emit(NEWS("for all"), key="all")
        await all_are(client, completed=RESTING)

    assert workers.ran() == Counter(range(RESTING))


async def test_one_event_wakes_all_who_wait_for_it(workers: Workers) -> None:
    await workers.start()
    await workers.start()
    async with workers.app.client() as client:
        waiters = (Waiter(number=n, key="all") for n in range(WOKEN))
        handles = await send_all(client, waiters)
        await all_are(client, waiting=WOKEN)

        began = asyncio.get_running_loop().time()
        await client.emit(NEWS("for all"), key="all")
        await until(lambda: none_waits(client), timeout=RESULT_SECONDS)
        took = asyncio.get_running_loop().time() - began
        for each in handles:
            assert await each.result(timeout=RESULT_SECONDS) == "for all"

    assert workers.ran() == Counter(range(WOKEN))
    tell(f"{WOKEN} were woken by one event in {took:.2f} s")
    assert not IS_LARGE or took < MAX_WAKE_SECONDS


async def none_waits(client: WorchflowClient[Any]) -> bool:
    # Counts may be seconds old.
    return not (await client.list(status="waiting", limit=1)).items


async def have_run(workers: Workers) -> bool:
    await asyncio.sleep(LOOK_SECONDS)
    return len(workers.in_order()) >= COUNT


async def test_what_is_due_in_the_same_second_runs_soon_and_in_order(
    workers: Workers,
) -> None:
    await workers.start()
    await workers.start()
    second = now() + timedelta(seconds=4 + COUNT / 100)
    async with workers.app.client() as client:
        sleepers = (
            Sleeper(number=n, until=second + timedelta(seconds=n / COUNT))
            for n in range(COUNT)
        )
        await send_all(client, sleepers)
        if IS_LARGE:
            await all_are(client, sleeping=COUNT)
            assert now() < second, "they were not asleep in time"
        await until(lambda: have_run(workers), timeout=RESULT_SECONDS)
        took = (now() - second).total_seconds()

    order = workers.in_order()
    assert Counter(order) == Counter(range(COUNT))
    furthest = max(abs(place - number) for place, number in enumerate(order))
    tell(f"{COUNT} due in one second: {took:.2f} s, {furthest} places out of order")
    assert not IS_LARGE or took < MAX_DUE_SECONDS
    assert not IS_LARGE or furthest < 10 * SLOTS
