"""Pruning on servers: crashes in the middle, copies in Redis, whose documents go."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from bson import ObjectId

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.redis_mongo.profile import profiled
from tests.stores import ERROR, claimed, insert_one, new_step, now, settle, stored
from tests.waiting import until
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.records import Claim, ExecutionStatus, StoredExecution
from worchflow.model.settlement import Completed, Failed, Settlement
from worchflow.storage.redis_mongo import retention
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.scripts import NOWHERE

S = ExecutionStatus
DAY = 24 * 3600.0
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
UNMARKED = {"$unset": {"executionNonce": ""}}


async def ended(
    backend: RedisMongoBackend, raw_mongo: Mongo, settlement: Settlement | None = None
) -> str:
    """A failed execution of last year, with a step."""
    claim = await claimed(backend)
    await backend.steps.checkpoint(claim, new_step())
    await settle(backend, claim, settlement or Failed(error=ERROR))
    long_ago = datetime.now(UTC) - timedelta(days=365)
    raw_mongo.executions.update_one(
        {"_id": claim.execution.id}, {"$set": {"finishedAt": long_ago}}
    )
    raw_mongo.steps.update_many(
        {"executionId": claim.execution.id},
        {"$set": {"timestamp": int(long_ago.timestamp() * 1000)}},
    )
    return claim.execution.id


@pytest.mark.parametrize("dies_at", ["copies", "steps", "executions"])
async def test_what_a_crash_leaves_half_done_is_completed(
    backend: RedisMongoBackend,
    raw_mongo: Mongo,
    monkeypatch: pytest.MonkeyPatch,
    dies_at: str,
) -> None:
    id_ = await ended(backend, raw_mongo)
    stores = backend._open_parts.stores
    delete = stores.mongo.delete

    async def dies(*args: Any) -> int:
        if dies_at in (args[0], "copies"):
            raise StoreUnavailable("the process died")
        return await delete(*args)

    with monkeypatch.context() as patch:
        if dies_at == "copies":
            patch.setattr(stores.redis, "remove_keys", dies)
        patch.setattr(stores.mongo, "delete", dies)
        with pytest.raises(StoreUnavailable):
            await backend.retention.prune(S.FAILED, DAY, 10)

    # Its steps may be gone already, so it must not run again.
    assert await backend.executions.retry(id_) == (None, False)
    assert await backend.retention.prune(S.FAILED, DAY, 10) == 1
    assert await backend.executions.get(id_) is None
    assert raw_mongo.steps.count_documents({}) == 0


async def test_who_is_late_removes_nothing_of_the_id_sent_anew(
    backend: RedisMongoBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await ended(backend, raw_mongo, Completed(result="1"))
    stores = backend._open_parts.stores
    remove_keys = stores.redis.remove_keys

    async def anew(keys: Any) -> None:
        """Somebody else removes it, and it is sent and runs again, meanwhile."""
        monkeypatch.setattr(stores.redis, "remove_keys", remove_keys)
        assert await backend.retention.prune(S.COMPLETED, DAY, 10) == 1
        claim = await claimed(backend, id=id_)
        await backend.steps.checkpoint(claim, new_step(2))
        await remove_keys(keys)

    monkeypatch.setattr(stores.redis, "remove_keys", anew)

    assert await backend.retention.prune(S.COMPLETED, DAY, 10) == 0

    assert (await stored(backend, id_)).status is S.PROCESSING
    assert [step.title for step in await backend.steps.all(id_)] == ["step 2"]


@pytest.mark.parametrize("options", [{}, {"durability": "fast"}, {"ts_compat": True}])
async def test_steps_recorded_by_a_clock_that_is_ahead_go_as_well(
    open_backend: OpenBackend, raw_mongo: Mongo, options: dict[str, Any]
) -> None:
    backend = await open_backend(**options)
    claim = await claimed(backend)
    ahead = now() + timedelta(days=1)
    await backend.steps.checkpoint(claim, new_step(finished_at=ahead))
    await settle(backend, claim, Completed(result="1"))
    await until(lambda: backend.retention.prune(S.COMPLETED, 0.0, 10))

    assert raw_mongo.steps.count_documents({}) == 0
    claim = await claimed(backend, id=claim.execution.id)
    assert await backend.steps.checkpoint(claim, step := new_step(result="2")) == step


async def test_steps_that_say_not_whose_they_are_go_with_it(
    open_backend: OpenBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original's, and what executions of its id left that were deleted alone."""
    monkeypatch.setattr(retention, "MAX_LEFT_STEPS", 1)
    backend = await open_backend(ts_compat=True)
    id_ = await ended(backend, raw_mongo)
    step = {"executionId": id_, "timestamp": 2**52, "status": "completed"}
    raw_mongo.steps.insert_many(
        [
            step | {"stepId": "theirs"},
            step | {"stepId": "old", "_id": f"{id_}:old", "executionNonce": "old"},
        ]
    )

    assert await backend.retention.prune(S.FAILED, DAY, 10) == 1

    assert raw_mongo.steps.count_documents({}) == 0


