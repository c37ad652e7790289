"""Concurrent writes share round trips; each caller gets its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import bson
import pytest

from tests.redis_mongo.conftest import OpenBackend
from tests.servers import MongoServer
from tests.stores import (
    ERROR,
    claim_many,
    claim_one,
    insert,
    insert_one,
    joined,
    new_execution,
    new_step,
    stored,
)
from tests.waiting import until
from worchflow.foundations.errors import SerializationError, StoreUnavailable
from worchflow.model.records import Claim, ExecutionStatus
from worchflow.model.settlement import Completed, Failed, Released, Settled
from worchflow.storage.redis_mongo import batch_writer
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

StartMongo = Callable[..., MongoServer]


@pytest.fixture
def mongo(start_mongo: StartMongo) -> MongoServer:
    """A server that can be told to fail."""
    return start_mongo(parameters={"enableTestCommands": 1})


@pytest.fixture
async def failing(mongo: MongoServer, open_backend: OpenBackend) -> RedisMongoBackend:
    return await open_backend(mongo_url=mongo.database_url("x"))


def fail(mongo: MongoServer, command: str, times: int, **how: Any) -> None:
    """Let the next commands of a name fail."""
    with mongo.client() as client:
        client.admin.command(
            {
                "configureFailPoint": "failCommand",
                "mode": {"times": times},
                "data": {"failCommands": [command], **how},
            }
        )


def lose_replies(mongo: MongoServer, command: str, times: int) -> None:
    """Apply the next writes, and then say that no majority has them."""
    concern = {"code": 64, "errmsg": "waiting for replication timed out"}
    fail(mongo, command, times, writeConcernError=concern)


async def test_a_value_that_bson_cannot_hold_fails_its_own_caller_only(
    backend: RedisMongoBackend,
) -> None:
    good = [new_execution() for _ in range(5)]
    bad = new_execution(event="lone \ud800")
    outcomes = await asyncio.gather(
        *(backend.executions.insert([one]) for one in [*good, bad]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[-1], SerializationError)
    assert all(isinstance(outcome, list) for outcome in outcomes[:-1])
    assert all([await backend.executions.get(one.id) for one in good])


async def test_batches_are_no_larger_than_said(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "MAX_BATCH_OPERATIONS", 10)
    monkeypatch.setattr(batch_writer, "MAX_BATCH_BYTES", 100_000)
    gateway = backend._open_parts.stores.mongo
    insert = gateway.insert
    batches: list[tuple[int, int]] = []

    async def counted(collection: str, documents: Any, timeout: Any = None) -> Any:
        batches.append((len(documents), sum(len(bson.encode(d)) for d in documents)))
        return await insert(collection, documents, timeout)

    monkeypatch.setattr(gateway, "insert", counted)
    await backend.executions.insert([new_execution() for _ in range(95)])
    assert max(count for count, _ in batches) == 10
    batches.clear()
    large = '"' + "x" * 60_000 + '"'
    huge = '"' + "x" * 300_000 + '"'
    new = [new_execution(event_data=data) for data in (large, large, huge, large)]
    await backend.executions.insert(new)
    assert all(size <= 101_000 or count == 1 for count, size in batches)
    assert sum(count for count, _ in batches) == 4


async def test_at_most_three_batches_are_in_flight(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "MAX_BATCH_OPERATIONS", 5)
    gateway = backend._open_parts.stores.mongo
    insert = gateway.insert
    now, most = 0, 0

    async def counted(collection: str, documents: Any, timeout: Any = None) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await insert(collection, documents, timeout)
        finally:
            now -= 1

    monkeypatch.setattr(gateway, "insert", counted)
    await asyncio.gather(
        *(backend.executions.insert([new_execution()]) for _ in range(100))
    )
    assert most == 3


async def test_a_full_queue_holds_callers_back(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "MAX_WAITING_OPERATIONS", 20)
    group = backend._open_parts.stores.committer._executions
    longest = 0
    submit = group._submit

    def watched(*args: Any) -> Any:
        nonlocal longest
        future = submit(*args)
        longest = max(longest, len(group._waiting))
        return future

    monkeypatch.setattr(group, "_submit", watched)
    await asyncio.gather(
        *(backend.executions.insert([new_execution()]) for _ in range(200))
    )
    assert longest <= 20


@pytest.mark.parametrize(
    "how", [{"closeConnection": True}, {"errorCode": 10107}, {"errorCode": 112}]
)
async def test_a_write_that_did_not_arrive_is_sent_again(
    failing: RedisMongoBackend, mongo: MongoServer, how: dict[str, Any]
) -> None:
    worker = await joined(failing)
    fail(mongo, "insert", 2, **how)
    new = new_execution()
    (outcome,) = await failing.executions.insert([new])
    assert outcome.existing is None
    (claim,) = await claim_many(failing, worker, 1)
    fail(mongo, "update", 2, **how)
    settled = await failing.claims.settle(claim, Completed(result="1"), None)
    assert settled.applied


async def test_a_write_whose_answer_was_lost_is_recognised(
    failing: RedisMongoBackend, mongo: MongoServer
) -> None:
    worker = await joined(failing)
    lose_replies(mongo, "insert", 1)
    new = [new_execution() for _ in range(3)]
    outcomes = await failing.executions.insert(new)
    assert [outcome.existing for outcome in outcomes] == [None] * 3
    # All are queued: of one alone the claim would be no "update".
    assert await failing._open_parts.stores.write_behind.flush(5)

    lose_replies(mongo, "update", 1)
    claims = list(await until(lambda: _claim_despite(failing, worker)))
    while len(claims) < 3:
        claims += await failing.claims.claim(worker, 3, 1.0)
    assert [claim.token for claim in claims] == [1] * 3
    assert {claim.execution.id for claim in claims} == {one.id for one in new}

    step = new_step()
    lose_replies(mongo, "insert", 1)
    assert await failing.steps.checkpoint(claims[0], step) == step

    endings = [Completed(result="1"), Failed(error=ERROR), Released()]
    lose_replies(mongo, "update", 1)
    settled = await asyncio.gather(
        *(
            failing.claims.settle(claim, ending, None)
            for claim, ending in zip(claims, endings, strict=True)
        )
    )
    assert [(one.applied, one.status) for one in settled] == [
        (True, ExecutionStatus.COMPLETED),
        (True, ExecutionStatus.FAILED),
        (True, ExecutionStatus.QUEUED),
    ]
    (again,) = await claim_many(failing, worker, 1)
    assert again.token == 2


async def _claim_despite(backend: RedisMongoBackend, worker: Any) -> list[Claim]:
    try:
        return list(await backend.claims.claim(worker, 3, 0.2))
    except StoreUnavailable:
        return []


async def test_a_write_that_never_arrives_fails_in_time(
    mongo: MongoServer, open_backend: OpenBackend
) -> None:
    backend = await open_backend(mongo_url=mongo.database_url("x"), timeout=1.5)
    fail(mongo, "insert", 1000, closeConnection=True)
    with pytest.raises(StoreUnavailable) as caught:
        await backend.executions.insert([new_execution()])
    assert caught.value.__cause__ is not None
    fail(mongo, "insert", 1, closeConnection=True)
    await backend.executions.insert([new_execution()])


async def test_one_of_a_batch_that_lost_its_claim_does_not_hide_the_others(
    backend: RedisMongoBackend, raw_mongo: Any
) -> None:
    worker = await joined(backend)
    for _ in range(5):
        await insert_one(backend)
    claims = await claim_many(backend, worker, 5)
    raw_mongo.executions.update_one(
        {"_id": claims[2].execution.id}, {"$set": {"token": 9}}
    )
    settled = await asyncio.gather(
        *(backend.claims.settle(claim, Completed(result="1"), None) for claim in claims)
    )
    assert [one.applied for one in settled] == [True, True, False, True, True]
    assert settled[2].status is ExecutionStatus.PROCESSING


async def test_settlements_that_are_alike_share_one_statement(
    backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await joined(backend)
    await insert(backend, *(new_execution() for _ in range(20)))
    claims = await claim_many(backend, worker, 20, limit=20)
    gateway = backend._open_parts.stores.mongo
    update = gateway.update
    sizes: list[int] = []

    async def counted(collection: str, statements: Any, timeout: Any = None) -> Any:
        sizes.append(len(statements))
        return await update(collection, statements, timeout)

    monkeypatch.setattr(gateway, "update", counted)
    large = '"' + "x" * 5000 + '"'
    results = [large, *(f'{{"number":{n}}}' for n in range(18))]
    endings = [*(Completed(result=each) for each in results), Failed(error=ERROR)]
    settled = await asyncio.gather(
        *(
            backend.claims.settle(claim, ending, None)
            for claim, ending in zip(claims, endings, strict=True)
        )
    )
    assert all(one.applied for one in settled)
    assert sizes == [3]  # eighteen together, the large and the failed one alone
    for claim, result in zip(claims, results, strict=False):
        execution = await stored(backend, claim.execution.id)
        assert (execution.status, execution.result) == ("completed", result)
        assert execution.worker is None
        assert execution.finished_at is not None


async def test_a_settlement_that_is_refused_harms_none_that_shares_its_statement(
    backend: RedisMongoBackend, raw_mongo: Any
) -> None:
    worker = await joined(backend)
    await insert(backend, *(new_execution() for _ in range(5)))
    claims = await claim_many(backend, worker, 5, limit=5)
    validator = {"result": {"$ne": "refused"}}
    raw_mongo.command("collMod", "executions", validator=validator)
    results = ['"one"', '"two"', '"refused"', '"four"', '"five"']
    outcomes = await asyncio.gather(
        *(
            backend.claims.settle(claim, Completed(result=result), None)
            for claim, result in zip(claims, results, strict=True)
        ),
        return_exceptions=True,
    )
    refused = outcomes.pop(2)
    assert isinstance(refused, StoreUnavailable)
    assert "121" in str(refused)
    assert all(isinstance(one, Settled) and one.applied for one in outcomes)
    for claim, result in zip(claims, results, strict=True):
        execution = await stored(backend, claim.execution.id)
        is_refused = result == '"refused"'
        assert execution.result == (None if is_refused else result)


async def test_closing_writes_what_is_buffered(
    open_backend: OpenBackend, raw_mongo: Any, raw_redis: Any, prefix: str
) -> None:
    backend = await open_backend()
    sending = [
        asyncio.create_task(backend.executions.insert([new_execution()]))
        for _ in range(50)
    ]
    await asyncio.sleep(0)
    await backend.close()
    assert len(await asyncio.gather(*sending)) == 50
    assert raw_mongo.executions.count_documents({}) == 50
    assert raw_redis.llen(f"{prefix}:queue") == 50


async def test_a_cancelled_caller_disturbs_nobody(backend: RedisMongoBackend) -> None:
    new = [new_execution() for _ in range(10)]
    sending = [asyncio.create_task(backend.executions.insert([one])) for one in new]
    await asyncio.sleep(0)
    for task in sending[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert all(isinstance(outcome, list) for outcome in outcomes[1::2])


@pytest.mark.parametrize("count", [1, 3])
async def test_a_claim_whose_answer_was_lost_is_handed_out_once(
    failing: RedisMongoBackend, mongo: MongoServer, count: int
) -> None:
    worker = await joined(failing)
    await insert(failing, *(new_execution() for _ in range(count)))
    fail(mongo, "find", 1, errorCode=91)
    lose_replies(mongo, "update" if count > 1 else "findAndModify", 1)
    claims: list[Claim] = []
    for _ in range(4):
        claims += await _claim_despite(failing, worker)
    assert [claim.token for claim in claims] == [1] * count


async def test_one_that_cannot_be_claimed_is_told_from_an_outage(
    failing: RedisMongoBackend, mongo: MongoServer
) -> None:
    worker = await joined(failing)
    await insert_one(failing)
    fail(mongo, "findAndModify", 1, errorCode=2)
    claim = await claim_one(failing, worker)
    assert claim.token == 1


async def test_a_cancelled_claim_is_handed_out_by_the_next(
    backend: RedisMongoBackend,
) -> None:
    worker = await joined(backend)
    waiting = asyncio.create_task(backend.claims.claim(worker, 1, 1.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_
