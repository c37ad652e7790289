"""What happens while one of the servers is away, full, frozen or forgetful."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pymongo
import pytest
import redis

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.servers import MongoServer, RedisServer
from tests.stores import (
    claim_many,
    claim_one,
    claimed,
    insert_one,
    joined,
    new_execution,
    new_step,
)
from tests.waiting import until
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.notices import ExecutionUpdated, encode_notice
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed, Released
from worchflow.storage.redis_mongo import missing_from_queue, notices, sweeper
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.redis_gateway import Answer
from worchflow.storage.redis_mongo.scripts import ENQUEUE, RELEASE, ScriptCall

IN_TIME = 25.0
"""Seconds in which a call with a timeout of a few seconds ends on a busy machine too,
and less than the 30 that the drivers wait by themselves."""

StartRedis = Callable[..., RedisServer]
StartMongo = Callable[..., MongoServer]


@pytest.fixture
def own_redis(start_redis: StartRedis) -> RedisServer:
    return start_redis()


@pytest.fixture
async def backend(
    own_redis: RedisServer, open_backend: OpenBackend
) -> RedisMongoBackend:
    """A backend on a Redis of its own, to be ill-treated."""
    return await open_backend(redis_url=own_redis.url, timeout=2.0)


def client(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def backdate(mongo_url: str) -> None:
    """Make everything that waits look as if it had done so for a minute."""
    minute_ago = [{"$set": {"dueAt": {"$subtract": ["$dueAt", 60_000]}}}]
    with pymongo.MongoClient[dict[str, object]](mongo_url) as mongo:
        database = mongo.get_default_database()
        database.executions.update_many({"dueAt": {"$exists": True}}, minute_ago)


def same_moment(mongo_url: str, ids: Sequence[str]) -> None:
    """Make these look as if they had been due at one moment, long ago."""
    with pymongo.MongoClient[dict[str, object]](mongo_url) as mongo:
        mongo.get_default_database().executions.update_many(
            {"id": {"$in": list(ids)}},
            {"$set": {"dueAt": datetime(2020, 1, 1, tzinfo=UTC)}},
        )


async def test_nothing_is_lost_when_redis_is_wiped(
    backend: RedisMongoBackend, own_redis: RedisServer, mongo_url: str, prefix: str
) -> None:
    ids = [await insert_one(backend) for _ in range(20)]
    await backend._open_parts.stores.write_behind.flush(5)
    with client(own_redis) as raw:
        raw.flushall()
        worker = await joined(backend)
        backdate(mongo_url)
        assert await backend.sweeping.sweep(worker.id) == 20
        assert raw.lrange(f"{prefix}:queue", 0, -1) == ids
        assert raw.hget(f"{prefix}:execution:{ids[0]}", "status") == "queued"
    claims = await claim_many(backend, worker, 20)
    assert [claim.execution.id for claim in claims] == ids


async def test_the_sweep_pushes_nothing_twice_within_a_minute(
    backend: RedisMongoBackend, own_redis: RedisServer, mongo_url: str, prefix: str
) -> None:
    for _ in range(3):
        await insert_one(backend)
    await backend._open_parts.stores.write_behind.flush(5)
    with client(own_redis) as raw:
        raw.flushall()
        worker = await joined(backend)
        backdate(mongo_url)
        assert await backend.sweeping.sweep(worker.id) == 3
        raw.delete(f"{prefix}:queue")
        assert await backend.sweeping.sweep(worker.id) == 0


async def test_what_came_just_before_a_wipe_does_not_wait_for_all_that_is_older(
    backend: RedisMongoBackend,
    own_redis: RedisServer,
    mongo_url: str,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeper, "GRACE_MILLISECONDS", 2000)
    worker = await joined(backend)
    old = [await insert_one(backend) for _ in range(3)]
    backdate(mongo_url)
    young = [await insert_one(backend) for _ in range(2)]
    await backend._open_parts.stores.write_behind.flush(5)
    with client(own_redis) as raw:
        raw.flushall()

        async def all_are_back() -> bool:
            await backend.sweeping.sweep(worker.id)
            return bool(raw.lrange(f"{prefix}:queue", 0, -1) == old + young)

        await until(all_are_back)
    assert await backend.sweeping.sweep(worker.id) == 0


async def test_one_key_of_a_foreign_type_keeps_only_its_own_execution_from_the_sweep(
    backend: RedisMongoBackend,
    own_redis: RedisServer,
    mongo_url: str,
    prefix: str,
    raw_mongo: Mongo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = await joined(backend)
    ids = [await insert_one(backend) for _ in range(5)]
    backdate(mongo_url)
    await backend._open_parts.stores.write_behind.flush(5)
    others = [*ids[:2], *ids[3:]]
    key = f"{prefix}:execution:{ids[2]}"
    with client(own_redis) as raw:
        raw.flushall()
        raw.set(key, "of another program")
        assert await backend.sweeping.sweep(worker.id) == 4
        assert raw.lrange(f"{prefix}:queue", 0, -1) == others
        swept = raw_mongo.executions.find(
            {"id": {"$in": ids}, "sweptAt": {"$exists": True}}
        )
        assert {document["id"] for document in swept} == {*others}
        await claim_many(backend, worker, 4)
        # Nothing is before it any more: it is found each time, and told once.
        assert await backend.sweeping.sweep(worker.id) == 0
        assert await backend.sweeping.sweep(worker.id) == 0
        said = [r.getMessage() for r in caplog.records if key in r.getMessage()]
        assert len(said) == 1
        assert "delete or rename" in said[0]
        raw.delete(key)
        assert await backend.sweeping.sweep(worker.id) == 1
        assert raw.lrange(f"{prefix}:queue", 0, -1) == [ids[2]]


async def test_a_sweep_passes_pages_that_redis_refuses(
    backend: RedisMongoBackend,
    own_redis: RedisServer,
    mongo_url: str,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(missing_from_queue, "PAGE", 2)
    worker = await joined(backend)
    ids = [await insert_one(backend) for _ in range(12)]
    same_moment(mongo_url, ids)
    await backend._open_parts.stores.write_behind.flush(5)
    with client(own_redis) as raw:
        raw.flushall()
        for id_ in ids[:8]:
            raw.set(f"{prefix}:execution:{id_}", "of another program")
        async with asyncio.timeout(IN_TIME):
            assert await backend.sweeping.sweep(worker.id) == 4
        assert sorted(raw.lrange(f"{prefix}:queue", 0, -1)) == sorted(ids[8:])


@pytest.mark.parametrize("foreign", ["execution", "steps"])
async def test_one_key_of_a_foreign_type_takes_no_other_update_of_its_batch_down(
    backend: RedisMongoBackend, own_redis: RedisServer, prefix: str, foreign: str
) -> None:
    worker = await joined(backend)
    write_behind = backend._open_parts.stores.write_behind
    ids = [await insert_one(backend) for _ in range(3)]
    claims = await claim_many(backend, worker, 3)
    await write_behind.flush(5)
    with client(own_redis) as raw:
        key = f"{prefix}:{foreign}:{ids[1]}"
        raw.delete(key)
        raw.set(key, "of another program")
        sent: list[int] = []
        run = write_behind._redis.run

        async def counted(calls: Sequence[ScriptCall]) -> list[Answer]:
            sent.append(len(calls))
            return await run(calls)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write_behind._redis, "run", counted)
            steps = (backend.steps.checkpoint(claim, new_step()) for claim in claims)
            await asyncio.gather(*steps)
            ends = (backend.claims.settle(c, Released(delay=60), None) for c in claims)
            await asyncio.gather(*ends)
            await write_behind.flush(5)
        inflight = f"{prefix}:inflight:{worker.id}"
        assert raw.llen(inflight) == 0
        assert set(raw.zrange(f"{prefix}:delayed", 0, -1)) == set(ids)
        for id_ in (ids[0], ids[2]):
            assert raw.hget(f"{prefix}:execution:{id_}", "status") == "queued"
            assert raw.hexists(f"{prefix}:steps:{id_}", new_step().step_id)
    # A refusal of the whole batch is followed by a call for each of it.
    assert len(sent) <= 2


async def test_scripts_that_the_server_does_not_know_yet_run_in_their_order(
    own_redis: RedisServer, open_backend: OpenBackend, prefix: str
) -> None:
    with client(own_redis) as raw:
        # Another process has used only the last of them.
        raw.script_load(RELEASE.source)
    backend = await open_backend(redis_url=own_redis.url)
    claim = await claimed(backend)
    await backend.steps.checkpoint(claim, new_step())
    await backend.claims.settle(claim, Completed(result="1"), None)
    await backend._open_parts.stores.write_behind.flush(30)
    with client(own_redis) as raw:
        steps = f"{prefix}:steps:{claim.execution.id}"
        assert raw.hexists(steps, new_step().step_id)


async def test_what_breaks_at_an_answer_of_redis_ends_nothing_else(
    backend: RedisMongoBackend,
) -> None:
    stores = backend._open_parts.stores
    claim = await claimed(backend)
    heard: list[int] = []

    def fail(answer: int) -> None:
        raise RuntimeError(f"broken on purpose at {answer}")

    for round_ in range(2):
        for answered in (fail, heard.append):
            later = replace(claim, token=round_ + 5)
            stores.write_behind.put(stores.scripts.mark(later, 1, answered))
        # The first of the two has marked it already.
        await until(lambda round_=round_: heard == [0] * (round_ + 1))  # type: ignore[misc]
    assert stores.write_behind.lost == 0


async def test_a_queue_of_a_foreign_type_repeats_nothing_that_was_done(
    backend: RedisMongoBackend, own_redis: RedisServer, prefix: str
) -> None:
    worker = await joined(backend)
    write_behind = backend._open_parts.stores.write_behind
    ids = [await insert_one(backend) for _ in range(3)]
    claims = await claim_many(backend, worker, 3)
    await write_behind.flush(5)
    with client(own_redis) as raw:
        inflight = f"{prefix}:inflight:{worker.id}"
        raw.rpush(inflight, *ids)
        raw.set(f"{prefix}:queue", "of another program")
        await asyncio.gather(
            *(backend.claims.settle(c, Released(), None) for c in claims)
        )
        await write_behind.flush(5)
        assert sorted(raw.lrange(inflight, 0, -1)) == sorted(ids)


@pytest.mark.parametrize("reason", ["Redis is away", "another worker is elected"])
async def test_a_sweep_that_ends_early_goes_on_where_it_was(
    backend: RedisMongoBackend,
    own_redis: RedisServer,
    mongo_url: str,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
) -> None:
    monkeypatch.setattr(missing_from_queue, "PAGE", 2)
    monkeypatch.setattr(sweeper, "RECENT_MILLISECONDS", 0)
    worker = await joined(backend)
    ids = [await insert_one(backend) for _ in range(10)]
    backdate(mongo_url)
    stores, election = backend._open_parts.stores, backend._open_parts.leadership
    await stores.write_behind.flush(5)
    run, holds = stores.redis.run, election.holds
    pages = iter(range(100))

    async def fail_at_the_third_page(calls: Sequence[ScriptCall]) -> list[Answer]:
        if calls[0].script is ENQUEUE and next(pages) == 2:
            raise StoreUnavailable(reason)
        return await run(calls)

    async def lose_at_the_third_page(worker_id: str) -> bool:
        return next(pages) != 3 and await holds(worker_id)

    with client(own_redis) as raw:
        raw.flushall()
        if reason == "Redis is away":
            monkeypatch.setattr(stores.redis, "run", fail_at_the_third_page)
            with pytest.raises(StoreUnavailable):
                await backend.sweeping.sweep(worker.id)
        else:
            monkeypatch.setattr(election, "holds", lose_at_the_third_page)
            assert await backend.sweeping.sweep(worker.id) == 4
        assert raw.lrange(f"{prefix}:queue", 0, -1) == ids[:4]

        await backend.sweeping.sweep(worker.id)

        assert raw.lrange(f"{prefix}:queue", 0, -1) == ids


async def test_a_second_wipe_within_a_minute_delays_nothing(
    backend: RedisMongoBackend, own_redis: RedisServer, mongo_url: str
) -> None:
    await insert_one(backend)
    worker = await joined(backend)
    backdate(mongo_url)
    for _ in range(2):
        await backend._open_parts.stores.write_behind.flush(5)
        with client(own_redis) as raw:
            raw.flushall()
        assert await backend.sweeping.sweep(worker.id) == 1


async def test_the_sweep_leaves_a_deep_backlog_alone(
    backend: RedisMongoBackend, mongo_url: str
) -> None:
    for _ in range(30):
        await insert_one(backend)
    await backend._open_parts.stores.write_behind.flush(5)
    worker = await joined(backend)
    backdate(mongo_url)
    assert await backend.sweeping.sweep(worker.id) == 0


async def test_what_was_claimed_past_redis_hides_no_backlog_from_the_sweep(
    backend: RedisMongoBackend, own_redis: RedisServer, mongo_url: str, prefix: str
) -> None:
    for _ in range(30):
        await insert_one(backend)
    await backend._open_parts.stores.write_behind.flush(5)
    worker = await joined(backend)
    backdate(mongo_url)
    with client(own_redis) as raw:
        raw.lpush(f"{prefix}:queue", *(f"gone-{number}" for number in range(500)))
        assert await backend.sweeping.sweep(worker.id) == 0
        assert raw.llen(f"{prefix}:queue") == 530


async def test_more_than_a_page_is_swept_in_one_go(
    backend: RedisMongoBackend, own_redis: RedisServer, mongo_url: str, prefix: str
) -> None:
    await backend.executions.insert([new_execution() for _ in range(2500)])
    await backend._open_parts.stores.write_behind.flush(10)
    with client(own_redis) as raw:
        raw.flushall()
        worker = await joined(backend)
        backdate(mongo_url)
        assert await backend.sweeping.sweep(worker.id) == 2500
        assert raw.llen(f"{prefix}:queue") == 2500


async def test_a_wipe_while_executions_run_changes_nothing_for_them(
    backend: RedisMongoBackend, own_redis: RedisServer, prefix: str
) -> None:
    id_ = await insert_one(backend)
    worker = await joined(backend)
    claim = await claim_one(backend, worker)
    step = new_step()
    await backend.steps.checkpoint(claim, step)
    await backend._open_parts.stores.write_behind.flush(5)
    with client(own_redis) as raw:
        raw.flushall()
    await backend.steps.checkpoint(claim, new_step(2))
    await backend.claims.settle(claim, Released(), None)
    again = await claim_one(backend, worker)
    assert len(again.steps) == 2
    assert (await backend.claims.settle(again, Completed(result="1"), None)).applied
    stored = await backend.executions.get(id_)
    assert stored is not None
    assert stored.status is ExecutionStatus.COMPLETED


async def test_a_claimed_execution_gets_its_hash_back_after_a_wipe(
    backend: RedisMongoBackend, own_redis: RedisServer, prefix: str
) -> None:
    id_ = await insert_one(backend)
    await backend._open_parts.stores.write_behind.flush(5)
    with client(own_redis) as raw:
        raw.delete(f"{prefix}:execution:{id_}")
        await claim_one(backend, await joined(backend))
        hash_ = f"{prefix}:execution:{id_}"
        await until(lambda: raw.hget(hash_, "status") == "processing")
        assert raw.hget(hash_, "eventData") == '{"amount":100}'


async def test_scripts_that_redis_forgot_are_sent_again(
    backend: RedisMongoBackend, own_redis: RedisServer
) -> None:
    worker = await joined(backend)
    for _ in range(2):
        with client(own_redis) as raw:
            raw.script_flush()
        await insert_one(backend)
        claim = await claim_one(backend, worker)
        with client(own_redis) as raw:
            raw.script_flush()
        await backend.steps.checkpoint(claim, new_step())
        await backend.claims.settle(claim, Completed(result="1"), None)
        assert await backend._open_parts.stores.write_behind.flush(5)
    assert backend._open_parts.stores.write_behind.lost == 0


async def test_work_goes_on_without_redis_and_back_with_it(
    backend: RedisMongoBackend,
    own_redis: RedisServer,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = await joined(backend)
    await asyncio.to_thread(own_redis.kill)
    ids = [await insert_one(backend) for _ in range(3)]
    claims = await claim_many(backend, worker, 3)
    assert [claim.execution.id for claim in claims] == ids
    for claim in claims:
        await backend.steps.checkpoint(claim, new_step())
        await backend.claims.settle(claim, Completed(result="1"), None)
    with pytest.raises(StoreUnavailable, match="Redis"):
        await backend.check()

    await asyncio.to_thread(own_redis.start)
    await until(lambda: not backend.claims.claimer(worker)._redis_is_down)
    told = [each.getMessage() for each in caplog.records]
    lost, back = (each for each in told if "work is taken from" in each)
    assert lost.endswith("work is taken from MongoDB until it does")
    assert back == "Redis answers again; work is taken from its queue"
    await backend.check()
    id_ = await insert_one(backend)
    with client(own_redis) as raw:
        await until(lambda: id_ in raw.lrange(f"{prefix}:queue", 0, -1))
    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_


async def test_what_breaks_on_the_way_back_to_redis_is_tried_again(
    backend: RedisMongoBackend, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await joined(backend)
    claimer = backend.claims.claimer(worker)
    reconcile, tries = claimer.reconcile, 0

    async def broken_twice() -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise RuntimeError("a fault of ours")
        await reconcile()

    monkeypatch.setattr(claimer, "reconcile", broken_twice)
    await asyncio.to_thread(own_redis.kill)
    await insert_one(backend)
    await claim_one(backend, worker)
    await asyncio.to_thread(own_redis.start)

    await until(lambda: not claimer._redis_is_down)

    assert tries > 2


async def test_a_frozen_redis_delays_nobody_who_only_writes(
    open_backend: OpenBackend, own_redis: RedisServer
) -> None:
    backend = await open_backend(redis_url=own_redis.url, timeout=2 * IN_TIME)
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    await backend._open_parts.stores.write_behind.flush(5)
    own_redis.pause()
    async with asyncio.timeout(IN_TIME):
        await backend.steps.checkpoint(claim, new_step())
        await backend.claims.settle(claim, Completed(result="1"), None)
    own_redis.resume()


async def test_a_claim_does_not_hang_on_a_frozen_redis(
    backend: RedisMongoBackend, own_redis: RedisServer
) -> None:
    worker = await joined(backend)
    own_redis.pause()
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_
    own_redis.resume()


async def test_what_a_lost_answer_had_moved_is_found_again(
    backend: RedisMongoBackend, own_redis: RedisServer, prefix: str
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    await backend._open_parts.stores.write_behind.flush(5)
    with client(own_redis) as raw:
        # As a pop whose answer was lost on the way leaves it.
        raw.lmove(f"{prefix}:queue", f"{prefix}:inflight:{worker.id}", "LEFT", "RIGHT")
    await backend.claims.claimer(worker).reconcile()
    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_


async def test_notices_come_again_after_redis_was_away(
    backend: RedisMongoBackend, own_redis: RedisServer
) -> None:
    async with backend.notices.watch("e1") as subscription:
        await asyncio.to_thread(own_redis.restart)
        notice = ExecutionUpdated(
            execution_id="e1",
            event_name="payment",
            attempt=1,
            status=ExecutionStatus.QUEUED,
        )
        stores = backend._open_parts.stores

        async def heard() -> bool:
            stores.write_behind.put(stores.scripts.tell("e1", encode_notice(notice)))
            return await subscription.next(0.1) == notice

        await until(heard)


async def test_who_comes_back_to_a_channel_that_was_not_left_yet_keeps_it(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "IDLE_SECONDS", 0.05)
    worker = await joined(backend)
    id_ = await insert_one(backend)
    async with backend.notices.watch(id_):
        pass

    async with backend.notices.watch(id_, progress=False) as subscription:
        assert await subscription.next(0.5) is None  # many quiet moments
        await backend.executions.cancel(id_, None)
        told = await subscription.next(5)

    assert told is not None
    assert told.status is ExecutionStatus.CANCELLED
    await backend.workers.leave(worker.id)


async def test_channels_that_nobody_watches_are_left(
    backend: RedisMongoBackend, own_redis: RedisServer, prefix: str
) -> None:
    with client(own_redis) as raw:
        async with backend.notices.watch("stays"):
            for number in range(250):
                async with backend.notices.watch(f"e{number}"):
                    pass
            stays = [f"{prefix}:{kind}:stays" for kind in ("progress", "updates")]
            await until(lambda: sorted(raw.pubsub_channels(f"{prefix}:*:*")) == stays)


async def test_a_full_redis_can_be_drained_and_then_takes_work_again(
    backend: RedisMongoBackend, own_redis: RedisServer, prefix: str
) -> None:
    worker = await joined(backend)
    before = [await insert_one(backend) for _ in range(5)]
    await backend._open_parts.stores.write_behind.flush(5)
    with client(own_redis) as raw:
        raw.config_set("maxmemory", "1mb")
        later = await insert_one(backend)
        claims = await claim_many(backend, worker, 6)
        assert {claim.execution.id for claim in claims} == {*before, later}
        for claim in claims:
            await backend.steps.checkpoint(claim, new_step())
            await backend.claims.settle(claim, Completed(result="1"), None)
        await until(lambda: not raw.exists(f"{prefix}:inflight:{worker.id}"))
        assert raw.hget(f"{prefix}:execution:{before[0]}", "status") == "completed"
        raw.config_set("maxmemory", "0")
    id_ = await insert_one(backend)
    assert (await claim_one(backend, worker)).execution.id == id_


async def test_a_dropped_acknowledgement_is_repaired(
    backend: RedisMongoBackend, own_redis: RedisServer, prefix: str
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    write_behind = backend._open_parts.stores.write_behind
    await write_behind.flush(5)
    await backend.claims.settle(claim, Completed(result="1"), None)
    operation = write_behind._waiting.popleft()
    write_behind._give_up(operation)
    claimer = backend.claims.claimer(worker)
    await until(lambda: not claimer.has_lost)
    assert list(await backend.claims.claim(worker, 1, 0.2)) == []
    with client(own_redis) as raw:
        hash_ = f"{prefix}:execution:{id_}"
        await until(lambda: raw.hget(hash_, "status") == "completed")
        assert raw.ttl(hash_) > 0
        assert not raw.exists(f"{prefix}:inflight:{worker.id}")


async def test_send_says_within_its_timeout_that_mongodb_is_away(
    start_mongo: StartMongo, open_backend: OpenBackend
) -> None:
    server = start_mongo()
    backend = await open_backend(mongo_url=server.database_url("x"), timeout=1.0)
    await asyncio.to_thread(server.kill)
    new = new_execution()
    async with asyncio.timeout(IN_TIME):
        with pytest.raises(StoreUnavailable, match="MongoDB"):
            await backend.executions.insert([new])
    await asyncio.to_thread(server.start)
    (outcome,) = await backend.executions.insert([new])
    assert outcome.existing is None


async def test_claims_wait_for_mongodb_and_lose_nothing(
    start_mongo: StartMongo, open_backend: OpenBackend
) -> None:
    server = start_mongo()
    backend = await open_backend(mongo_url=server.database_url("x"), timeout=1.0)
    worker = await joined(backend)
    ids = {await insert_one(backend) for _ in range(6)}
    await backend._open_parts.stores.write_behind.flush(5)
    await asyncio.to_thread(server.kill)
    with pytest.raises(StoreUnavailable):
        await backend.claims.claim(worker, 2, 0.5)
    with pytest.raises(StoreUnavailable):
        await backend.claims.claim(worker, 2, 0.5)
    stores = backend._open_parts.stores
    assert len(await stores.redis.items(stores.keys.queue, 10)) == 4
    await asyncio.to_thread(server.start)
    claims = await claim_many(backend, worker, 6)
    assert {claim.execution.id for claim in claims} == ids


async def test_a_settlement_waits_for_mongodb_to_come_back(
    start_mongo: StartMongo, open_backend: OpenBackend
) -> None:
    server = start_mongo()
    backend = await open_backend(mongo_url=server.database_url("x"), timeout=20.0)
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    await asyncio.to_thread(server.kill)
    settling = asyncio.create_task(
        backend.claims.settle(claim, Completed(result="1"), None), name="settling"
    )
    await asyncio.to_thread(server.start)
    assert (await settling).applied


async def test_renewing_fails_in_time_while_mongodb_is_frozen(
    start_mongo: StartMongo, open_backend: OpenBackend
) -> None:
    server = start_mongo()
    backend = await open_backend(mongo_url=server.database_url("x"), lease_ttl=2.0)
    worker = await joined(backend)
    assert (await asyncio.to_thread(backend.workers.renew, worker.id)).alive
    server.pause()
    async with asyncio.timeout(IN_TIME):
        with pytest.raises(StoreUnavailable):
            await asyncio.to_thread(backend.workers.renew, worker.id)
    server.resume()


@pytest.mark.parametrize("frozen", ["redis", "mongo"])
async def test_closing_ends_although_a_server_is_frozen(
    start_redis: StartRedis,
    start_mongo: StartMongo,
    open_backend: OpenBackend,
    frozen: str,
) -> None:
    cache, database = start_redis(), start_mongo()
    backend = await open_backend(cache.url, database.database_url("x"), timeout=2.0)
    await insert_one(backend)
    await claim_one(backend, await joined(backend))
    server = cache if frozen == "redis" else database
    server.pause()
    async with asyncio.timeout(IN_TIME):
        await backend.close()
    server.resume()
