"""What an execution costs does not grow with what waits, rests or has ended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.redis_mongo.profile import Reads, profiled
from tests.stores import (
    ERROR,
    EVENT,
    claim_many,
    joined,
    new_execution,
    new_step,
    nothing_to_claim,
)
from worchflow.model.records import Claim, WorkerRecord
from worchflow.model.settlement import Completed, RetryAt
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

FEW, MANY = 50, 2000
CLAIMED = 20


async def send(backend: RedisMongoBackend, count: int, **fields: Any) -> None:
    await backend.executions.insert([new_execution(**fields) for _ in range(count)])
    assert await backend._open_parts.stores.write_behind.flush(10)


def end(raw_mongo: Mongo, prefix: str, count: int) -> None:
    """Put executions there that completed some time ago."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    raw_mongo.executions.insert_many(
        {
            "_id": f"{prefix}-{number}",
            "id": f"{prefix}-{number}",
            "queuePrefix": prefix,
            "eventName": EVENT,
            "eventData": "1",
            "status": "completed",
            "createdAt": number,
            "finishedAt": yesterday,
        }
        for number in range(count)
    )


async def road(
    backend: RedisMongoBackend, worker: WorkerRecord, raw_mongo: Mongo
) -> Reads:
    """What MongoDB reads while some executions go all the way."""

    async def finish(claim: Claim) -> None:
        await backend.steps.checkpoint(claim, new_step())
        await backend.claims.settle(claim, Completed(result="1"), None)

    with profiled(raw_mongo) as reads:
        claims = await claim_many(backend, worker, CLAIMED, limit=CLAIMED)
        await asyncio.gather(*map(finish, claims))
    return reads


def redis_calls(raw_redis: redis.Redis) -> dict[str, int]:
    stats: Any = raw_redis.info("commandstats")
    return {name: each["calls"] for name, each in stats.items()}


