"""Suspended executions in Redis: where their ids are, and what is dropped."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
import redis

from tests.redis_mongo.conftest import Mongo
from tests.stores import (
    claim_many,
    claim_one,
    claimed,
    insert,
    joined,
    new_execution,
    nothing_to_claim,
    now,
    settle,
)
from tests.waiting import until
from worchflow.foundations.errors import SerializationError
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Released, Suspended
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import NewWait
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


WAIT = NewWait(step_id="1" * 32, kind=StepKind.SLEEP, title="Nap", timeout=3600.0)


async def test_a_wait_of_an_earlier_execution_of_the_id_does_not_count(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    claim = await claimed(backend)
    await backend.waits.add(claim, [WAIT])
    raw_mongo.waits.update_one(
        {}, {"$set": {"executionNonce": "earlier", "title": "Earlier"}}
    )
    await settle(backend, claim, Released())

    again = await claim_one(backend, await joined(backend))
    assert again.waits == {}
    assert await backend.waits.all(claim.execution.id) == []
    (added,) = await backend.waits.add(again, [WAIT])

    assert (added.title, added.token) == ("Nap", again.token)
    (stored,) = await backend.waits.all(claim.execution.id)
    assert (stored.title, stored.token) == ("Nap", again.token)


@pytest.mark.parametrize(
    "damage",
    [
        {"$set": {"stepId": 7}},
        {"$unset": {"title": ""}},
        {"$set": {"deadline": "tomorrow"}},
    ],
    ids=["stepId", "title", "deadline"],
)
async def test_a_wait_that_cannot_be_read_is_in_nobodys_way(
    backend: RedisMongoBackend, raw_mongo: Mongo, damage: dict[str, object]
) -> None:
    worker = await joined(backend)
    await insert(backend, new_execution("damaged"), new_execution("well"))
    claims = await claim_many(backend, worker, 2)
    for claim in claims:
        await backend.waits.add(claim, [WAIT])
        await settle(backend, claim, Suspended(status=S.WAITING, wakeups=0))
    raw_mongo.waits.update_one({"executionId": "damaged"}, damage)
    await backend.waits.wake(["damaged", "well"])

    again = {c.execution.id: c for c in await claim_many(backend, worker, 2)}

    assert again["damaged"].waits == {}
    assert [wait.title for wait in again["well"].waits.values()] == ["Nap"]
    with pytest.raises(SerializationError, match="a wait of execution damaged"):
        await backend.waits.add(again["damaged"], [WAIT])


async def test_the_kind_of_a_later_release_is_no_reason_to_stop(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    claim = await claimed(backend)
    await backend.waits.add(claim, [WAIT])
    raw_mongo.waits.update_one({}, {"$set": {"kind": "telepathy"}})
    await settle(backend, claim, Released())

    again = await claim_one(backend, await joined(backend))

    assert [wait.title for wait in again.waits.values()] == ["Nap"]


async def test_waits_of_many_are_read_at_once(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await joined(backend)
    news = await insert(backend, *(new_execution() for _ in range(20)))
    for claim in await claim_many(backend, worker, 20, 20):
        await backend.waits.add(claim, [WAIT])
        await settle(backend, claim, Suspended(status=S.WAITING, wakeups=0))
    mongo = backend._open_parts.stores.mongo
    find, asked = mongo.find, list[str]()

    async def counted(collection: str, *args: object, **kwargs: object) -> object:
        asked.append(collection)
        return await find(collection, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(mongo, "find", counted)
    await backend.waits.wake(news)
    claims = await claim_many(backend, worker, 20, 20)

    assert [len(claim.waits) for claim in claims] == [1] * 20
    # A round may take fewer than wait, but never one for each.
    assert asked.count("waits") < 5


async def test_a_deadline_that_is_due_for_the_claim_is_due_whatever_our_clock_says(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await claimed(backend)
    assert await backend.claims.begin(claim, 0.001) is not None
    await settle(backend, claim, Released())
    clock = backend._open_parts.stores.clock
    late = clock.now() - 60_000
    monkeypatch.setattr(clock, "now", lambda: late)

    claim = await claim_one(backend, await joined(backend))

    assert claim.deadline_left == 0
