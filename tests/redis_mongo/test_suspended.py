"""Suspended executions in Redis: where their ids are, and what is dropped."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
import redis

from tests.redis_mongo.conftest import Mongo
from tests.stores import claim_one, claimed, joined, nothing_to_claim, now, settle
from tests.waiting import until
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Suspended
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

S = ExecutionStatus
WAITING = Suspended(status=S.WAITING, wakeups=0)


async def test_its_id_is_nowhere_or_in_the_delayed_set(
    backend: RedisMongoBackend, raw_redis: redis.Redis
) -> None:
    keys = backend._open_parts.stores.keys
    timed, plain = await claimed(backend), await claimed(backend)
    due = now() + timedelta(hours=1)
    await settle(backend, timed, Suspended(status=S.SLEEPING, wakeups=0, until=due))
    await settle(backend, plain, WAITING)

    def statuses() -> list[str | None]:
        hashes = (keys.execution(claim.execution.id) for claim in (timed, plain))
        return [raw_redis.hget(each, "status") for each in hashes]

    await until(lambda: statuses() == ["sleeping", "waiting"])
    delayed = raw_redis.zrange(keys.delayed, 0, -1, withscores=True)
    assert delayed == [(timed.execution.id, due.timestamp() * 1000)]
    assert raw_redis.llen(keys.queue) == 0


async def test_its_id_in_the_queue_is_dropped_without_a_word(
    backend: RedisMongoBackend,
    raw_redis: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = backend._open_parts.stores.keys
    claim = await claimed(backend)
    id_ = claim.execution.id
    await settle(backend, claim, WAITING)
    worker = await joined(backend)
    raw_redis.rpush(keys.queue, id_)

    with caplog.at_level(logging.INFO, "worchflow"):
        assert await nothing_to_claim(backend, worker)

    assert caplog.records == []
    await until(lambda: raw_redis.llen(keys.inflight(worker.id)) == 0)
    assert raw_redis.llen(keys.queue) == 0
    await backend.waits.wake([id_])
    assert (await claim_one(backend, worker)).execution.id == id_


async def test_a_wake_up_that_redis_has_not_seen_is_found_by_the_sweep(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo
) -> None:
    keys = backend._open_parts.stores.keys
    claim = await claimed(backend)
    await settle(backend, claim, WAITING)
    await backend.waits.wake([claim.execution.id])
    await until(lambda: raw_redis.llen(keys.queue) == 1)
    raw_redis.delete(keys.queue)
    long_ago = now() - timedelta(minutes=1)
    raw_mongo.executions.update_one({}, {"$set": {"dueAt": long_ago}})
    worker = await joined(backend)

    assert await backend.sweeping.sweep(worker.id) == 1

    assert (await claim_one(backend, worker)).execution.id == claim.execution.id
