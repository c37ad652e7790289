"""What a worker does not serve is in nobody's way, and keeps its order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.redis_mongo.commands import Commands
from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.redis_mongo.profile import profiled
from tests.servers import RedisServer
from tests.stores import (
    claim_many,
    claim_one,
    expect,
    flushed,
    ids,
    insert,
    joined,
    new_execution,
    nothing_to_claim,
    settle,
    stored,
)
from tests.waiting import until
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed, Released
from worchflow.model.transitions import unserved_reason
from worchflow.storage.redis_mongo import counting, taking
from worchflow.storage.redis_mongo.backend import RedisMongoBackend


async def send(backend: RedisMongoBackend, event: str, count: int) -> list[str]:
    """Send some at once, and return when they are in the queue."""
    sent = await insert(backend, *(new_execution(event=event) for _ in range(count)))
    await flushed(backend)
    return sent


# -- no claim, no order lost


async def test_what_others_serve_costs_a_worker_no_claim(
    backend: RedisMongoBackend,
    counted: tuple[RedisMongoBackend, Commands],
    raw_redis: redis.Redis,
    prefix: str,
) -> None:
    own, commands = counted
    worker = await joined(own, "a")
    others = await send(backend, "b", 300)
    (wanted,) = await send(backend, "a", 1)
    commands.seen.clear()

    (claim,) = await own.claims.claim(worker, 10, 5.0)

    assert claim.execution.id == wanted
    await flushed(own)
    assert commands.seen == {"findAndModify executions": 1}
    assert raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == others
    assert raw_redis.llen(f"{prefix}:queue") == 0


async def test_a_call_sorts_so_many_and_the_next_goes_on(
    backend: RedisMongoBackend,
    raw_redis: redis.Redis,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taking, "MAX_SORTED_PER_CALL", 7)
    worker = await joined(backend, "a")
    others = await send(backend, "b", 30)
    (wanted,) = await send(backend, "a", 1)

    (claim,) = await backend.claims.claim(worker, 1, 0.0)

    assert claim.execution.id == wanted
    assert raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == others


async def test_an_event_keeps_its_order_over_ready_list_and_queue(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    other, worker = await joined(backend, "a"), await joined(backend, "b")
    first = await send(backend, "b", 5)
    assert await nothing_to_claim(backend, other)
    assert raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == first
    second = await send(backend, "b", 5)

    claims = await claim_many(backend, worker, 10, limit=3)

    assert ids(claims) == first + second
    assert not raw_redis.exists(f"{prefix}:ready:b", f"{prefix}:ready")


async def test_of_several_events_each_has_its_turn(
    backend: RedisMongoBackend,
) -> None:
    other, worker = await joined(backend, "z"), await joined(backend, "a", "b", "c")
    await send(backend, "a", 50)
    await send(backend, "b", 50)
    assert await nothing_to_claim(backend, other)
    await send(backend, "a", 50)
    (last,) = await send(backend, "c", 1)

    claims = await claim_many(backend, worker, 8, limit=1)

    events = {claim.execution.event_name for claim in claims}
    assert events == {"a", "b", "c"}
    assert last in ids(claims)


async def test_what_has_no_hash_is_claimed_to_learn_its_event(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    worker = await joined(backend, "a")
    (gone, odd) = await send(backend, "a", 2)
    raw_redis.delete(f"{prefix}:execution:{gone}", f"{prefix}:execution:{odd}")
    raw_redis.set(f"{prefix}:execution:{odd}", "no hash")

    claims = await claim_many(backend, worker, 2)

    assert ids(claims) == [gone, odd]
    assert not backend.claims.claimer(worker)._redis_is_down


async def test_the_hash_of_a_former_life_with_another_event_leads_nobody_astray(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    """The database was dropped and Redis lived on."""
    worker = await joined(backend, "a")
    former = {"id": "e1", "eventName": "b", "token": 7, "status": "queued"}
    raw_redis.hset(f"{prefix}:execution:e1", mapping=former)

    await insert(backend, new_execution("e1", event="a"))

    assert (await claim_one(backend, worker)).execution.id == "e1"


async def test_an_id_without_a_hash_that_others_serve_is_sorted_when_it_has_one(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    other = await joined(backend, "a")
    await joined(backend, "b")
    (id_,) = await send(backend, "b", 1)
    raw_redis.delete(f"{prefix}:execution:{id_}")

    async def is_sorted() -> bool:
        assert await nothing_to_claim(backend, other)
        return raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == [id_]

    await until(is_sorted)
    assert raw_redis.hget(f"{prefix}:execution:{id_}", "eventName") == "b"


async def test_a_key_of_another_type_in_place_of_a_ready_list_loses_nothing(
    backend: RedisMongoBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    other, worker = await joined(backend, "a"), await joined(backend, "b")
    raw_redis.set(f"{prefix}:ready:b", "no list")
    (id_,) = await send(backend, "b", 1)

    assert await nothing_to_claim(backend, other)

    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_


async def test_a_full_redis_sorts_and_loses_nothing(
    start_redis: Callable[..., RedisServer], open_backend: OpenBackend, prefix: str
) -> None:
    server = start_redis()
    backend = await open_backend(redis_url=server.url)
    other, worker = await joined(backend, "a"), await joined(backend, "b")
    others = await send(backend, "b", 20)
    (wanted,) = await send(backend, "a", 1)
    with redis.Redis.from_url(server.url, decode_responses=True) as raw:
        raw.config_set("maxmemory", "1mb")

        claim = await claim_one(backend, other)

        assert claim.execution.id == wanted
        assert raw.lrange(f"{prefix}:ready:b", 0, -1) == others
        assert raw.llen(f"{prefix}:queue") == 0
    claims = await claim_many(backend, worker, 20)
    assert ids(claims) == others


async def test_a_lost_answer_of_a_pop_for_others_is_sorted_later(
    counted: tuple[RedisMongoBackend, Commands], raw_redis: redis.Redis, prefix: str
) -> None:
    backend, commands = counted
    worker = await joined(backend, "a")
    await joined(backend, "b")
    (id_,) = await send(backend, "b", 1)
    raw_redis.lmove(
        f"{prefix}:queue", f"{prefix}:inflight:{worker.id}", "LEFT", "RIGHT"
    )
    commands.seen.clear()

    await backend.claims.claimer(worker).reconcile()

    assert raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == [id_]
    assert not raw_redis.exists(f"{prefix}:inflight:{worker.id}")
    assert not commands.seen


# -- what comes back comes first


async def test_what_a_dead_worker_had_comes_before_its_event_s_ready_list(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    other, dead = await joined(backend, "a"), await joined(backend, "b")
    alive = await joined(backend, "b")
    sent = await send(backend, "b", 6)
    await claim_many(backend, dead, 2, limit=2)
    assert await nothing_to_claim(backend, other)
    inflight = f"{prefix}:inflight:{dead.id}"
    # One that it took and did not claim.
    raw_redis.lmove(f"{prefix}:ready:b", inflight, "LEFT", "RIGHT")
    raw_mongo.workers.update_one({"_id": dead.id}, {"$set": {"dead": True}})  # type: ignore[dict-item]

    assert await backend.workers.reap(alive.id, expired=False) == 2
    await flushed(backend)

    assert raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == sent
    assert ids(await claim_many(backend, alive, 6)) == sent


async def test_what_is_released_comes_before_its_event_s_ready_list(
    backend: RedisMongoBackend,
) -> None:
    other, worker = await joined(backend, "a"), await joined(backend, "b")
    sent = await send(backend, "b", 4)
    claim = await claim_one(backend, worker)
    assert await nothing_to_claim(backend, other)

    await settle(backend, claim, Released())
    await flushed(backend)

    assert ids(await claim_many(backend, worker, 4)) == sent


# -- the sweep, counts, and the rest


def backdate(raw_mongo: Mongo, *executions: str) -> None:
    """Let executions have waited for a minute."""
    raw_mongo.executions.update_many(
        {"_id": {"$in": list(executions)}},  # type: ignore[dict-item]
        [{"$set": {"dueAt": {"$subtract": ["$dueAt", 60_000]}}}],
    )


async def test_a_deep_ready_list_is_left_alone_and_hides_nothing_of_others(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    worker = await joined(backend, "a")
    many = await send(backend, "b", 100)
    (lost,) = await send(backend, "c", 1)
    assert await nothing_to_claim(backend, worker)
    backdate(raw_mongo, lost, *many)
    backdate(raw_mongo, *many)
    raw_redis.delete(f"{prefix}:ready:c")

    assert await backend.sweeping.sweep(worker.id) == 1

    assert raw_redis.lrange(f"{prefix}:queue", 0, -1) == [lost]
    assert raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == many
    assert await backend.sweeping.sweep(worker.id) == 0


async def test_what_is_older_than_the_head_of_its_ready_list_is_missing(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    worker = await joined(backend, "a")
    lost, *others = await send(backend, "b", 100)
    assert await nothing_to_claim(backend, worker)
    backdate(raw_mongo, lost, *others)
    backdate(raw_mongo, lost)
    raw_redis.lrem(f"{prefix}:ready:b", 1, lost)

    assert await backend.sweeping.sweep(worker.id) == 1

    assert raw_redis.lrange(f"{prefix}:queue", 0, -1) == [lost]
    assert raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == others


async def test_after_a_wipe_one_page_of_each_event_is_queued_in_turn(
    backend: RedisMongoBackend,
    raw_redis: redis.Redis,
    raw_mongo: Mongo,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worchflow.storage.redis_mongo.missing_from_queue.PAGE", 5)
    worker = await joined(backend, "z")
    many = await send(backend, "b", 50)
    (one,) = await send(backend, "c", 1)
    backdate(raw_mongo, *many, one)
    raw_redis.delete(f"{prefix}:queue")

    assert await backend.sweeping.sweep(worker.id) == 51

    queue: Any = raw_redis.lrange(f"{prefix}:queue", 0, -1)
    assert queue.index(one) == 5
    assert [each for each in queue if each != one] == many


async def test_what_nobody_waits_for_any_more_leaves_its_ready_list(
    backend: RedisMongoBackend, raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str
) -> None:
    worker = await joined(backend, "a")
    gone = await send(backend, "b", 25)
    waits = await send(backend, "b", 3)
    dropped = await send(backend, "c", 5)
    assert await nothing_to_claim(backend, worker)
    raw_redis.lpush(f"{prefix}:ready:b", *(f"old-{number}" for number in range(1200)))
    for id_ in gone + dropped:
        await backend.executions.cancel(id_, None)
    backdate(raw_mongo, *waits)

    assert await backend.sweeping.sweep(worker.id) == 0

    left: Any = raw_redis.lrange(f"{prefix}:ready:b", 0, -1)
    assert left[-3:] == waits
    assert len(left) < 1000
    assert not raw_redis.exists(f"{prefix}:ready:c")


async def test_the_sweep_says_what_nobody_serves_and_takes_it_back(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worchflow.storage.redis_mongo.waiting_reasons.PAGE", 4)
    worker = await joined(backend, "a")
    sent = await send(backend, "b", 10)
    await backend.sweeping.sweep(worker.id)
    for id_ in sent:
        await expect(backend, id_, reason=unserved_reason("b"), run_at=None)
        await expect(backend, id_, status=ExecutionStatus.QUEUED, token=0)

    await joined(backend, "b")
    await backend.sweeping.sweep(worker.id)

    assert [(await stored(backend, id_)).reason for id_ in sent] == [None] * 10


async def test_what_nobody_serves_stays_where_it_is_and_costs_nothing(
    backend: RedisMongoBackend, raw_mongo: Mongo, raw_redis: redis.Redis, prefix: str
) -> None:
    worker = await joined(backend, "a")
    sent = await send(backend, "b", 50)
    assert await nothing_to_claim(backend, worker)
    await backend.sweeping.sweep(worker.id)

    with profiled(raw_mongo) as reads:
        assert await nothing_to_claim(backend, worker)
        assert await nothing_to_claim(backend, worker)

    assert reads.operations == []
    assert raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == sent
    assert raw_redis.zcard(f"{prefix}:delayed") == 0


async def test_ids_in_ready_lists_are_counted(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MAX_EXACT", 5)
    worker = await joined(backend, "a")
    await send(backend, "b", 30)
    await send(backend, "c", 20)
    assert await nothing_to_claim(backend, worker)
    await send(backend, "b", 10)

    counts = await backend._open_parts.counting.count()

    assert counts["queued"] == 60


async def test_without_redis_a_poll_reads_nothing_of_others(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    worker = await joined(backend, "a")
    await send(backend, "b", 500)
    (wanted,) = await send(backend, "a", 1)
    claimer = backend.claims.claimer(worker)
    claimer._redis_is_down = True

    with profiled(raw_mongo) as reads:
        assert await claimer._take(10, 0.0) == [wanted]

    assert reads.documents == 1


async def test_with_ts_compat_nothing_is_sorted(
    open_backend: OpenBackend, raw_redis: redis.Redis, prefix: str
) -> None:
    backend = await open_backend(ts_compat=True)
    other, worker = await joined(backend, "a"), await joined(backend, "b")
    sent = await send(backend, "b", 3)

    assert await nothing_to_claim(backend, other)
    await flushed(backend)

    assert not raw_redis.exists(f"{prefix}:ready:b")
    queue: Any = raw_redis.lrange(f"{prefix}:queue", 0, -1)
    assert sorted(queue) == sorted(sent)
    claims = await claim_many(backend, worker, 3)
    for claim in claims:
        assert (await settle(backend, claim, Completed(result="1"))).applied