@pytest.mark.parametrize("settlement", [Completed(result="1"), Failed(error=ERROR)])
async def test_who_is_late_removes_no_step_whatever_says_when_it_was_recorded(
    backend: RedisMongoBackend,
    raw_mongo: Mongo,
    monkeypatch: pytest.MonkeyPatch,
    settlement: Settlement,
) -> None:
    """Its id is sent anew and has ended as well when the late one continues."""
    id_ = await ended(backend, raw_mongo, settlement)
    status = (await stored(backend, id_)).status
    mongo = backend._open_parts.stores.mongo
    delete = mongo.delete
    kept: list[Any] = []

    async def late(collection: str, *queries: Any) -> int:
        monkeypatch.setattr(mongo, "delete", delete)
        assert await backend.retention.prune(status, DAY, 10) == 1
        claim = await claimed(backend, id=id_)
        await backend.steps.checkpoint(claim, new_step(1, finished_at=LONG_AGO))
        await backend.steps.checkpoint(claim, new_step(2, finished_at=LONG_AGO))
        # As a step is that somebody has changed who knows no marks.
        raw_mongo.steps.update_one({"stepId": new_step(2).step_id}, UNMARKED)
        await settle(backend, claim, settlement)
        raw_mongo.executions.update_one({}, {"$set": {"finishedAt": LONG_AGO}})
        kept.extend(raw_mongo.steps.find())
        return await delete(collection, *queries)

    monkeypatch.setattr(mongo, "delete", late)

    assert await backend.retention.prune(status, DAY, 10) == 0

    assert len(kept) == 2
    assert list(raw_mongo.steps.find()) == kept
    assert (await stored(backend, id_)).status is status


