"""Counting reads little, however much is stored, and agrees with what is stored."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.redis_mongo.profile import profiled
from tests.stores import ERROR, claimed, counted, insert, new_execution, settle
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed, Failed
from worchflow.storage.redis_mongo import counting
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

S = ExecutionStatus
DAY = 24 * 3600.0


@pytest.fixture(autouse=True)
def _always_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "COUNTS_AGE", -1)
    # Numbers that took a busy machine long to read would be kept; only the hour that
    # some tests speak of is long.
    monkeypatch.setattr(counting, "LONG_READING", 1_800_000)


def of_the_past(prefix: str, status: S, days: float, count: int) -> list[Any]:
    """Documents of executions that ended so long ago, at different moments."""
    end = datetime.now(UTC) - timedelta(days=days)
    ids = [f"{status}-{days}-{n}" for n in range(count)]
    return [
        {"_id": id_, "id": id_, "queuePrefix": prefix, "status": status.value}
        | {"eventName": "pay", "eventData": "1", "createdAt": 1, "updatedAt": 1}
        | {"finishedAt": end + timedelta(milliseconds=n)}
        for n, id_ in enumerate(ids)
    ]


def stored(raw_mongo: Mongo) -> dict[S, int]:
    """Count the slow way."""
    found = Counter(each["status"] for each in raw_mongo.executions.find())
    return {status: found[status.value] for status in S}


async def advance(backend: RedisMongoBackend) -> None:
    """Do what the elected worker does."""
    await backend._open_parts.counting.advance()


async def test_what_has_ended_is_read_once(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    for status, days in ((S.COMPLETED, 2.5), (S.COMPLETED, 0.2), (S.FAILED, 20)):
        raw_mongo.executions.insert_many(of_the_past(prefix, status, days, 400))
    raw_mongo.executions.insert_many(of_the_past(prefix, S.CANCELLED, 0, 5))
    expected = stored(raw_mongo)
    assert await backend.counting.by_status() == expected

    await advance(backend)

    with profiled(raw_mongo) as reads:
        assert await backend.counting.by_status() == expected
        await advance(backend)
    # The last seconds are read again, and of each status there may be one key too far.
    assert reads.keys <= 5 + 12
    assert reads.documents == 0
    assert reads.plans <= {
        "COUNT_SCAN { queuePrefix: 1, status: 1, finishedAt: 1 }",
        "COUNT_SCAN { queuePrefix: 1, status: 1, createdAt: -1, _id: -1 }",
    }


async def test_what_is_retried_or_removed_is_counted_no_more(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    raw_mongo.executions.insert_many(
        of_the_past(prefix, S.FAILED, 3, 10)
        + of_the_past(prefix, S.COMPLETED, 3, 10)
        + of_the_past(prefix, S.COMPLETED, 1.5, 10)
    )
    await advance(backend)

    await backend.executions.retry(f"{S.FAILED}-3-4")
    assert await backend.retention.prune(S.COMPLETED, 2 * DAY, 7) == 7
    assert await backend.counting.by_status() == stored(raw_mongo)

    assert await backend.retention.prune(S.FAILED, 2 * DAY, 100) == 9
    assert await backend.retention.prune(S.COMPLETED, DAY, 100) == 13
    assert (
        await backend.counting.by_status()
        == stored(raw_mongo)
        == dict.fromkeys(S, 0) | {S.QUEUED: 1}
    )


async def test_a_count_that_a_crash_left_wrong_goes_with_its_day(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    raw_mongo.executions.insert_many(of_the_past(prefix, S.COMPLETED, 9, 6))
    raw_mongo.executions.insert_many(of_the_past(prefix, S.COMPLETED, 1, 6))
    await advance(backend)
    # A process died after it removed two of them.
    raw_mongo.executions.delete_many(
        {"_id": {"$in": ["completed-9-0", "completed-9-1"]}}
    )
    assert (await backend.counting.by_status())[S.COMPLETED] == 12

    while await backend.retention.prune(S.COMPLETED, 7 * DAY, 10):
        pass

    assert (await backend.counting.by_status())[S.COMPLETED] == 6
    kept: Any = raw_mongo.worchflow_meta.find_one({"_id": f"ended:{prefix}"})
    assert len(kept["completed"]) == 1


async def test_everything_a_worker_does_is_counted(
    backend: RedisMongoBackend, raw_mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it ended before the moment up to which was counted for good."""
    monkeypatch.setattr(backend._open_parts.counting, "_late", -1)
    ids = []
    for settlement in (Completed(result="1"), Failed(error=ERROR)):
        claim = await claimed(backend)
        ids.append(claim.execution.id)
        await settle(backend, claim, settlement)
        await advance(backend)
        assert await backend.counting.by_status() == stored(raw_mongo)
    await backend.executions.retry(ids[-1])
    assert await backend.counting.by_status() == stored(raw_mongo)
    assert await backend.retention.prune(S.COMPLETED, 0.0, 10) in (0, 1)
    assert await backend.counting.by_status() == stored(raw_mongo)


