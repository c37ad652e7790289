"""Workers come, go, die and freeze; what they took is never lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.servers import MongoServer
from tests.stores import (
    claim_many,
    claim_one,
    collect,
    insert_one,
    joined,
    new_execution,
    new_worker,
)
from tests.waiting import until
from worchflow.model.records import Claim, ExecutionStatus
from worchflow.model.settlement import Completed
from worchflow.storage.redis_mongo.backend import RedisMongoBackend


def expire(mongo: Mongo, *worker_ids: str, seconds: int = 1) -> None:
    """Let leases have run out some time ago."""
    mongo.workers.update_many(
        {"_id": {"$in": list(worker_ids)}},
        [{"$set": {"expiresAt": {"$subtract": ["$$NOW", seconds * 1000]}}}],
    )


async def test_what_a_dead_worker_owned_and_took_comes_first(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    dead, alive = await joined(backend), await joined(backend)
    ids = [await insert_one(backend) for _ in range(5)]
    claims = await claim_many(backend, dead, 3)
    inflight = f"{prefix}:inflight:{dead.id}"
    raw_redis.lmove(f"{prefix}:queue", inflight, "LEFT", "RIGHT")
    expire(raw_mongo, dead.id)
    assert await backend.workers.reap(alive.id, expired=False) == 0
    assert await backend.workers.reap(alive.id, expired=True) == 3
    await backend._open_parts.stores.write_behind.flush(5)
    assert raw_redis.lrange(f"{prefix}:queue", 0, -1) == ids
    assert not raw_redis.exists(inflight)
    again = await claim_many(backend, alive, 5)
    assert [claim.execution.id for claim in again] == ids
    assert [claim.execution.recoveries for claim in again] == [1, 1, 1, 0, 0]
    late = await backend.claims.settle(claims[0], Completed(result="1"), None)
    assert not late.applied


async def test_one_odd_document_keeps_no_other_from_being_taken_back(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    dead, alive = await joined(backend), await joined(backend)
    ids = [await insert_one(backend) for _ in range(3)]
    await claim_many(backend, dead, 3)
    odd = {"recoveries": "x", "createdAt": "yesterday"}
    raw_mongo.executions.update_one(
        {"_id": ids[0]}, {"$set": odd, "$unset": {"enqueuedAt": ""}}
    )
    raw_mongo.workers.update_one({"_id": dead.id}, {"$set": {"dead": True}})  # type: ignore[dict-item]
    assert await backend.workers.reap(alive.id, expired=False) == 3
    again = await claim_many(backend, alive, 3)
    assert {claim.execution.id for claim in again} == {*ids}


async def test_a_zombie_cannot_settle_what_was_taken_from_it(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    zombie, alive = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, zombie)
    expire(raw_mongo, zombie.id)
    assert await backend.workers.reap(alive.id, expired=True) == 1
    # Nobody has claimed it since, so its token is still the zombie's.
    settled = await backend.claims.settle(claim, Completed(result="1"), None)
    assert not settled.applied
    assert settled.status is ExecutionStatus.QUEUED
    again = await claim_one(backend, alive)
    assert (again.execution.id, again.token) == (id_, 2)


async def test_a_claim_that_arrives_after_its_worker_was_declared_dead_is_released(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    dead, alive = await joined(backend), await joined(backend)
    expire(raw_mongo, dead.id)
    assert await backend.workers.reap(alive.id, expired=True) == 0
    id_ = await insert_one(backend)
    claim = await claim_one(backend, dead)
    assert claim.execution.id == id_
    assert not (await asyncio.to_thread(backend.workers.renew, dead.id)).alive
    assert await backend.workers.reap(alive.id, expired=False) == 1


async def test_most_of_a_fleet_seeming_dead_at_once_is_doubted_for_a_ttl(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    workers = [await joined(backend) for _ in range(4)]
    for worker in workers[:3]:
        await insert_one(backend)
        await claim_one(backend, worker)
    silent = [worker.id for worker in workers[:3]]
    expire(raw_mongo, *silent)
    reaper = workers[3]
    assert await backend.workers.reap(reaper.id, expired=True) == 0
    assert (await asyncio.to_thread(backend.workers.renew, silent[0])).alive
    expire(raw_mongo, *silent, seconds=21)
    assert await backend.workers.reap(reaper.id, expired=True) == 3


async def test_documents_of_workers_long_dead_are_removed(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    dead, alive = await joined(backend), await joined(backend)
    expire(raw_mongo, dead.id)
    await backend.workers.reap(alive.id, expired=True)
    assert raw_mongo.workers.count_documents({}) == 2
    day = 24 * 3600 * 1000 + 1000
    raw_mongo.workers.update_one(
        {"_id": dead.id},  # type: ignore[dict-item]
        [{"$set": {"diedAt": {"$subtract": ["$diedAt", day]}}}],
    )
    await backend.workers.reap(alive.id, expired=True)
    assert [each["_id"] for each in raw_mongo.workers.find()] == [alive.id]


async def test_a_worker_that_leaves_puts_back_what_it_only_took(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    leaving, staying = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    await backend._open_parts.stores.write_behind.flush(5)
    inflight = f"{prefix}:inflight:{leaving.id}"
    raw_redis.lmove(f"{prefix}:queue", inflight, "LEFT", "RIGHT")
    await backend.workers.leave(leaving.id)
    assert not raw_redis.exists(inflight)
    assert (await claim_one(backend, staying)).execution.id == id_
    assert [each["_id"] for each in raw_mongo.workers.find()] == [staying.id]


async def test_workers_that_left_cost_the_others_nothing(
    backend: RedisMongoBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = await joined(backend)
    stores = backend._open_parts.stores
    find, run = stores.mongo.find, stores.redis.run
    asked: list[int] = []

    async def counted_find(collection: str, query: Any, **how: Any) -> Any:
        found = await find(collection, query, **how)
        asked.append(len(found))
        return found

    async def counted_run(calls: Any) -> Any:
        asked.append(len(calls))
        return await run(calls)

    async def cost() -> list[int]:
        # What leaving has written to Redis may still be on its way.
        assert await stores.write_behind.flush(5)
        monkeypatch.setattr(stores.mongo, "find", counted_find)
        monkeypatch.setattr(stores.redis, "run", counted_run)
        asked.clear()
        assert await backend.workers.reap(alive.id, expired=True) == 0
        monkeypatch.undo()
        return list(asked)

    before = await cost()
    for _ in range(50):
        await backend.workers.leave((await joined(backend)).id)

    assert await cost() == before
    assert raw_mongo.workers.count_documents({}) == 1


async def test_a_claim_that_arrives_after_its_worker_left_is_released(
    backend: RedisMongoBackend,
) -> None:
    gone, alive = await joined(backend), await joined(backend)
    await backend.workers.leave(gone.id)
    id_ = await insert_one(backend)
    late = await claim_one(backend, gone)
    assert late.execution.id == id_

    assert await backend.workers.reap(alive.id, expired=True) == 1

    assert (await claim_one(backend, alive)).token == late.token + 1


async def test_who_joins_while_it_is_looked_for_the_departed_keeps_what_it_claims(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = await joined(backend)
    await insert_one(backend)
    stores = backend._open_parts.stores
    find = stores.mongo.find
    claims: list[Claim] = []

    async def find_and_let_one_join(collection: str, query: Any, **how: Any) -> Any:
        found = await find(collection, query, **how)
        if collection == "workers" and query == {}:
            monkeypatch.undo()
            claims.append(await claim_one(backend, await joined(backend)))
        return found

    monkeypatch.setattr(stores.mongo, "find", find_and_let_one_join)
    assert await backend.workers.reap(alive.id, expired=True) == 0
    assert len(claims) == 1
    assert (await backend.claims.settle(claims[0], Completed(result="1"), None)).applied


async def test_a_worker_that_leaves_in_the_middle_of_a_wait_takes_nothing_along(
    backend: RedisMongoBackend,
) -> None:
    leaving, staying = await joined(backend), await joined(backend)
    waiting = asyncio.create_task(backend.claims.claim(leaving, 1, 5.0))
    await until(lambda: backend.claims.claimer(leaving)._round is not None)
    await backend.workers.leave(leaving.id)
    assert list(await waiting) == []
    id_ = await insert_one(backend)
    assert (await claim_one(backend, staying)).execution.id == id_


async def test_a_worker_that_still_owns_something_leaves_by_its_lease(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    leaving, staying = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    await claim_one(backend, leaving)
    await backend.workers.leave(leaving.id)
    stored = await backend.executions.get(id_)
    assert stored is not None
    assert stored.worker == leaving.id
    expire(raw_mongo, leaving.id)
    assert await backend.workers.reap(staying.id, expired=True) == 1


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_claim_for_the_quarantine_slot_outlives_whoever_waits_for_it(
    backend: RedisMongoBackend,
    raw_mongo: Mongo,
    monkeypatch: pytest.MonkeyPatch,
    leaves: bool,
) -> None:
    leaving, staying = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    raw_mongo.executions.update_one({"id": id_}, {"$set": {"deaths": 2}})
    mongo = backend._open_parts.stores.mongo
    change, written, go_on = mongo.change, asyncio.Event(), asyncio.Event()

    async def answered_late(*args: Any, **kwargs: Any) -> Any:
        document = await change(*args, **kwargs)
        written.set()
        await go_on.wait()
        return document

    monkeypatch.setattr(mongo, "change", answered_late)
    waiting = asyncio.create_task(backend.claims.claim_quarantined(leaving))
    await written.wait()
    monkeypatch.undo()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    go_on.set()

    if leaves:
        await backend.workers.leave(leaving.id)
        claim = await backend.claims.claim_quarantined(staying)
    else:
        claim = await backend.claims.claim_quarantined(leaving)

    assert claim is not None
    assert (claim.execution.id, claim.token) == (id_, 1 + leaves)
    assert (claim.execution.recoveries, claim.execution.deaths) == (0, 2)


async def test_a_fenced_worker_is_forgotten(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    worker = await joined(backend)
    raw_mongo.workers.update_one({"_id": worker.id}, {"$set": {"dead": True}})  # type: ignore[dict-item]
    assert not (await asyncio.to_thread(backend.workers.renew, worker.id)).alive
    await until(lambda: worker.id not in backend._open_parts.claims.claimers)


async def test_only_one_worker_sweeps_at_a_time(
    backend: RedisMongoBackend, open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    other = await open_backend()
    first, second = await joined(backend), await joined(other)
    assert await backend.leadership.holds(first.id)
    assert not await other.leadership.holds(second.id)
    assert await backend.leadership.holds(first.id)
    raw_mongo.worchflow_meta.update_many(
        {"owner": first.id},
        [{"$set": {"expiresAt": {"$subtract": ["$$NOW", 1]}}}],
    )
    assert await other.leadership.holds(second.id)


async def test_a_hint_to_cancel_reaches_every_process(
    backend: RedisMongoBackend, open_backend: OpenBackend
) -> None:
    hinted: list[str] = []
    worker = new_worker()
    await backend.workers.join(worker, collect(hinted))
    id_ = await insert_one(backend)
    await claim_one(backend, worker)
    other = await open_backend()

    async def heard() -> bool:
        await other.executions.cancel(id_, "enough")
        other._open_parts.stores.write_behind.put(
            other._open_parts.stores.scripts.hint_cancel(id_)
        )
        return id_ in hinted

    await until(heard)
    renewal = await asyncio.to_thread(backend.workers.renew, worker.id)
    assert renewal.cancelled == {id_}


async def test_an_event_another_worker_serves_goes_back_to_it(
    backend: RedisMongoBackend,
) -> None:
    one, other = await joined(backend, "one"), await joined(backend, "other")
    id_ = await insert_one(backend, event="other")
    assert list(await backend.claims.claim(one, 5, 0.3)) == []
    assert (await claim_one(backend, other)).execution.id == id_


async def test_a_cancelled_delayed_execution_leaves_nothing_in_redis(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    (outcome,) = await backend.executions.insert([new_execution(delay=3600.0)])
    await until(lambda: raw_redis.zcard(f"{prefix}:delayed") == 1)
    execution, changed = await backend.executions.cancel(outcome.id, None)
    assert changed
    assert execution is not None
    assert execution.status is ExecutionStatus.CANCELLED
    await until(lambda: raw_redis.zcard(f"{prefix}:delayed") == 0)
    assert raw_redis.ttl(f"{prefix}:execution:{outcome.id}") > 0


@pytest.mark.parametrize("count", [3, 250])
async def test_all_that_is_due_is_promoted(
    backend: RedisMongoBackend, count: int
) -> None:
    worker = await joined(backend)
    await backend.executions.insert([new_execution(delay=0.3) for _ in range(count)])
    assert len(await claim_many(backend, worker, count, limit=100)) == count


async def test_a_reap_that_an_outage_held_up_buries_nobody_for_the_outage(
    start_mongo: Callable[..., MongoServer], open_backend: OpenBackend, redis_url: str
) -> None:
    server = start_mongo()
    backend = await open_backend(
        redis_url, server.database_url("outage"), lease_ttl=4.0, timeout=20.0
    )
    waits_too, reaper = await joined(backend), await joined(backend)
    begun = time.monotonic()
    server.pause()
    try:
        reaping = asyncio.create_task(backend.workers.reap(reaper.id, expired=True))
        await until(lambda: time.monotonic() - begun > 4.5)
    finally:
        server.resume()

    assert await reaping == 0
    assert (await asyncio.to_thread(backend.workers.renew, waits_too.id)).alive
