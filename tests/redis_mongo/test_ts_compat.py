"""With `ts_compat` programs of the TypeScript original and ours share their data."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.stores import (
    ERROR,
    claim_many,
    claim_one,
    insert_one,
    joined,
    new_execution,
    new_step,
)
from tests.waiting import until
from worchflow.foundations.errors import ConfigurationError, SerializationError
from worchflow.foundations.ids import step_id
from worchflow.model.records import ExecutionQuery, ExecutionStatus
from worchflow.model.settlement import Completed, RetryAt
from worchflow.storage.redis_mongo.backend import RedisMongoBackend


@pytest.fixture
async def backend(open_backend: OpenBackend) -> RedisMongoBackend:
    return await open_backend(ts_compat=True)


def original_document(id_: str, **fields: Any) -> dict[str, Any]:
    """Make what the original's client inserts: no `_id` of its own, none of ours."""
    # As a double, which the Node driver makes of it.
    now = float(int(time.time() * 1000) - 60_000)
    return {
        "id": id_,
        "eventName": "payment",
        "eventData": '{"amount":7}',
        "status": "queued",
        "attemptCount": 0,
        "createdAt": now,
        "updatedAt": now,
    } | fields


def send_as_the_original(
    client: redis.Redis, mongo: Mongo, prefix: str, id_: str
) -> None:
    document = original_document(id_)
    client.hset(f"{prefix}:execution:{id_}", mapping=document)
    mongo.executions.insert_one(document)
    client.rpush(f"{prefix}:queue", id_)


