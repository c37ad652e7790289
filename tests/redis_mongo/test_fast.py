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
from worchflow.errors import StoreUnavailable
from worchflow.records import ExecutionStatus, StepStatus, StoredStep
from worchflow.settlement import Completed
from worchflow.storage.redis_mongo import RedisMongoBackend


@pytest.fixture
async def backend(open_backend: OpenBackend) -> RedisMongoBackend:
    return await open_backend(durability="fast")


def hold_back(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> asyncio.Event:
    """Keep steps from MongoDB until the event is set."""
    door = backend._open_parts.stores.mongo
    insert = door.insert
    go_on = asyncio.Event()

    async def delayed(collection: str, documents: Any, timeout: Any = None) -> Any:
        if collection == "steps":
            # As every call of the door this one ends, when a test forgets it too.
            await asyncio.wait({asyncio.ensure_future(go_on.wait())}, timeout=10)
        return await insert(collection, documents, timeout)

    monkeypatch.setattr(door, "insert", delayed)
    return go_on


async def test_a_checkpoint_returns_before_mongodb_has_it(
    backend: RedisMongoBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    go_on = hold_back(backend, monkeypatch)
    step = new_step()
    assert await backend.checkpoint(claim, step) == step
    assert raw_mongo.steps.count_documents({}) == 0
    go_on.set()
    await until(lambda: raw_mongo.steps.count_documents({"executionId": id_}) == 1)


async def test_nothing_settles_before_its_checkpoints_are_in_mongodb(
    backend: RedisMongoBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    go_on = hold_back(backend, monkeypatch)
    await backend.checkpoint(claim, new_step())
    settling = asyncio.create_task(backend.settle(claim, Completed(result="1"), None))
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
    await backend.checkpoint(claim, new_step(1))
    monkeypatch.setattr(committer, "oldest_age", lambda: 1.1)
    second = asyncio.create_task(backend.checkpoint(claim, new_step(2)))
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
    assert await backend.checkpoint(claim, step) == step
    assert await backend.steps(id_) == [step]


async def test_a_failed_step_is_recorded_strictly(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    go_on = hold_back(backend, monkeypatch)
    step = new_step(1, status=StepStatus.FAILED, result=None)
    recording = asyncio.create_task(backend.checkpoint(claim, step))
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
    await backend.checkpoint(claim, ours)
    raw_mongo.steps.insert_one(document | {"nonce": "another:1"})
    go_on.set()
    settled = await backend.settle(claim, Completed(result='"ours"'), None)
    assert not settled.applied
    stored = await backend.get(id_)
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
    await backend.checkpoint(claim, step)
    # As if the process had died now: MongoDB never got the step.
    raw_mongo.workers.update_one({"_id": victim.id}, {"$set": {"dead": True}})  # type: ignore[dict-item]
    survivor = await open_backend()
    worker = await joined(survivor)
    assert await survivor.reap(worker.id, expired=False) == 1
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
        assert await backend.checkpoint(claim, step) == step
        with pytest.raises(StoreUnavailable):
            await backend.settle(claim, Completed(result="1"), None)
        client.admin.command({**point, "mode": "off"})
    assert (await backend.settle(claim, Completed(result="1"), None)).applied
    assert await backend.steps(claim.execution.id) == [step]


async def test_a_value_adopted_at_the_checkpoint_is_no_conflict_at_the_barrier(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    await insert_one(backend)
    claim = await claim_one(backend, await joined(backend))
    theirs, ours = new_step(1, result='"theirs"'), new_step(1, result='"ours"')
    documents = backend._open_parts.stores.documents
    document = documents.new_step(claim, theirs, int)
    raw_mongo.steps.insert_one(document | {"nonce": "another:1"})
    assert await backend._open_parts.stores.lane.flush(5)
    # Redis holds another value too, so MongoDB has to be asked.
    stores = backend._open_parts.stores
    stores.lane.put(stores.scripts.step(claim, theirs.step_id, '"theirs"', ""))
    recorded = await backend.checkpoint(claim, ours)
    assert recorded.result == '"theirs"'
    settled = await backend.settle(claim, Completed(result='"theirs"'), None)
    assert settled.applied
    assert settled.status is ExecutionStatus.COMPLETED