async def test_two_that_count_for_good_count_once(
    open_backend: OpenBackend, raw_mongo: Mongo, prefix: str
) -> None:
    backends = [await open_backend(), await open_backend()]
    raw_mongo.executions.insert_many(of_the_past(prefix, S.COMPLETED, 3, 50))
    for _ in range(2):
        for backend in backends:
            await advance(backend)

    assert (await backends[0].counting.by_status())[S.COMPLETED] == 50


@pytest.mark.parametrize("redis_answers", [True, False])
async def test_many_that_wait_are_counted_by_their_queues(
    open_backend: OpenBackend,
    raw_mongo: Mongo,
    monkeypatch: pytest.MonkeyPatch,
    redis_answers: bool,
) -> None:
    backend = await open_backend()
    await insert(backend, *(new_execution(delay=n % 2 * 3600.0) for n in range(60)))
    assert await backend._open_parts.stores.write_behind.flush(5)
    monkeypatch.setattr(counting, "MAX_EXACT", 20)
    if not redis_answers:
        redis = backend._open_parts.stores.redis
        monkeypatch.setattr(redis, "lengths", unanswered)

    with profiled(raw_mongo) as reads:
        counts = await backend.counting.by_status()

    assert counts == dict.fromkeys(S, 0) | {S.QUEUED: 60 if redis_answers else 20}
    assert reads.keys <= 20 + 12
    assert reads.documents == 0


async def unanswered(*_: str) -> tuple[int, int]:
    raise StoreUnavailable("Redis did not answer")


