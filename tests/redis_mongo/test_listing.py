"""Every page is read along an index, whatever is filtered, however much is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.redis_mongo.profile import profiled
from tests.stores import ids, ignore, insert, new_execution, new_worker
from worchflow.model.records import ExecutionQuery, ExecutionStatus
from worchflow.storage.redis_mongo import listing
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

S = ExecutionStatus
STORED = 1500
START = datetime(2030, 1, 1, tzinfo=UTC)
LIMIT = 5
WALKED, FEW = 40, 12

STATUSES = [None, S.COMPLETED, S.FAILED]
FUNCTIONS = [None, "often", "rare", "payments", "unknown"]
ID_PREFIXES = [None, "a", "a-7-", "zz"]
TIMES = [(None, None), (200, 900)]


@pytest.fixture(autouse=True)
def _short_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_SCANNED", WALKED)
    monkeypatch.setattr(listing, "MAX_IDS_LOOKED_UP", FEW)


def document(number: int, prefix: str) -> dict[str, Any]:
    """Seven share each moment; few failed, one in a hundred is of another event."""
    event = ("refund", "rare")[number % 200 // 100] if number % 100 == 0 else "often"
    return {
        "_id": f"{'ab'[number % 2]}-{number % 10}-{number}",
        "id": f"{'ab'[number % 2]}-{number % 10}-{number}",
        "queuePrefix": prefix,
        "eventName": event,
        "functionId": "payments" if event == "refund" else event,
        "eventData": "1",
        "status": "failed" if number % 97 == 0 else "completed",
        # The driver of the original stores its numbers so.
        "createdAt": START.timestamp() * 1000 + number // 7,
        "updatedAt": 1,
    }


async def fill(backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str) -> list[Any]:
    """Return what is stored, newest first."""
    worker = new_worker(functions={"often": "often", "refund": "payments"})
    await backend.workers.join(worker, ignore)
    stored = [document(number, prefix) for number in range(STORED)]
    raw_mongo.executions.insert_many(stored)
    stored.sort(key=lambda each: (each["createdAt"], each["_id"]), reverse=True)
    return stored


def fits(each: dict[str, Any], query: ExecutionQuery) -> bool:
    """What a filter means."""
    created = datetime.fromtimestamp(each["createdAt"] / 1000, UTC)
    return (
        (not query.statuses or each["status"] in query.statuses)
        and query.function in (None, each["eventName"], each["functionId"])
        and each["id"].startswith(query.id_prefix or "")
        and (query.since is None or created >= query.since)
        and (query.until is None or created < query.until)
    )


@pytest.mark.timeout(120)
async def test_every_filter_reads_little_and_finds_all(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    stored = await fill(backend, raw_mongo, prefix)
    combinations = product(STATUSES, FUNCTIONS, ID_PREFIXES, TIMES)
    for status, function, id_prefix, (since, until) in combinations:
        query: dict[str, Any] = {
            "statuses": frozenset() if status is None else frozenset({status}),
            "function": function,
            "id_prefix": id_prefix,
            "since": since and START + timedelta(milliseconds=since // 7),
            "until": until and START + timedelta(milliseconds=until // 7),
        }
        expected = [e["id"] for e in stored if fits(e, ExecutionQuery(**query))]
        found: list[str] = []
        cursor: str | None = None
        for _ in range(2):
            with profiled(raw_mongo) as reads:
                page = await backend.listing.page(
                    ExecutionQuery(**query, limit=LIMIT, cursor=cursor)
                )
            assert "COLLSCAN" not in reads.plans, query
            # A walk, and where it ended, for two ranges; and a key of each status.
            assert reads.keys <= 4 * WALKED + 60, (query, reads.operations)
            found += [each.id for each in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == expected[: len(found)], query
        assert cursor is not None or found == expected, query


@pytest.mark.parametrize(
    "query",
    [
        {"statuses": frozenset({S.FAILED})},
        {"function": "rare"},
        {"function": "payments"},
        {"function": "often", "statuses": frozenset({S.FAILED})},
        {"function": "rare", "statuses": frozenset({S.COMPLETED})},
        {"id_prefix": "a-7"},
        {"id_prefix": "b", "statuses": frozenset({S.FAILED})},
    ],
)
async def test_all_pages_together_hold_everything_once(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str, query: dict[str, Any]
) -> None:
    stored = await fill(backend, raw_mongo, prefix)
    expected = [e["id"] for e in stored if fits(e, ExecutionQuery(**query))]

    found: list[str] = []
    cursor: str | None = None
    for _ in range(STORED):
        page = await backend.listing.page(
            ExecutionQuery(**query, limit=LIMIT, cursor=cursor)
        )
        assert len(page.items) <= LIMIT
        found += [each.id for each in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == expected


async def test_a_page_without_such_a_filter_reads_what_it_shows(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    await fill(backend, raw_mongo, prefix)
    cursor: str | None = None
    for _ in range(3):
        with profiled(raw_mongo) as reads:
            page = await backend.listing.page(
                ExecutionQuery(limit=LIMIT, cursor=cursor)
            )
        cursor = page.cursor
        assert reads.documents <= 2 * LIMIT + 2
        assert reads.keys <= 2 * LIMIT + 2 + 2 * len(S)


async def test_thousands_of_one_moment_are_paged_without_reading_them_again(
    backend: RedisMongoBackend, raw_mongo: Mongo, prefix: str
) -> None:
    same = [document(number, prefix) | {"createdAt": 1} for number in range(STORED)]
    raw_mongo.executions.insert_many(same)
    found: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        with profiled(raw_mongo) as reads:
            page = await backend.listing.page(ExecutionQuery(limit=300, cursor=cursor))
        assert reads.keys <= 301 + 3 * len(S)
        found += [each.id for each in page.items]
        cursor = page.cursor
    assert found == sorted((each["id"] for each in same), reverse=True)[:1200]


async def test_documents_of_the_original_are_paged_along_the_index(
    open_backend: OpenBackend, raw_mongo: Mongo, prefix: str
) -> None:
    backend = await open_backend(ts_compat=True)
    theirs: list[dict[str, Any]] = []
    for number in range(200):
        made = document(number, prefix)
        del made["queuePrefix"], made["_id"]
        theirs.append(made)
    raw_mongo.executions.insert_many(theirs)
    raw_mongo.executions.insert_many(document(n, prefix) for n in range(200, 220))
    assert any(isinstance(each["_id"], ObjectId) for each in theirs)

    found: list[str] = []
    cursor: str | None = None
    while True:
        with profiled(raw_mongo) as reads:
            page = await backend.listing.page(ExecutionQuery(limit=50, cursor=cursor))
        assert reads.keys <= 2 * (51 + 3 * len(S))
        found += [each.id for each in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 220
    page = await backend.listing.page(ExecutionQuery(id_prefix="a-8-2"))
    assert [each.id for each in page.items] == ["a-8-218", "a-8-208", "a-8-28"]


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize(
    "damage",
    [
        {"eventData": 5},
        {"status": "odd"},
        {"createdAt": "yesterday"},
        {"createdAt": float("inf")},
        {"createdAt": float("-inf")},
        {"createdAt": float("nan")},
        {"createdAt": Decimal128("5e12")},
        {"createdAt": 5e12},
    ],
)
async def test_pages_of_damaged_documents_are_not_the_end_of_a_listing(
    open_backend: OpenBackend,
    raw_mongo: Mongo,
    prefix: str,
    damage: dict[str, Any],
    limit: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = await open_backend()
    good = await insert(backend, *(new_execution() for _ in range(2)))
    bad = await insert(backend, *(new_execution() for _ in range(7)))
    good += await insert(backend, *(new_execution() for _ in range(2)))
    raw_mongo.executions.update_many({"_id": {"$in": bad}}, {"$set": damage})

    found: list[str] = []
    query = ExecutionQuery(limit=limit)
    for _ in range(len(good) + len(bad) + 1):
        page = await backend.listing.page(query)
        found += ids(page.items)
        if page.cursor is None:
            break
        query = replace(query, cursor=page.cursor)
    else:
        pytest.fail("the listing does not end")

    assert sorted(each for each in found if each not in bad) == sorted(good)
    if "eventData" in damage:
        assert all(each in caplog.text for each in bad)
