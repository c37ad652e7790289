"""An id that was deleted and sent again: nothing of the earlier execution is left."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import redis

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.stores import ERROR, claim_one, insert_one, joined, new_step
from tests.waiting import until
from worchflow.model.records import ExecutionStatus, StepStatus, WorkerRecord
from worchflow.model.settlement import Completed, RetryAt
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

OPTIONS = [{}, {"durability": "fast"}, {"ts_compat": True}]
ID = "same"


@pytest.fixture(params=OPTIONS, ids=["strict", "fast", "ts_compat"])
async def backend(
    request: pytest.FixtureRequest, open_backend: OpenBackend
) -> RedisMongoBackend:
    return await open_backend(**request.param)


async def live_once(
    backend: RedisMongoBackend,
    worker: WorkerRecord,
    mongo: Mongo,
    *,
    ends: bool,
    steps_stay: bool = False,
) -> None:
    """Run both steps of an execution; then it is deleted from MongoDB alone."""
    await insert_one(backend, id=ID, event_data="1")
    claim = await claim_one(backend, worker)
    await backend.steps.checkpoint(claim, new_step(1, result="1"))
    await backend.steps.checkpoint(claim, new_step(2, result="101"))
    if ends:
        await backend.claims.settle(claim, Completed(result="1"), None)
    assert await backend._open_parts.stores.write_behind.flush(5)
    await until(lambda: mongo.steps.count_documents({}) == 2)
    mongo.executions.delete_many({})
    if not steps_stay:
        mongo.steps.delete_many({})


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "under way"])
async def test_no_step_of_it_is_replayed(
    backend: RedisMongoBackend,
    raw_mongo: Mongo,
    raw_redis: redis.Redis,
    prefix: str,
    ends: bool,
) -> None:
    worker = await joined(backend)
    await live_once(backend, worker, raw_mongo, ends=ends)

    await insert_one(backend, id=ID, event_data="2")
    first = await claim_one(backend, worker)
    step = new_step(1, result="2")
    await backend.steps.checkpoint(first, step)
    await backend.claims.settle(first, RetryAt(error=ERROR, delay=0.0), None)
    second = await claim_one(backend, worker)

    assert second.steps == {step.step_id: step}
    assert second.execution.event_data == "2"
    assert await backend.steps.all(ID) == [step]
    hash_ = f"{prefix}:execution:{ID}"
    await until(lambda: raw_redis.hget(hash_, "status") == "processing")
    assert raw_redis.hget(hash_, "eventData") == "2"
    assert raw_redis.hget(f"{prefix}:steps:{ID}", new_step(2).step_id) is None


@pytest.mark.parametrize("is_wiped", [True, False], ids=["wiped", "with Redis"])
@pytest.mark.parametrize("ends", [True, False], ids=["ended", "under way"])
async def test_steps_that_outlived_its_document_are_void(
    backend: RedisMongoBackend,
    raw_mongo: Mongo,
    raw_redis: redis.Redis,
    ends: bool,
    is_wiped: bool,
) -> None:
    """All steps run anew, are recorded in the place of the old ones, and replayed."""
    worker = await joined(backend)
    await live_once(backend, worker, raw_mongo, ends=ends, steps_stay=True)
    assert await backend.steps.all(ID) == []
    if is_wiped:
        raw_redis.flushdb()

    await insert_one(backend, id=ID, event_data="2")
    claim = await claim_one(backend, worker)
    assert claim.steps == {}
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0.0), None)
    claim = await claim_one(backend, worker)
    assert claim.steps == {}
    assert await backend.steps.all(ID) == []
    steps = [new_step(n, result=f'"anew {n}"') for n in (1, 2)]
    assert await backend.steps.checkpoint(claim, steps[0]) == steps[0]
    await until(lambda: raw_mongo.steps.count_documents({"result": "anew 1"}) == 1)
    assert await backend.steps.all(ID) == steps[:1]
    assert await backend.steps.checkpoint(claim, steps[1]) == steps[1]
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0.0), None)

    again = await claim_one(backend, worker)

    assert again.steps == {step.step_id: step for step in steps}
    assert await backend.steps.all(ID) == steps
    assert (await backend.claims.settle(again, Completed(result="1"), None)).applied
    assert raw_mongo.steps.count_documents({}) == 2


async def test_a_failure_that_outlived_its_document_is_void(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    worker = await joined(backend)
    await insert_one(backend, id=ID)
    claim = await claim_one(backend, worker)
    failure = new_step(status=StepStatus.FAILED, result=None, error=ERROR)
    await backend.steps.checkpoint(claim, failure)
    raw_mongo.executions.delete_many({})

    await insert_one(backend, id=ID)
    claim = await claim_one(backend, worker)
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0.0), None)
    claim = await claim_one(backend, worker)

    assert claim.steps == {}
    step = new_step()
    assert await backend.steps.checkpoint(claim, step) == step
    assert (await backend.claims.settle(claim, Completed(result="1"), None)).applied
    assert await backend.steps.all(ID) == [step]


async def test_whoever_is_first_takes_the_place_of_a_void_step(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    backends = [await open_backend(), await open_backend()]
    worker = await joined(backends[0])
    await live_once(backends[0], worker, raw_mongo, ends=True, steps_stay=True)
    await insert_one(backends[0], id=ID)
    claim = await claim_one(backends[0], worker)
    other = replace(claim, worker_id="other")

    recorded = await asyncio.gather(
        *(
            backends[n % 2].steps.checkpoint(
                claim if n % 2 else other, new_step(result=f"{n}")
            )
            for n in range(20)
        )
    )

    assert len({step.result for step in recorded}) == 1
    assert await backends[0].steps.all(ID) == [recorded[0]]


@pytest.mark.parametrize("ts_compat", [False, True])
async def test_a_step_without_a_mark_counts(
    open_backend: OpenBackend, raw_mongo: Mongo, ts_compat: bool
) -> None:
    """The original, which may have recorded it, makes none."""
    backend = await open_backend(ts_compat=ts_compat)
    worker = await joined(backend)
    await insert_one(backend, id=ID)
    claim = await claim_one(backend, worker)
    await backend.steps.checkpoint(claim, new_step(1, result="1"))
    raw_mongo.steps.update_many({}, {"$unset": {"executionNonce": ""}})

    assert [step.result for step in await backend.steps.all(ID)] == ["1"]
    recorded = await backend.steps.checkpoint(claim, new_step(1, result="2"))
    assert recorded.result == "1"


async def test_what_it_still_writes_changes_nothing(
    backend: RedisMongoBackend, raw_mongo: Mongo, raw_redis: redis.Redis, prefix: str
) -> None:
    worker = await joined(backend)
    await insert_one(backend, id=ID, event_data="1")
    old = await claim_one(backend, worker)
    raw_mongo.executions.delete_many({})

    await insert_one(backend, id=ID, event_data="2")
    new = await claim_one(backend, worker)
    await backend.steps.checkpoint(new, new_step(1, result="2"))
    assert await backend._open_parts.stores.write_behind.flush(5)
    keys = [f"{prefix}:execution:{ID}", f"{prefix}:steps:{ID}"]
    before = [raw_redis.hgetall(key) for key in keys]
    stores = backend._open_parts.stores
    late: dict[str, Any] = {
        **stores.documents.status_fields(old.execution),
        "status": "completed",
        "token": 9,
    }
    stores.write_behind.put(stores.scripts.step(old, new_step(2).step_id, "101", ""))
    stores.write_behind.put(stores.scripts.mark(old, 1, lambda _: None))
    stores.write_behind.put(stores.scripts.release("w", ID, "none", fields=late, ttl=9))
    assert await stores.write_behind.flush(5)

    assert [raw_redis.hgetall(key) for key in keys] == before
    assert [raw_redis.ttl(key) for key in keys] == [-1, -1]
    assert (await backend.claims.settle(new, Completed(result="1"), None)).applied
    await until(lambda: raw_redis.hget(keys[0], "status") == ExecutionStatus.COMPLETED)


async def test_a_strict_worker_replays_what_a_fast_one_has_only_told_redis(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    fast, strict = await open_backend(durability="fast"), await open_backend()
    worker, other = await joined(fast), await joined(strict)
    await insert_one(fast, id=ID)
    claim = await claim_one(fast, worker)
    step = new_step(1, result="1")
    await fast.steps.checkpoint(claim, step)
    assert await fast._open_parts.stores.write_behind.flush(5)
    await until(lambda: raw_mongo.steps.count_documents({}) == 1)
    # As a worker leaves it that dies before MongoDB has the step.
    raw_mongo.steps.delete_many({})
    await fast.claims.settle(claim, RetryAt(error=ERROR, delay=0.0), None)

    again = await claim_one(strict, other)

    assert again.steps[step.step_id].result == "1"


async def test_a_strict_worker_asks_redis_for_no_steps(
    open_backend: OpenBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await open_backend()
    worker = await joined(backend)
    await insert_one(backend, id=ID)
    claim = await claim_one(backend, worker)
    await backend.steps.checkpoint(claim, new_step())
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0.0), None)
    asked: list[Any] = []

    async def hashes(keys: Any) -> Any:
        asked.append(keys)
        return [None] * len(keys)

    monkeypatch.setattr(backend._open_parts.stores.redis, "hashes", hashes)
    again = await claim_one(backend, worker)

    assert len(again.steps) == 1
    assert asked == []
