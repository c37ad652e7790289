"""What is stored is the seed's format; a program that knows only that takes part."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest
import redis

from tests.redis_mongo.conftest import Mongo
from tests.stores import (
    ERROR,
    claim_one,
    insert_one,
    joined,
    new_step,
)
from tests.waiting import until
from worchflow.foundations.ids import step_id
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed, Failed, RetryAt
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

DAY = 24 * 3600


def send(client: redis.Redis, prefix: str, id_: str, **fields: str) -> None:
    """Send as a program does that knows the seed's structures and nothing else."""
    now = str(int(time.time() * 1000))
    mapping = {
        "id": id_,
        "eventName": "payment",
        "eventData": '{"amount":7}',
        "status": "queued",
        "attemptCount": "0",
        "createdAt": now,
        "updatedAt": now,
    }
    client.hset(f"{prefix}:execution:{id_}", mapping=mapping | fields)
    client.rpush(f"{prefix}:queue", id_)


async def test_a_sent_execution_is_a_hash_and_an_id_in_the_list(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    id_ = await insert_one(backend)
    (queued,) = await until(lambda: raw_redis.lrange(f"{prefix}:queue", 0, -1))
    assert queued == id_
    fields = raw_redis.hgetall(f"{prefix}:execution:{id_}")
    assert fields["id"] == id_
    assert fields["eventName"] == "payment"
    assert json.loads(fields["eventData"]) == {"amount": 100}
    assert fields["status"] == "queued"
    assert fields["attemptCount"] == "0"
    assert abs(int(fields["createdAt"]) / 1000 - time.time()) < 60
    assert int(fields["updatedAt"]) >= int(fields["createdAt"])
    assert raw_redis.ttl(f"{prefix}:execution:{id_}") == -1


async def test_ids_are_queued_in_the_order_of_sending(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    ids = [await insert_one(backend) for _ in range(5)]
    await until(lambda: raw_redis.llen(f"{prefix}:queue") == 5)
    assert raw_redis.lrange(f"{prefix}:queue", 0, -1) == ids


async def test_a_running_execution_shows_its_steps(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    step = new_step(1, step_id=step_id("charge"), title="charge", result='{"ok":1}')
    await backend.steps.checkpoint(claim, step)
    hash_ = f"{prefix}:execution:{id_}"
    await until(lambda: raw_redis.hget(hash_, "status") == "processing")
    steps = await until(lambda: raw_redis.hgetall(f"{prefix}:steps:{id_}"))
    md5 = hashlib.md5(b"charge", usedforsecurity=False).hexdigest()
    assert steps == {md5: '{"ok":1}', "nonce": claim.execution.nonce}
    document = raw_mongo.steps.find_one({"executionId": id_})
    assert document is not None
    assert document["_id"] == f"{id_}:{step.step_id}"
    assert document["name"] == "charge"
    assert document["status"] == "completed"
    assert document["result"] == {"ok": 1}
    assert isinstance(document["timestamp"], int)


async def test_a_completed_execution_shows_its_result_and_expires_from_redis(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    await backend.steps.checkpoint(claim, new_step())
    await backend.claims.settle(claim, Completed(result='{"receipt":[1]}'), None)
    hash_ = f"{prefix}:execution:{id_}"
    await until(lambda: raw_redis.hget(hash_, "status") == "completed")
    assert raw_redis.hget(hash_, "result") == '{"receipt":[1]}'
    assert 0 < raw_redis.ttl(hash_) <= DAY
    assert 0 < raw_redis.ttl(f"{prefix}:steps:{id_}") <= DAY
    assert raw_redis.keys(f"{prefix}:inflight:*") == []
    document = raw_mongo.executions.find_one({"id": id_})
    assert document is not None
    assert document["status"] == "completed"
    assert document["result"] == {"receipt": [1]}
    assert "owner" not in document


async def test_a_failed_execution_shows_its_error(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    await backend.claims.settle(claim, Failed(error=ERROR), None)
    hash_ = f"{prefix}:execution:{id_}"
    await until(lambda: raw_redis.hget(hash_, "status") == "failed")
    assert raw_redis.hmget(hash_, "error", "attemptCount") == ["no funds", "1"]
    document = raw_mongo.executions.find_one({"id": id_})
    assert document is not None
    assert (document["error"], document["errorStack"]) == (
        "no funds",
        "line 1\nline 2",
    )
    assert document["attemptCount"] == 1


async def test_a_retry_later_waits_in_the_delayed_set(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=60), None)
    due = await until(lambda: raw_redis.zscore(f"{prefix}:delayed", id_))
    assert abs(due / 1000 - time.time() - 60) < 5
    assert raw_redis.hget(f"{prefix}:execution:{id_}", "status") == "retrying"


async def test_explicit_retry_keeps_the_hashes_again(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    await backend.steps.checkpoint(claim, new_step())
    await backend.claims.settle(claim, Failed(error=ERROR), None)
    await until(lambda: raw_redis.ttl(f"{prefix}:steps:{id_}") > 0)
    await backend.executions.retry(id_)
    await until(lambda: raw_redis.lrange(f"{prefix}:queue", 0, -1) == [id_])
    assert raw_redis.ttl(f"{prefix}:execution:{id_}") == -1
    assert raw_redis.ttl(f"{prefix}:steps:{id_}") == -1
    assert raw_redis.hmget(f"{prefix}:execution:{id_}", "status", "error") == [
        "queued",
        None,
    ]


async def test_a_program_that_only_knows_redis_can_send_and_read(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    worker = await joined(backend)
    send(raw_redis, prefix, "foreign-1")
    claim = await claim_one(backend, worker)
    assert claim.execution.id == "foreign-1"
    assert claim.execution.event_data == '{"amount":7}'
    await backend.steps.checkpoint(claim, new_step())
    await backend.claims.settle(claim, Completed(result="true"), None)
    hash_ = f"{prefix}:execution:foreign-1"
    await until(lambda: raw_redis.hget(hash_, "status") == "completed")
    assert raw_redis.hget(hash_, "result") == "true"
    assert raw_mongo.executions.count_documents({"_id": "foreign-1"}) == 1


async def test_steps_that_only_redis_knows_are_not_run_again(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    charge = step_id("charge")
    raw_redis.hset(f"{prefix}:steps:foreign-2", charge, '{"charged":true}')
    raw_redis.hset(f"{prefix}:steps:foreign-2", "broken", "{no json")
    send(raw_redis, prefix, "foreign-2")
    claim = await claim_one(backend, await joined(backend))
    assert list(claim.steps) == [charge]
    assert claim.steps[charge].result == '{"charged":true}'
    kept = raw_mongo.steps.find_one({"executionId": "foreign-2"})
    assert kept is not None
    assert kept["result"] == {"charged": True}


async def test_what_mongodb_recorded_wins_over_redis(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    id_ = await insert_one(backend)
    worker = await joined(backend)
    claim = await claim_one(backend, worker)
    step = new_step(1, result='"recorded"')
    await backend.steps.checkpoint(claim, step)
    await until(lambda: raw_redis.hgetall(f"{prefix}:steps:{id_}"))
    raw_redis.hset(f"{prefix}:steps:{id_}", step.step_id, '"changed"')
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0), None)
    again = await claim_one(backend, worker)
    assert again.steps[step.step_id] == step


@pytest.mark.parametrize(
    "fields",
    [
        {"eventData": "{broken"},
        {"status": "completed"},
        {"id": "another"},
        {"eventName": ""},
    ],
)
async def test_a_half_written_hash_is_set_aside_and_stops_nobody(
    backend: RedisMongoBackend,
    raw_redis: redis.Redis,
    prefix: str,
    fields: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = await joined(backend)
    send(raw_redis, prefix, "junk-1", **fields)
    send(raw_redis, prefix, "good-1")
    claim = await claim_one(backend, worker)
    assert claim.execution.id == "good-1"
    assert await backend.executions.get("junk-1") is None
    inflight = f"{prefix}:inflight:{worker.id}"
    await until(lambda: raw_redis.lrange(inflight, 0, -1) == ["good-1"])
    said = [r for r in caplog.records if "junk-1" in r.getMessage()]
    assert len(said) == 1


async def test_ids_and_keys_of_nobody_stop_nobody(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    worker = await joined(backend)
    raw_redis.set(f"{prefix}:execution:string", "no hash")
    raw_redis.rpush(f"{prefix}:queue", "nothing", "string", b"\xff\xfe", "x" * 10_000)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_
    inflight = f"{prefix}:inflight:{worker.id}"
    await until(lambda: raw_redis.lrange(inflight, 0, -1) == [id_])
    assert raw_redis.llen(f"{prefix}:queue") == 0


async def test_a_key_of_another_type_keeps_only_its_own_execution_out_of_redis(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    raw_redis.set(f"{prefix}:execution:odd", "no hash")
    await insert_one(backend, id="odd")
    id_ = await insert_one(backend)
    worker = await joined(backend)
    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_
    await backend.claims.settle(claim, Completed(result="1"), None)
    hash_ = f"{prefix}:execution:{id_}"
    await until(lambda: raw_redis.hget(hash_, "status") == "completed")


@pytest.mark.parametrize(
    "change",
    [
        {"$set": {"eventData": {"native": 1}}},
        {"$set": {"id": 5}},
        {"$unset": {"eventData": ""}},
        {"$set": {"status": "unheard-of"}},
        {"$set": {"owner": 7}},
        {"$set": {"queuePrefix": "another"}},
        {"$set": {"status": "processing"}},
    ],
)
async def test_documents_of_nobody_stop_nobody(
    backend: RedisMongoBackend, raw_mongo: Mongo, change: dict[str, Any]
) -> None:
    junk = await insert_one(backend)
    raw_mongo.executions.update_one({"_id": junk}, change)
    ids = [await insert_one(backend) for _ in range(3)]
    worker = await joined(backend)
    claims = [await claim_one(backend, worker) for _ in ids]
    assert [claim.execution.id for claim in claims] == ids
    assert list(await backend.claims.claim(worker, 5, 0.2)) == []


async def test_wrong_types_beside_the_payload_do_not_keep_it_from_running(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    id_ = await insert_one(backend)
    raw_mongo.executions.update_one(
        {"_id": id_},
        {"$set": {"token": "first", "attemptCount": "x", "runAt": "soon"}},
    )
    claim = await claim_one(backend, await joined(backend))
    assert claim.execution.id == id_
    assert claim.token == 1
    settled = await backend.claims.settle(claim, Completed(result="1"), None)
    assert settled.applied
    stored = await backend.executions.get(id_)
    assert stored is not None
    assert stored.status is ExecutionStatus.COMPLETED


async def test_a_late_write_neither_revives_nor_changes_a_finished_hash(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    await backend.claims.settle(claim, Completed(result="1"), None)
    hash_ = f"{prefix}:execution:{id_}"
    await until(lambda: raw_redis.hget(hash_, "status") == "completed")
    before = raw_redis.hgetall(hash_)
    parts = backend._open_parts
    scripts, write_behind = parts.stores.scripts, parts.stores.write_behind
    write_behind.put(scripts.mark(claim, 1, lambda _: None))
    write_behind.put(scripts.step(claim, "late", "1", ""))
    late = {"status": "queued", "token": claim.token, "updatedAt": 1}
    write_behind.put(scripts.release("w", id_, "none", fields=late))
    fields = parts.stores.documents.hash_fields(claim.execution)
    write_behind.put(scripts.enqueue(fields, "none"))
    assert await write_behind.flush(5)
    assert raw_redis.hgetall(hash_) == before
    assert raw_redis.ttl(hash_) > 0
    assert not raw_redis.exists(f"{prefix}:steps:{id_}")
