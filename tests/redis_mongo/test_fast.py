"""`durability="fast"`: Redis acknowledges checkpoints, MongoDB has them soon after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.servers import MongoServer, RedisServer
from tests.stores import claim_one, insert_one, joined, new_step
from tests.waiting import until
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.records import Claim, ExecutionStatus, StepStatus, StoredStep
from worchflow.model.settlement import Completed
from worchflow.model.step_kind import StepKind
from worchflow.storage.redis_mongo import steps
from worchflow.storage.redis_mongo.backend import RedisMongoBackend


@pytest.fixture
async def backend(open_backend: OpenBackend) -> RedisMongoBackend:
    return await open_backend(durability="fast")


def hold_back(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> asyncio.Event:
    """Keep steps from MongoDB until the event is set."""
    gateway = backend._open_parts.stores.mongo
    insert = gateway.insert
    go_on = asyncio.Event()

    async def delayed(collection: str, documents: Any, timeout: Any = None) -> Any:
        if collection == "steps":
            # As every call of the gateway this one ends, when a test forgets it too.
            await asyncio.wait({asyncio.ensure_future(go_on.wait())}, timeout=10)
        return await insert(collection, documents, timeout)

    monkeypatch.setattr(gateway, "insert", delayed)
    return go_on


async def test_a_checkpoint_returns_before_mongodb_has_it(
    backend: RedisMongoBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    go_on = hold_back(backend, monkeypatch)
    step = new_step()
    assert await backend.steps.checkpoint(claim, step) == step
    assert raw_mongo.steps.count_documents({}) == 0
    go_on.set()
    await until(lambda: raw_mongo.steps.count_documents({"executionId": id_}) == 1)


async def test_nothing_settles_before_its_checkpoints_are_in_mongodb(
    backend: RedisMongoBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    go_on = hold_back(backend, monkeypatch)
    await backend.steps.checkpoint(claim, new_step())
    settling = asyncio.create_task(
        backend.claims.settle(claim, Completed(result="1"), None)
    )
    done, _ = await asyncio.wait({settling}, timeout=0.2)
    assert not done
    assert raw_mongo.executions.count_documents({"status": "completed"}) == 0
    go_on.set()
    assert (await settling).applied
    assert raw_mongo.steps.count_documents({"executionId": id_}) == 1


async def test_when_mongodb_lags_a_checkpoint_waits_for_it(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    go_on = hold_back(backend, monkeypatch)
    committer = backend._open_parts.stores.committer
    await backend.steps.checkpoint(claim, new_step(1))
    monkeypatch.setattr(committer, "oldest_age", lambda: 1.1)
    second = asyncio.create_task(backend.steps.checkpoint(claim, new_step(2)))
    done, _ = await asyncio.wait({second}, timeout=0.2)
    assert not done
    go_on.set()
    assert await second == new_step(2, **_times(await second))


def _times(step: StoredStep) -> dict[str, Any]:
    return {"started_at": step.started_at, "finished_at": step.finished_at}


async def test_without_redis_mongodb_acknowledges(
    open_backend: OpenBackend, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis()
    backend = await open_backend(redis_url=server.url, durability="fast", timeout=2.0)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    await asyncio.to_thread(server.kill)
    step = new_step()
    assert await backend.steps.checkpoint(claim, step) == step
    assert await backend.steps.all(id_) == [step]


async def test_a_failed_step_is_recorded_strictly(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    go_on = hold_back(backend, monkeypatch)
    step = new_step(1, status=StepStatus.FAILED, result=None)
    recording = asyncio.create_task(backend.steps.checkpoint(claim, step))
    done, _ = await asyncio.wait({recording}, timeout=0.2)
    assert not done
    go_on.set()
    assert await recording == step


@pytest.mark.parametrize("kind", sorted(set(StepKind) - {StepKind.RUN}))
async def test_the_end_of_a_wait_is_recorded_strictly(
    backend: RedisMongoBackend, kind: StepKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Redis holds no kinds: who found it there alone would take it for a step's value.
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    go_on = hold_back(backend, monkeypatch)
    step = new_step(1, kind=kind)
    recording = asyncio.create_task(backend.steps.checkpoint(claim, step))
    done, _ = await asyncio.wait({recording}, timeout=0.2)
    assert not done
    go_on.set()
    assert await recording == step


async def test_a_conflict_found_at_the_barrier_abandons_the_attempt(
    backend: RedisMongoBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await insert_one(backend)
    worker = await joined(backend)
    claim = await claim_one(backend, worker)
    go_on = hold_back(backend, monkeypatch)
    ours, theirs = new_step(1, result='"ours"'), new_step(1, result='"theirs"')
    document = backend._open_parts.stores.documents.new_step(claim, theirs, int)
    await backend.steps.checkpoint(claim, ours)
    raw_mongo.steps.insert_one(document | {"nonce": "another:1"})
    go_on.set()
    settled = await backend.claims.settle(claim, Completed(result='"ours"'), None)
    assert not settled.applied
    stored = await backend.executions.get(id_)
    assert stored is not None
    assert stored.status is ExecutionStatus.QUEUED
    again = await claim_one(backend, worker)
    assert again.steps[ours.step_id].result == '"theirs"'


async def test_what_only_redis_knows_after_a_crash_is_replayed_and_backfilled(
    backend: RedisMongoBackend,
    open_backend: OpenBackend,
    raw_redis: redis.Redis,
    raw_mongo: Mongo,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    id_ = await insert_one(backend)
    victim = await joined(backend)
    claim = await claim_one(backend, victim)
    go_on = hold_back(backend, monkeypatch)
    step = new_step()
    await backend.steps.checkpoint(claim, step)
    # As if the process had died now: MongoDB never got the step.
    raw_mongo.workers.update_one({"_id": victim.id}, {"$set": {"dead": True}})  # type: ignore[dict-item]
    survivor = await open_backend()
    worker = await joined(survivor)
    assert await survivor.workers.reap(worker.id, expired=False) == 1
    again = await claim_one(survivor, worker)
    assert again.steps[step.step_id].result == step.result
    kept = raw_mongo.steps.find_one({"executionId": id_})
    assert kept is not None
    go_on.set()


async def test_a_barrier_sends_again_what_mongodb_missed(
    open_backend: OpenBackend, start_mongo: Callable[..., MongoServer]
) -> None:
    server = start_mongo(parameters={"enableTestCommands": 1})
    backend = await open_backend(
        mongo_url=server.database_url("x"), durability="fast", timeout=1.0
    )
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    with server.client() as client:
        point = {"configureFailPoint": "failCommand"}
        data = {"failCommands": ["insert"], "closeConnection": True}
        client.admin.command({**point, "mode": "alwaysOn", "data": data})
        step = new_step()
        assert await backend.steps.checkpoint(claim, step) == step
        with pytest.raises(StoreUnavailable):
            await backend.claims.settle(claim, Completed(result="1"), None)
        client.admin.command({**point, "mode": "off"})
    assert (await backend.claims.settle(claim, Completed(result="1"), None)).applied
    assert await backend.steps.all(claim.execution.id) == [step]


async def test_a_value_adopted_at_the_checkpoint_is_no_conflict_at_the_barrier(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    theirs, ours = new_step(1, result='"theirs"'), new_step(1, result='"ours"')
    documents = backend._open_parts.stores.documents
    document = documents.new_step(claim, theirs, int)
    raw_mongo.steps.insert_one(document | {"nonce": "another:1"})
    assert await backend._open_parts.stores.write_behind.flush(5)
    # Redis holds another value too, so MongoDB has to be asked.
    stores = backend._open_parts.stores
    stores.write_behind.put(stores.scripts.step(claim, theirs.step_id, '"theirs"', ""))
    recorded = await backend.steps.checkpoint(claim, ours)
    assert recorded.result == '"theirs"'
    settled = await backend.claims.settle(claim, Completed(result='"theirs"'), None)
    assert settled.applied
    assert settled.status is ExecutionStatus.COMPLETED


@pytest.fixture
def refusing_mongo(start_mongo: Callable[..., MongoServer]) -> MongoServer:
    """A MongoDB of the test's own that can be told to take no inserts."""
    return start_mongo(parameters={"enableTestCommands": 1})