async def test_an_execution_reads_the_same_whatever_there_is(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    worker = await joined(backend)
    await send(backend, FEW)
    few = await road(backend, worker, raw_mongo)

    await send(backend, MANY)
    await send(backend, MANY, delay=3600.0)
    end(raw_mongo, prefix, MANY)
    many = await road(backend, worker, raw_mongo)

    assert few.documents == many.documents == 3 * CLAIMED
    # An id is one key, and sometimes one more where the next is looked for.
    assert many.keys <= 2 * 3 * CLAIMED
    assert many.plans == {"IXSCAN { _id: 1 }"}
    assert len(many.operations) == len(few.operations)


async def test_an_execution_changes_no_more_keys_of_indexes_than_it_has_to(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    worker = await joined(backend)
    with profiled(raw_mongo) as reads:
        await send(backend, 1)
        (claim,) = await claim_many(backend, worker, 1)
        await backend.claims.settle(claim, Completed(result="1"), None)
    changed = [
        (each.get("keysInserted", 0), each.get("keysDeleted", 0))
        for each in reads.operations
    ]
    # Sent: _id, due, listing, event. Claimed: due becomes owner; it is listed anew.
    # Completed: owner becomes ended; it is listed anew.
    assert changed == [(4, 0), (2, 2), (2, 2)]


async def test_a_claim_of_all_that_waits_does_not_walk_through_what_has_ended(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    """MongoDB by itself takes an index in which it meets the first ones soonest."""
    end(raw_mongo, prefix, MANY)
    worker = await joined(backend)
    for _ in range(3):
        await send(backend, 1000)
        with profiled(raw_mongo) as reads:
            await claim_many(backend, worker, 1000, limit=1000)
        assert reads.plans == {"IXSCAN { _id: 1 }"}
        # It is updated and read, each in one round trip.
        assert [each["op"] for each in reads.operations] == ["update", "query"]


@pytest.mark.timeout(120)
async def test_what_rests_costs_the_rounds_of_a_worker_nothing(
    backend: RedisMongoBackend,
    raw_mongo: Mongo,
    raw_redis: redis.Redis,
    prefix: str,
) -> None:
    upkeep = backend._open_parts.upkeep
    await upkeep.close()
    worker = await joined(backend)
    end(raw_mongo, prefix, MANY)
    await send(backend, MANY, delay=3600.0)
    await backend.sweeping.sweep(worker.id)
    raw_redis.config_resetstat()

    with profiled(raw_mongo) as reads:
        assert (await asyncio.to_thread(backend.workers.renew, worker.id)).alive
        assert await backend.sweeping.sweep(worker.id) == 0
        await upkeep.promote()

    assert reads.documents == 0
    assert reads.keys <= 10
    assert "COLLSCAN" not in reads.plans
    calls = redis_calls(raw_redis)
    assert calls["cmdstat_zrangebyscore"] == 1
    assert sum(calls.values()) <= 10, calls


@pytest.mark.timeout(120)
@pytest.mark.parametrize("are_sorted", [False, True], ids=["in the queue", "sorted"])
async def test_what_waits_costs_the_sweep_nothing(
    backend: RedisMongoBackend, raw_mongo: Mongo, are_sorted: bool
) -> None:
    other, worker = await joined(backend, "other"), await joined(backend)
    await send(backend, MANY)
    minute_ago = [{"$set": {"dueAt": {"$subtract": ["$dueAt", 60_000]}}}]
    raw_mongo.executions.update_many({}, minute_ago)
    if are_sorted:
        assert await nothing_to_claim(backend, other)
    await backend.sweeping.sweep(worker.id)

    with profiled(raw_mongo) as reads:
        assert await backend.sweeping.sweep(worker.id) == 0

    # The oldest of each event, and what is at the heads of the lists.
    assert reads.documents <= 20
    assert reads.keys <= 50


@pytest.mark.timeout(120)
async def test_what_a_worker_leaves_behind_is_found_by_its_owner(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    dead, gone, other = [await joined(backend) for _ in range(3)]
    end(raw_mongo, prefix, MANY)
    await send(backend, 10)
    await claim_many(backend, dead, 10)
    raw_mongo.workers.update_one({"_id": dead.id}, {"$set": {"dead": True}})
    with profiled(raw_mongo) as reads:
        await backend.workers.leave(gone.id)
        assert await backend.workers.reap(other.id, expired=False) == 10
    assert reads.documents <= 50
    assert "COLLSCAN" not in reads.plans


@pytest.mark.timeout(120)
async def test_without_redis_a_poll_reads_what_it_takes(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    worker = await joined(backend)
    end(raw_mongo, prefix, MANY)
    await send(backend, MANY)
    claimer = backend.claims.claimer(worker)
    claimer._redis_is_down = True
    with profiled(raw_mongo) as reads:
        assert len(await claimer._take(10, 0.0)) == 10
    assert reads.documents == 10
    assert reads.plans == {"IXSCAN { queuePrefix: 1, eventName: 1, dueAt: 1 }"}


@pytest.mark.parametrize("ts_compat", [False, True])
async def test_a_thousand_steps_are_loaded_in_one_query(
    open_backend: OpenBackend, raw_mongo: Mongo, ts_compat: bool
) -> None:
    backend = await open_backend(ts_compat=ts_compat)
    worker = await joined(backend)
    await send(backend, 1)
    (claim,) = await claim_many(backend, worker, 1)
    await asyncio.gather(
        *(backend.steps.checkpoint(claim, new_step(number)) for number in range(1000))
    )
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0), None)

    with profiled(raw_mongo, "steps") as reads:
        (again,) = await claim_many(backend, worker, 1)
    assert len(again.steps) == 1000
    assert len(reads.operations) == 1
    assert reads.documents == 1000
    with profiled(raw_mongo, "steps") as reads:
        assert len(await backend.steps.all(claim.execution.id)) == 1000
    assert len(reads.operations) == 1
