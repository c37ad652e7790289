"""What MongoDB itself can do: the durable writes of an execution, and nothing else.

The same documents, indexes and write concern as the library, claims included, in
ideal batches of up to 1,000 with three in flight, by plain driver commands.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from bson.int64 import Int64
from pymongo.asynchronous.database import AsyncDatabase

from worchflow.ids import step_id
from worchflow.storage.redis_mongo.schema import INDEXES

Database = AsyncDatabase[dict[str, Any]]

BATCH = 1000
IN_FLIGHT = 3
TITLES = ("first", "second", "third")
CONCERN = {"w": "majority", "j": True}


async def prepare(database: Database, count: int) -> list[str]:
    """Insert queued executions, with the library's indexes; returns their ids."""
    await database.command("createIndexes", "executions", indexes=INDEXES)
    ids = [str(uuid4()) for _ in range(count)]
    for start in range(0, count, BATCH):
        await insert(database, [_execution(each) for each in ids[start:][:BATCH]])
    return ids


async def run(database: Database, ids: list[str]) -> float:
    """Claim, three checkpoints and settle for every id; returns the seconds."""
    batches = [ids[start:][:BATCH] for start in range(0, len(ids), BATCH)]
    began = time.perf_counter()

    async def lane() -> None:
        while batches:
            await _road(database, batches.pop())

    await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


async def latency(database: Database, rounds: int) -> list[float]:
    """Seconds of one execution's acknowledged writes, one after another."""
    seconds: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        id_ = str(uuid4())
        await insert(database, [_execution(id_)])
        await _road(database, [id_])
        seconds.append(time.perf_counter() - began)
    return seconds


async def _road(database: Database, ids: list[str]) -> None:
    nonce = uuid4().hex
    await update(database, [claim_statement(ids, nonce)])
    found = database.executions.find({"_id": {"$in": ids}, "claim": nonce})
    claimed = await found.to_list()
    assert len(claimed) == len(ids)
    for title in TITLES:
        await insert(database, [step_document(each, title) for each in ids], "steps")
    await update(database, [settle_statement(each) for each in ids])


async def insert(
    database: Database, documents: list[dict[str, Any]], collection: str = "executions"
) -> None:
    answer = await database.command(
        "insert",
        collection,
        documents=documents,
        ordered=False,
        writeConcern=CONCERN,
    )
    assert answer["n"] == len(documents)


async def update(database: Database, updates: list[dict[str, Any]]) -> None:
    answer = await database.command(
        "update", "executions", updates=updates, ordered=False, writeConcern=CONCERN
    )
    assert answer["n"] >= len(updates)


def _execution(id_: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    milliseconds = Int64(time.time() * 1000)
    return {
        "_id": id_,
        "id": id_,
        "queuePrefix": "bare",
        "eventName": "three-steps",
        "eventData": "null",
        "status": "queued",
        "attemptCount": 0,
        "createdAt": milliseconds,
        "updatedAt": milliseconds,
        "token": Int64(0),
        "recoveries": 0,
        "nonce": uuid4().hex,
        "enqueuedAt": now,
        "dueAt": now,
    }


def claim_statement(ids: list[str], nonce: str) -> dict[str, Any]:
    values = {
        "owner": "bare",
        "status": "processing",
        "functionId": "three-steps",
        "token": {"$add": ["$token", 1]},
        "startedAt": {"$ifNull": ["$startedAt", "$$NOW"]},
        "updatedAt": {"$toLong": "$$NOW"},
        "claim": nonce,
    }
    return {
        "q": {"_id": {"$in": ids}, "owner": None, "status": "queued"},
        "u": [{"$set": values}, {"$unset": ["dueAt"]}],
        "multi": True,
    }


def step_document(execution_id: str, title: str) -> dict[str, Any]:
    identity = step_id(title)
    return {
        "_id": f"{execution_id}:{identity}",
        "executionId": execution_id,
        "stepId": identity,
        "name": title,
        "status": "completed",
        "timestamp": Int64(time.time() * 1000),
        "attempts": 1,
        "token": Int64(1),
        "nonce": "bare",
        "startedAt": datetime.now(UTC),
        "result": 1,
    }


def settle_statement(execution_id: str) -> dict[str, Any]:
    values = {
        "status": "completed",
        "updatedAt": Int64(time.time() * 1000),
        "doneBy": "bare",
        "finishedAt": datetime.now(UTC),
        "result": 3,
    }
    unset = {"owner": "", "claim": "", "cancelRequested": "", "cancelReason": ""}
    return {
        "q": {"_id": execution_id, "owner": "bare", "token": Int64(1)},
        "u": {"$set": values, "$unset": unset},
    }
