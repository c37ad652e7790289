"""What follows the end of an execution, when who ended it does not live to do it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.stores import (
    ERROR,
    claim_one,
    claimed,
    end_lease,
    expect,
    insert_one,
    joined,
    new_execution,
    settle,
)
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.records import Claim, ExecutionStatus
from worchflow.model.settlement import Completed, Failed, Suspended
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import NewWait
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.follow_ups import PAGE
from worchflow.storage.redis_mongo.mongo_gateway import (
    DUPLICATE_KEY,
    Refusal,
    Written,
)

S = ExecutionStatus
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WAIT = NewWait(step_id="1" * 32, kind=StepKind.SLEEP, title="Cool down")


@pytest.fixture
def dies(backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets no wait be removed: as if the process died right before it."""
    stores = backend._open_parts.stores
    delete = stores.mongo.delete

    async def refuse(collection: str, *queries: Any) -> int:
        if collection == "waits":
            raise StoreUnavailable("the process died")
        return await delete(collection, *queries)

    async def refuse_one(query: Any) -> None:
        await refuse("waits", query)

    monkeypatch.setattr(stores.mongo, "delete", refuse)
    # What is deleted together with others is tried again, which a dead process is not.
    monkeypatch.setattr(stores.committer, "delete_waits", refuse_one)
    return monkeypatch


async def waiting(backend: RedisMongoBackend) -> Claim:
    """An execution with a wait."""
    claim = await claimed(backend)
    await backend.waits.add(claim, [WAIT])
    return claim


async def end_settled(backend: RedisMongoBackend, claim: Claim) -> None:
    await settle(backend, claim, Completed(result="1"))


async def end_cancelled(backend: RedisMongoBackend, claim: Claim) -> None:
    suspended = Suspended(status=S.WAITING, wakeups=0)
    await settle(backend, claim, suspended)
    await backend.executions.cancel(claim.execution.id, None)


async def end_reaped(backend: RedisMongoBackend, claim: Claim) -> None:
    await backend.executions.cancel(claim.execution.id, None)
    reaper = await joined(backend)
    await end_lease(backend, claim.worker_id)
    await backend.workers.reap(reaper.id, expired=True)


@pytest.mark.parametrize("end", [end_settled, end_cancelled, end_reaped])
async def test_what_a_crash_leaves_the_sweep_does(
    backend: RedisMongoBackend, raw_mongo: Mongo, dies: Any, end: Any
) -> None:
    claim = await waiting(backend)
    await end(backend, claim)
    assert raw_mongo.waits.count_documents({}) == 1
    dies.undo()
    worker = await joined(backend)

    await backend.sweeping.sweep(worker.id)
    # Who ended it just now does it, most likely.
    assert raw_mongo.waits.count_documents({}) == 1
    raw_mongo.executions.update_many({}, {"$set": {"finishedAt": LONG_AGO}})
    await backend.sweeping.sweep(worker.id)

    assert raw_mongo.waits.count_documents({}) == 0
    assert raw_mongo.executions.count_documents({"followUps": {"$exists": True}}) == 0