async def test_what_is_left_to_write_of_a_former_life_comes_before_the_next(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    write_behind, scripts = (
        backend._open_parts.stores.write_behind,
        backend._open_parts.stores.scripts,
    )
    ended: dict[str, Any] = {
        "id": "e1",
        "status": "completed",
        "token": 1,
        "nonce": "first",
    }
    anew = {
        "id": "e1",
        "eventData": "2",
        "status": "queued",
        "token": 0,
        "nonce": "second",
    }

    execution = StoredExecution(
        id="e1",
        event_name="payment",
        event_data="1",
        status=S.PROCESSING,
        created_at=now(),
        updated_at=now(),
        nonce="first",
    )
    claim = Claim(execution=execution, worker_id="w", token=1)

    write_behind.put(scripts.mark(claim, 1, lambda _: None), at_once=False)
    write_behind.put(scripts.step(claim, "s", "1", ""), at_once=False)
    write_behind.put(
        scripts.release("w", "e1", NOWHERE, fields=ended, ttl=9), at_once=False
    )
    write_behind.put(scripts.enqueue(anew, NOWHERE))
    assert await write_behind.flush(5)

    assert raw_redis.hget(f"{prefix}:execution:e1", "status") == "queued"
    assert raw_redis.exists(f"{prefix}:steps:e1") == 0


async def test_copies_in_redis_go_even_if_they_would_not_expire(
    backend: RedisMongoBackend,
    raw_mongo: Mongo,
    raw_redis: redis.Redis,
    prefix: str,
) -> None:
    id_ = await ended(backend, raw_mongo)
    assert await backend._open_parts.stores.write_behind.flush(5)
    keys = [f"{prefix}:execution:{id_}", f"{prefix}:steps:{id_}"]
    assert [raw_redis.persist(key) for key in keys] == [1, 1]

    assert await backend.retention.prune(S.FAILED, DAY, 10) == 1

    assert raw_redis.exists(*keys) == 0


async def test_documents_of_the_original_are_never_removed(
    open_backend: OpenBackend, raw_mongo: Mongo, prefix: str
) -> None:
    backend = await open_backend(ts_compat=True)
    long_ago = datetime.now(UTC) - timedelta(days=365)
    original = {
        "eventName": "pay",
        "eventData": "{}",
        "status": "completed",
        "attemptCount": 0,
        "createdAt": 1,
        "updatedAt": 2,
    }
    raw_mongo.executions.insert_many(
        [
            original | {"id": "theirs", "_id": ObjectId()},
            # Sent by the original, run by a worker of ours.
            original
            | {"id": "shared", "_id": ObjectId(), "queuePrefix": prefix}
            | {"finishedAt": long_ago, "doneBy": "w:1"},
        ]
    )
    ours = await ended(backend, raw_mongo)

    assert await backend.retention.prune(S.COMPLETED, DAY, 10) == 0
    assert await backend.retention.prune(S.FAILED, DAY, 10) == 1

    left = raw_mongo.executions.distinct("id")
    assert sorted(left) == ["shared", "theirs"]
    assert await backend.executions.get(ours) is None


async def test_what_is_kept_is_not_read(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    """A look costs what it removes, whatever ended later or otherwise."""
    now = datetime.now(UTC)
    end = {"_id": "", "id": "", "queuePrefix": prefix, "eventName": "pay"}
    end |= {"eventData": "{}", "createdAt": 1, "updatedAt": 1}
    kept = [
        end
        | {"_id": f"{status}-{n}", "id": f"{status}-{n}", "status": status}
        | {"finishedAt": now - timedelta(days=days)}
        for status, days in (("completed", 0), ("failed", 300), ("cancelled", 300))
        for n in range(500)
    ]
    old = [
        end
        | {"_id": f"old-{n}", "id": f"old-{n}", "status": "completed"}
        | {"finishedAt": now - timedelta(days=2)}
        for n in range(30)
    ]
    raw_mongo.executions.insert_many(kept + old)

    with profiled(raw_mongo) as reads:
        assert await backend.retention.prune(S.COMPLETED, DAY, 10) == 10
    assert reads.keys <= 4 * 10 + 4
    assert reads.documents <= 4 * 10
    assert "COLLSCAN" not in reads.plans

    assert await backend.retention.prune(S.COMPLETED, DAY, 100) == 20
    with profiled(raw_mongo) as reads:
        assert await backend.retention.prune(S.COMPLETED, DAY, 10) == 0
    assert reads.keys <= 1
    assert raw_mongo.executions.count_documents({}) == len(kept)


async def test_the_clock_of_this_process_decides_nothing(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, Completed(result="1"))
    in_a_year = int(time.time() * 1000) + 365 * 86_400_000
    monkeypatch.setattr(backend._open_parts.stores.clock, "now", lambda: in_a_year)

    assert await backend.retention.prune(S.COMPLETED, DAY, 10) == 0

    assert (await stored(backend, claim.execution.id)).status is S.COMPLETED


async def test_all_its_steps_go_and_only_its_own(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    id_ = await ended(backend, raw_mongo)
    raw_mongo.steps.insert_many(
        {"_id": f"{id_}:{n}", "executionId": id_, "stepId": str(n)} for n in range(3000)
    )
    # Its id begins like the other's, and holds what separates id and step.
    near = await insert_one(backend, id=f"{id_}:1")
    raw_mongo.steps.insert_one({"_id": f"{near}:1", "executionId": near})

    assert await backend.retention.prune(S.FAILED, DAY, 10) == 1

    assert raw_mongo.steps.distinct("_id") == [f"{near}:1"]


async def test_another_worker_is_elected_when_the_first_is_silent(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    assert await backend.leadership.holds("first")
    assert not await backend.leadership.holds("second")
    assert await backend.leadership.holds("first")
    long_ago = datetime.now(UTC) - timedelta(days=1)
    raw_mongo.worchflow_meta.update_one(
        {"_id": f"sweep:{prefix}"}, {"$set": {"expiresAt": long_ago}}
    )
    assert await backend.leadership.holds("second")
    assert not await backend.leadership.holds("first")