async def test_our_worker_serves_what_the_original_sent(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    worker = await joined(backend)
    send_as_the_original(raw_redis, raw_mongo, prefix, "ts-1")
    claim = await claim_one(backend, worker)
    assert claim.execution.id == "ts-1"
    assert claim.execution.event_data == '{"amount":7}'
    step = new_step(1, result='{"ok":true}')
    await backend.steps.checkpoint(claim, step)
    assert (await backend.claims.settle(claim, Completed(result="[1]"), None)).applied
    (document,) = raw_mongo.executions.find({"id": "ts-1"})
    assert document["status"] == "completed"
    assert document["result"] == [1]
    hash_ = f"{prefix}:execution:ts-1"
    await until(lambda: raw_redis.hget(hash_, "status") == "completed")
    assert [s.step_id for s in await backend.steps.all("ts-1")] == [step.step_id]


async def test_our_steps_are_hits_for_the_original(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    step = new_step(1, result='{"deep":[1,"é"]}')
    await backend.steps.checkpoint(claim, step)
    steps = await until(lambda: raw_redis.hgetall(f"{prefix}:steps:{id_}"))
    assert json.loads(steps[step.step_id]) == {
        "cached": True,
        "value": {"deep": [1, "é"]},
    }


async def test_steps_the_original_ran_are_not_run_again(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    in_redis, in_mongo, bare = step_id("a"), step_id("b"), step_id("c")
    key = f"{prefix}:steps:ts-2"
    raw_redis.hset(key, in_redis, '{"cached":true,"value":{"n":1}}')
    raw_redis.hset(key, bare, '"bare"')
    raw_mongo.steps.insert_one(
        {
            "executionId": "ts-2",
            "stepId": in_mongo,
            "name": "b",
            "status": "completed",
            "result": {"n": 2},
            "timestamp": 1778051289123,
        }
    )
    send_as_the_original(raw_redis, raw_mongo, prefix, "ts-2")
    claim = await claim_one(backend, await joined(backend))
    assert {id_: step.result for id_, step in claim.steps.items()} == {
        in_redis: '{"n":1}',
        in_mongo: '{"n":2}',
        bare: '"bare"',
    }
    assert raw_mongo.steps.count_documents({"executionId": "ts-2"}) == 3


async def test_a_step_the_original_recorded_is_adopted(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    step = new_step(1, result='"ours"')
    raw_mongo.steps.insert_one(
        {
            "executionId": id_,
            "stepId": step.step_id,
            "name": "theirs",
            "status": "completed",
            "result": "theirs",
        }
    )
    recorded = await backend.steps.checkpoint(claim, step)
    assert (recorded.title, recorded.result) == ("theirs", '"theirs"')


async def test_documents_without_a_prefix_are_ours(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    raw_mongo.executions.insert_one(original_document("ts-3", status="failed"))
    stored = await backend.executions.get("ts-3")
    assert stored is not None
    assert stored.status is ExecutionStatus.FAILED
    page = await backend.listing.page(ExecutionQuery())
    assert [one.id for one in page.items] == ["ts-3"]
    assert (await backend.counting.by_status())[ExecutionStatus.FAILED] == 1
    execution, queued = await backend.executions.retry("ts-3")
    assert queued
    assert execution is not None
    claim = await claim_one(backend, await joined(backend))
    assert claim.execution.id == "ts-3"


async def test_an_id_of_the_original_is_taken(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    raw_mongo.executions.insert_one(original_document("ts-4"))
    (outcome,) = await backend.executions.insert([new_execution("ts-4")])
    assert outcome.existing is not None
    assert outcome.existing.event_data == '{"amount":7}'
    assert raw_mongo.executions.count_documents({"id": "ts-4"}) == 1


async def test_the_sweep_finds_what_the_original_left_behind(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    minute_ago = float(int(time.time() * 1000) - 61_000)
    for id_, status in (("lost", "queued"), ("orphan", "processing")):
        raw_mongo.executions.insert_one(
            original_document(id_, status=status, updatedAt=minute_ago)
        )
    raw_mongo.executions.insert_one(original_document("done", status="completed"))
    worker = await joined(backend)
    assert await backend.sweeping.sweep(worker.id) == 2
    claims = await claim_many(backend, worker, 2)
    assert {claim.execution.id for claim in claims} == {"lost", "orphan"}


async def test_a_retried_execution_of_the_original_keeps_its_document(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    worker = await joined(backend)
    send_as_the_original(raw_redis, raw_mongo, prefix, "ts-5")
    claim = await claim_one(backend, worker)
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0), None)
    again = await claim_one(backend, worker)
    assert again.token > claim.token
    assert again.execution.attempt_count == 1
    assert raw_mongo.executions.count_documents({}) == 1


async def test_integers_the_original_would_change_are_refused(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    with pytest.raises(SerializationError, match=r"2\^53"):
        await backend.executions.insert([new_execution(event_data=f"[{2**53 + 1}]")])
    assert raw_mongo.executions.count_documents({}) == 0


async def test_the_unique_index_on_id_is_there(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    indexes = raw_mongo.executions.index_information()
    assert any(
        index["key"] == [("id", 1)] and index.get("unique")
        for index in indexes.values()
    )


async def test_without_the_option_the_originals_index_is_refused_by_name(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    raw_mongo.executions.create_index("id", unique=True, name="their_index")
    with pytest.raises(ConfigurationError, match=r"their_index.*ts_compat=True"):
        await open_backend()


async def test_without_the_option_documents_without_a_prefix_are_nobodys(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    backend = await open_backend()
    raw_mongo.executions.insert_one(original_document("ts-6"))
    assert await backend.executions.get("ts-6") is None
    assert not (await backend.listing.page(ExecutionQuery())).items


async def test_the_originals_own_indexes_are_kept_as_they_are(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    raw_mongo.executions.create_index("id", unique=True, name="theirs")
    raw_mongo.steps.create_index(
        [("executionId", 1), ("stepId", 1)], unique=True, name="theirs"
    )
    await open_backend(ts_compat=True)
    assert "id_1" not in raw_mongo.executions.index_information()
    assert set(raw_mongo.steps.index_information()) == {"_id_", "theirs"}


async def test_ids_that_are_there_twice_are_told_before_anything_is_done(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    raw_mongo.executions.insert_many([original_document("twice") for _ in range(2)])
    with pytest.raises(ConfigurationError, match=r"executions.*twice"):
        await open_backend(ts_compat=True)


async def test_what_a_dead_worker_owned_of_the_original_is_queued_once(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    dead, alive = await joined(backend), await joined(backend)
    ids = ["ts-7", "ts-8"]
    for id_ in ids:
        send_as_the_original(raw_redis, raw_mongo, prefix, id_)
    await claim_many(backend, dead, 2)
    raw_mongo.workers.update_one({"_id": dead.id}, {"$set": {"dead": True}})  # type: ignore[dict-item]

    assert await backend.workers.reap(alive.id, expired=False) == 2

    await backend._open_parts.stores.write_behind.flush(5)
    assert sorted(raw_redis.lrange(f"{prefix}:queue", 0, -1)) == ids
    assert len(await claim_many(backend, alive, 2)) == 2


async def test_one_that_lost_its_worker_and_its_times_keeps_no_other_from_the_sweep(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    minute_ago = float(int(time.time() * 1000) - 61_000)
    for id_, created in (("odd", "yesterday"), ("good", minute_ago)):
        raw_mongo.executions.insert_one(
            original_document(
                id_, status="processing", createdAt=created, updatedAt=minute_ago
            )
        )
    worker = await joined(backend)

    async def swept() -> bool:
        await backend.sweeping.sweep(worker.id)
        waiting = raw_mongo.executions.find({"sweptAt": {"$exists": True}})
        return {document["id"] for document in waiting} == {"odd", "good"}

    await until(swept)


async def test_a_worker_that_joins_passes_by_what_has_no_id(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=5)
    raw_mongo.executions.insert_one(
        {
            "queuePrefix": prefix,
            "eventName": "payment",
            "dueAt": soon,
            "handOns": 1,
        }
    )
    worker = await joined(backend, "payment")
    id_ = await insert_one(backend)
    assert (await claim_one(backend, worker)).execution.id == id_
