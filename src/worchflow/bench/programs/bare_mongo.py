"""What MongoDB itself can do: the durable writes of an execution, and nothing else.

The same documents, indexes and write concern as the library, claims included, in
ideal batches of up to 1,000 with three in flight, by plain driver commands. Started
as `python -m worchflow.bench.programs.bare_mongo SETTINGS`.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bson.int64 import Int64
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from ...foundations.ids import step_id
from ...storage.redis_mongo.indexes import ENDED_INDEX, INDEXES
from ...worker.process import loop_factory, tune_garbage_collector
from .speech import Line, read_settings, rounds_of, serve

if TYPE_CHECKING:
    from collections.abc import Iterable

Database = AsyncDatabase[dict[str, Any]]

BATCH = 1000
IN_FLIGHT = 3
TITLES = ("first", "second", "third")
CONCERN = {"w": "majority", "j": True}


async def prepare(database: Database, count: int, value: Any = None) -> list[str]:
    """Insert queued executions, with the library's indexes; returns their ids."""
    await database.command(
        "createIndexes", "executions", indexes=[*INDEXES, ENDED_INDEX]
    )
    ids = [str(uuid4()) for _ in range(count)]
    for batch in in_batches(ids):
        await insert(database, [_execution(each, value) for each in batch])
    return ids


async def run(database: Database, ids: list[str], value: Any = 1) -> float:
    """Claim, three checkpoints and settle for every id; returns the seconds."""
    batches = in_batches(ids)
    began = time.perf_counter()

    async def write_behind() -> None:
        while batches:
            await _road(database, batches.pop(), value)

    await asyncio.gather(*(write_behind() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


async def run_unsent(database: Database, count: int, value: Any = 1) -> float:
    """As `run`, each batch inserted right before; returns the seconds."""
    batches = in_batches([str(uuid4()) for _ in range(count)])
    began = time.perf_counter()

    async def write_behind() -> None:
        while batches:
            ids = batches.pop()
            await insert(database, [_execution(each, value) for each in ids])
            await _road(database, ids, value)

    await asyncio.gather(*(write_behind() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


async def latency(database: Database, rounds: Iterable[int]) -> list[float]:
    """Seconds of one execution's acknowledged writes, one after another."""
    seconds: list[float] = []
    for _ in rounds:
        began = time.perf_counter()
        id_ = str(uuid4())
        await insert(database, [_execution(id_)])
        await _claim_one(database, id_)
        for title in TITLES:
            await insert(database, [step_document(id_, title)], "steps")
        await update(database, [settle_statement(id_)])
        seconds.append(time.perf_counter() - began)
    return seconds


async def _road(database: Database, ids: list[str], value: Any) -> None:
    nonce = uuid4().hex
    await update(database, [claim_statement(ids, nonce)])
    found = database.executions.find({"_id": {"$in": ids}, "claim": nonce})
    claimed = await found.to_list()
    if len(claimed) != len(ids):
        raise AssertionError("a claim was lost")
    for title in TITLES:
        steps = [step_document(each, title, value) for each in ids]
        await insert(database, steps, "steps")
    await update(database, [settle_statement(each, value) for each in ids])


async def _claim_one(database: Database, id_: str) -> None:
    """An idle worker claims and reads in one write."""
    statement = claim_statement([id_], uuid4().hex)
    answer = await database.command(
        "findAndModify",
        "executions",
        query=statement["q"],
        update=statement["u"],
        new=True,
        writeConcern=CONCERN,
    )
    if answer["value"] is None:
        raise AssertionError("a claim was lost")


async def insert(
    database: Database, documents: list[dict[str, Any]], collection: str = "executions"
) -> None:
    """Insert all of them with one command."""
    answer = await database.command(
        "insert",
        collection,
        documents=documents,
        ordered=False,
        writeConcern=CONCERN,
    )
    if answer["n"] != len(documents):
        raise AssertionError("an insert was refused")


async def update(database: Database, updates: list[dict[str, Any]]) -> None:
    """Apply all update statements with one command."""
    answer = await database.command(
        "update", "executions", updates=updates, ordered=False, writeConcern=CONCERN
    )
    if answer["n"] < len(updates):
        raise AssertionError("an update found nothing")


def in_batches(ids: list[str]) -> list[list[str]]:
    """Up to 1,000 in each, and as many batches as can be in flight."""
    size = min(BATCH, math.ceil(len(ids) / IN_FLIGHT))
    return [ids[start:][:size] for start in range(0, len(ids), size)]


def _execution(id_: str, value: Any = None) -> dict[str, Any]:
    now = datetime.now(UTC)
    milliseconds = Int64(time.time() * 1000)
    return {
        "_id": id_,
        "id": id_,
        "queuePrefix": "bare",
        "eventName": "three-steps",
        "eventData": json.dumps(value),
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
    """What claims all of them."""
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


def step_document(execution_id: str, title: str, value: Any = 1) -> dict[str, Any]:
    """A recorded step."""
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
        "result": value,
    }


def settle_statement(execution_id: str, value: Any = 3) -> dict[str, Any]:
    """What completes one."""
    values = {
        "status": "completed",
        "updatedAt": Int64(time.time() * 1000),
        "doneBy": "bare",
        "finishedAt": datetime.now(UTC),
        "result": value,
    }
    unset = {"owner": "", "claim": "", "cancelRequested": "", "cancelReason": ""}
    return {
        "q": {"_id": execution_id, "owner": "bare", "token": Int64(1)},
        "u": {"$set": values, "$unset": unset},
    }


async def measure(settings: Line) -> None:
    """Serve the driver."""
    value: Any = "x" * settings["payload"] if settings.get("payload") else 1
    ids: list[str] = []
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(settings["mongo_url"])
    async with client:
        database: Database = client.get_default_database()
        await database.command(
            "createIndexes", "executions", indexes=[*INDEXES, ENDED_INDEX]
        )

        async def answer(line: Line) -> Line:
            if "send" in line:
                ids.extend(await prepare(database, line["send"], value))
                return {"sent": line["send"]}
            if "go" in line:
                return {"seconds": await run(database, ids, value)}
            if "whole" in line:
                return {"seconds": await run_unsent(database, line["whole"], value)}
            return {"seconds": await latency(database, rounds_of(line))}

        tune_garbage_collector()
        await serve(answer)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(measure(read_settings()))