async def test_documents_of_the_original_are_counted_too(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    backend = await open_backend(ts_compat=True)
    original = {"_id": ObjectId(), "id": "theirs", "status": "completed"}
    original |= {"eventName": "pay", "eventData": "1", "createdAt": 1, "updatedAt": 1}
    raw_mongo.executions.insert_one(original)
    await settle(backend, await claimed(backend), Completed(result="1"))
    await advance(backend)

    await counted(backend, {S.COMPLETED: 2})


async def test_what_took_long_to_read_is_kept_for_longer(
    open_backend: OpenBackend, raw_mongo: Mongo, prefix: str
) -> None:
    backend = await open_backend(ts_compat=True)
    assert (await backend.counting.by_status())[S.COMPLETED] == 0
    raw_mongo.executions.insert_many(of_the_past(prefix, S.COMPLETED, 1, 3))
    counts = {"_id": f"counts:{prefix}"}
    raw_mongo.worchflow_meta.update_one(counts, {"$set": {"took": 3_600_000}})

    assert (await backend.counting.by_status())[S.COMPLETED] == 0

    raw_mongo.worchflow_meta.update_one(counts, {"$set": {"took": 0}})
    await counted(backend, {S.COMPLETED: 3})


@pytest.fixture
async def wrong_by_two(
    backend: RedisMongoBackend,
    raw_mongo: Mongo,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> RedisMongoBackend:
    """A worker died after it removed two of what was counted for good."""
    monkeypatch.setattr(backend._open_parts.counting._recount, "_apart", 0)
    raw_mongo.executions.insert_many(of_the_past(prefix, S.COMPLETED, 9, 6))
    raw_mongo.executions.insert_many(of_the_past(prefix, S.FAILED, 1, 6))
    await advance(backend)
    gone = ["completed-9-0", "completed-9-1"]
    raw_mongo.executions.delete_many({"_id": {"$in": gone}})
    assert (await backend.counting.by_status())[S.COMPLETED] == 6
    return backend


async def test_after_a_worker_died_all_is_counted_again(
    wrong_by_two: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    backend = wrong_by_two
    await advance(backend)
    assert (await backend.counting.by_status())[S.COMPLETED] == 6  # Nobody asked.
    dead = {"_id": "dead", "queuePrefix": prefix, "expiresAt": datetime(2020, 1, 1)}  # noqa: DTZ001
    raw_mongo.workers.insert_one(dead)

    await backend.workers.reap("other", expired=True)
    for _ in range(4):
        await advance(backend)

    assert await backend.counting.by_status() == stored(raw_mongo)
    # All is done; nothing is read again.
    kept: Any = raw_mongo.worchflow_meta.find_one({"_id": f"ended:{prefix}"})
    assert "recount" not in kept


async def test_what_is_on_its_way_is_not_subtracted_twice(
    wrong_by_two: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    """It comes between the two looks, or between the second look and its write."""
    backend = wrong_by_two
    counting_ = backend._open_parts.counting
    ends = [
        int((datetime.now(UTC) - timedelta(days=9)).timestamp() * 1000 + n)
        for n in (0, 1, 2)
    ]
    await counting_.ask_for_recount()
    await advance(backend)
    stored_once = counting_.ended_on

    async def and_then_subtracted(day: int, up_to: int) -> dict[str, int]:
        found = await stored_once(day, up_to)
        raw_mongo.executions.delete_one({"_id": "completed-9-2"})
        await counting_.uncount(S.COMPLETED, ends)
        return found

    counting_._recount._ended_on = and_then_subtracted
    await advance(backend)
    counting_._recount._ended_on = stored_once
    for _ in range(4):
        await advance(backend)

    assert await backend.counting.by_status() == stored(raw_mongo)


async def test_who_dies_often_does_not_keep_a_recount_at_its_beginning(
    wrong_by_two: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    backend = wrong_by_two
    raw_mongo.executions.delete_one({"_id": "failed-1-0"})

    for _ in range(8):
        await backend._open_parts.counting.ask_for_recount()
        await advance(backend)

    assert await backend.counting.by_status() == stored(raw_mongo)


async def test_all_is_counted_again_once_a_day(
    wrong_by_two: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    """For clients that did not live to subtract, whose death nobody notices."""
    backend = wrong_by_two
    yesterday = datetime.now(UTC) - timedelta(days=1)
    raw_mongo.executions.delete_many({"status": S.FAILED.value})
    raw_mongo.worchflow_meta.update_one(
        {"_id": f"ended:{prefix}"},
        {"$set": {"upTo": yesterday}, "$unset": {S.FAILED.value: ""}},
    )

    for _ in range(8):
        await advance(backend)

    assert await backend.counting.by_status() == stored(raw_mongo)


async def test_a_count_of_the_original_s_time_is_not_kept_without_it(
    open_backend: OpenBackend, raw_mongo: Mongo, prefix: str
) -> None:
    backend = await open_backend()
    await backend.counting.by_status()
    raw_mongo.worchflow_meta.update_one(
        {"_id": f"counts:{prefix}"}, {"$set": {"took": 3_600_000}}
    )
    await insert(backend, new_execution())

    assert (await backend.counting.by_status())[S.QUEUED] == 1


async def test_what_two_removed_together_is_counted_again(
    wrong_by_two: RedisMongoBackend,
    raw_mongo: Mongo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither knows which of them removed what, so none of it was subtracted."""
    backend = wrong_by_two
    mongo = backend._open_parts.stores.mongo
    find = mongo.find

    async def and_another_removes_one(*args: Any, **kwargs: Any) -> Any:
        found = await find(*args, **kwargs)
        raw_mongo.executions.delete_one({"_id": "completed-9-2"})
        return found

    with monkeypatch.context() as patched:
        patched.setattr(mongo, "find", and_another_removes_one)
        assert await backend.retention.prune(S.COMPLETED, 2 * DAY, 10) == 3
    for _ in range(4):
        await advance(backend)

    assert await backend.counting.by_status() == stored(raw_mongo)