def refuse_inserts(server: MongoServer, mode: str = "alwaysOn") -> None:
    with server.client() as client:
        point = {"configureFailPoint": "failCommand", "mode": mode}
        data = {"failCommands": ["insert"], "closeConnection": True}
        client.admin.command(point | ({"data": data} if mode == "alwaysOn" else {}))


async def refused_checkpoint(backend: RedisMongoBackend, claim: Claim) -> None:
    """Let Redis acknowledge a step that MongoDB then does not take."""
    await backend.steps.checkpoint(claim, new_step())
    ((entry,),) = backend._open_parts.steps._unflushed.values()
    await asyncio.wait({entry[-1]})


@pytest.fixture
async def fast(
    refusing_mongo: MongoServer, open_backend: OpenBackend
) -> RedisMongoBackend:
    # In this order: a backend that closes after its server has a timeout to wait.
    return await open_backend(
        mongo_url=refusing_mongo.database_url("x"), durability="fast", timeout=1.0
    )


@pytest.mark.parametrize("end", ["fenced", "left", "claimed again"])
async def test_nothing_is_kept_of_claims_that_are_over(
    fast: RedisMongoBackend,
    refusing_mongo: MongoServer,
    raw_redis: redis.Redis,
    prefix: str,
    end: str,
) -> None:
    id_ = await insert_one(fast)
    worker = await joined(fast)
    claim = await claim_one(fast, worker)
    refuse_inserts(refusing_mongo)
    await refused_checkpoint(fast, claim)
    parts = fast._open_parts

    with refusing_mongo.client() as client:
        database = client.get_database("x")
        if end == "fenced":
            database.workers.update_one({"_id": worker.id}, {"$set": {"dead": True}})
            assert not (await asyncio.to_thread(fast.workers.renew, worker.id)).alive
        elif end == "left":
            await fast.workers.leave(worker.id)
        else:
            refuse_inserts(refusing_mongo, "off")
            released = [
                {"$set": {"status": "queued", "dueAt": "$$NOW"}},
                {"$unset": ["owner", "claim"]},
            ]
            database.executions.update_one({"_id": id_}, released)
            raw_redis.rpush(f"{prefix}:queue", id_)
            assert (await claim_one(fast, worker)).token > claim.token
    await until(lambda: not parts.steps._unflushed)