async def test_a_sweep_does_more_than_a_page(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    worker = await joined(backend)
    count = PAGE + 10
    left = {"token": 1, "names": ["delete-waits"]}
    raw_mongo.executions.insert_many(
        {
            "_id": f"e{number}",
            "id": f"e{number}",
            "queuePrefix": backend.options.queue_prefix,
            "finishedAt": LONG_AGO,
            "followUps": left,
        }
        for number in range(count)
    )
    raw_mongo.waits.insert_many(
        {"_id": f"e{number}:1", "executionId": f"e{number}", "token": 1}
        for number in range(count)
    )

    await backend.sweeping.sweep(worker.id)

    assert raw_mongo.waits.count_documents({}) == 0
    assert raw_mongo.executions.count_documents({"followUps": {"$exists": True}}) == 0


async def test_a_retry_does_first_what_is_left(
    backend: RedisMongoBackend, raw_mongo: Mongo, dies: Any
) -> None:
    claim = await waiting(backend)
    await settle(backend, claim, Failed(error=ERROR))
    with pytest.raises(StoreUnavailable):
        await backend.executions.retry(claim.execution.id)
    dies.undo()

    _, queued = await backend.executions.retry(claim.execution.id)

    assert queued
    assert raw_mongo.waits.count_documents({}) == 0
    again = await claim_one(backend, await joined(backend))
    await backend.waits.add(again, [WAIT])
    # Who ended it before, and is late, takes nothing of the life after.
    left: Any = {"token": claim.token, "names": ["delete-waits"]}
    execution = raw_mongo.executions.find_one({}) or {}
    await backend._open_parts.executions._follow_ups.do(execution | {"followUps": left})
    assert [wait.token for wait in await backend.waits.all(again.execution.id)] == [
        again.token
    ]


async def test_what_a_later_release_has_left_is_left_to_it(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    claim = await waiting(backend)
    await settle(backend, claim, Failed(error=ERROR))
    left = {"token": claim.token, "names": ["delete-waits", "ring the bells"]}
    raw_mongo.executions.update_one(
        {}, {"$set": {"followUps": left, "finishedAt": LONG_AGO}}
    )
    worker = await joined(backend)

    await backend.sweeping.sweep(worker.id)

    stored = raw_mongo.executions.find_one({}) or {}
    assert stored["followUps"] == left | {"names": ["ring the bells"]}
    _, queued = await backend.executions.retry(claim.execution.id)
    assert not queued
    assert await backend.retention.prune(S.FAILED, 3600.0, 10) == 0
    raw_mongo.executions.update_one({}, {"$unset": {"followUps": ""}})
    assert await backend.retention.prune(S.FAILED, 3600.0, 10) == 1


async def test_a_wait_that_was_added_after_the_end_goes_with_its_execution(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    claim = await waiting(backend)
    late = raw_mongo.waits.find_one({}) or {}
    await end_settled(backend, claim)
    raw_mongo.waits.insert_one(late)
    raw_mongo.executions.update_one({}, {"$set": {"finishedAt": LONG_AGO}})

    assert await backend.retention.prune(S.COMPLETED, 3600.0, 10) == 1

    assert raw_mongo.waits.count_documents({}) == 0


async def test_the_end_of_what_never_waited_leaves_nothing_to_do(
    backend: RedisMongoBackend, raw_mongo: Mongo, dies: Any
) -> None:
    claim = await claimed(backend)
    await settle(backend, claim, Completed(result="1"))
    cancelled = await insert_one(backend)
    await backend.executions.cancel(cancelled, None)

    for document in raw_mongo.executions.find({}):
        assert not document.keys() & {"followUps", "hasWaits"}


@pytest.mark.parametrize("left", [True, {}, {"token": "x", "names": ["delete-waits"]}])
async def test_what_is_left_and_cannot_be_read_is_in_nobodys_way(
    backend: RedisMongoBackend, raw_mongo: Mongo, dies: Any, left: Any
) -> None:
    damaged, well = await waiting(backend), await waiting(backend)
    for claim in (damaged, well):
        await settle(backend, claim, Failed(error=ERROR))
    dies.undo()
    raw_mongo.executions.update_many({}, {"$set": {"finishedAt": LONG_AGO}})
    raw_mongo.executions.update_one(
        {"_id": damaged.execution.id}, {"$set": {"followUps": left}}
    )

    await backend.sweeping.sweep((await joined(backend)).id)

    (kept,) = raw_mongo.waits.find({})
    assert kept["executionId"] == damaged.execution.id


async def test_it_is_struck_out_of_a_document_of_the_original(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    backend = await open_backend(ts_compat=True)
    sent = {"id": "theirs", "eventName": "payment", "eventData": "1"}
    stamps = {"status": "queued", "attemptCount": 0.0, "createdAt": 1.0}
    raw_mongo.executions.insert_one({**sent, **stamps, "updatedAt": 1.0})
    worker = await joined(backend)
    await backend.sweeping.sweep(worker.id)
    claim = await claim_one(backend, worker)
    await backend.waits.add(claim, [WAIT])

    await settle(backend, claim, Completed(result="1"))

    stored = raw_mongo.executions.find_one({"id": "theirs"}) or {}
    assert isinstance(stored["_id"], ObjectId)
    assert "followUps" not in stored
    assert raw_mongo.waits.count_documents({}) == 0


@pytest.mark.parametrize("code", [DUPLICATE_KEY, 14031])
async def test_what_the_server_refused_stays_to_be_published(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    mongo = backend._open_parts.stores.mongo
    update = mongo.update

    async def refuse(collection: str, statements: Any) -> Written:
        if collection == "events":
            return Written(0, {0: Refusal(code, "no room left")})
        return await update(collection, statements)

    monkeypatch.setattr(mongo, "update", refuse)
    new = new_execution(event="approved", event_key="order 1")
    await backend.executions.insert([new])

    await backend.events.publish([new])

    # Of a duplicate somebody else has appended it meanwhile: a sweep, for instance.
    await expect(backend, new.id, is_published=code == DUPLICATE_KEY)