async def test_code_of_a_lost_claim_leaves_nothing_behind_and_settles_nothing(
    fast: RedisMongoBackend, refusing_mongo: MongoServer
) -> None:
    id_ = await insert_one(fast)
    worker = await joined(fast)
    claim = await claim_one(fast, worker)
    refuse_inserts(refusing_mongo)
    await refused_checkpoint(fast, claim)
    parts = fast._open_parts
    parts.steps.forget(worker.id)

    # A thread that ends late: what it did is recorded in MongoDB, or not at all.
    with pytest.raises(StoreUnavailable):
        await fast.steps.checkpoint(claim, new_step(2))
    refuse_inserts(refusing_mongo, "off")
    step = new_step(3)
    assert await fast.steps.checkpoint(claim, step) == step
    assert not parts.steps._unflushed
    settled = await fast.claims.settle(claim, Completed(result="1"), None)
    assert not settled.applied
    stored = await fast.executions.get(id_)
    assert stored is not None
    assert stored.status is ExecutionStatus.QUEUED


async def test_a_checkpoint_that_neither_store_took_is_kept_by_its_caller_alone(
    fast: RedisMongoBackend,
    refusing_mongo: MongoServer,
    raw_redis: redis.Redis,
    prefix: str,
) -> None:
    await insert_one(fast)
    claim = await claim_one(fast, await joined(fast))
    raw_redis.set(f"{prefix}:steps:{claim.execution.id}", "of another program")
    refuse_inserts(refusing_mongo)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await fast.steps.checkpoint(claim, new_step())
    assert not fast._open_parts.steps._unflushed


async def test_only_the_latest_workers_that_are_gone_are_remembered(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "MAX_GONE_WORKERS", 3)
    kept = backend._open_parts.steps
    for number in range(10):
        kept.forget(f"w-{number}")
    assert list(kept._gone) == ["w-7", "w-8", "w-9"]
