"""What somebody else wrote into the stores, or half wrote, harms no good execution."""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pymongo
import pytest
import redis
from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo.database import Database

from tests.scenarios.conftest import MakeApp
from tests.stores import joined
from worchflow import (
    Context,
    ExecutionFailed,
    SerializationError,
    Worchflow,
    WorchflowClient,
    WorchflowError,
)
from worchflow.model.options import WorkerOptions
from worchflow.storage.sqlite.backend import SQLiteBackend

IN_A_ROW = 6
LONG_ENOUGH = 1.0
"""Seconds after which no more of them are sent: Redis may help no longer."""
OLD = int(time.time() * 1000) - 3_600_000


def quick() -> WorkerOptions:
    return WorkerOptions(concurrency=4, upkeep_interval=0.03)


@pytest.fixture
def echo_app(make_app: MakeApp) -> Worchflow[Any]:
    """An app with one function, of two steps."""
    app = make_app()

    @app.function("echo")
    async def echo(ctx: Context[Any]) -> Any:
        await ctx.step.run("one", lambda: 1)
        return await ctx.step.run("two", lambda: ctx.data)

    return app


@dataclass
class Survival:
    """A worker's log while junk is written: its loops must never have failed."""

    app: Worchflow[Any]
    client: WorchflowClient[Any]
    log: pytest.LogCaptureFixture
    count: int = 0

    async def good_work_completes(self) -> None:
        """One after another, so that every loop has its turns; none has failed."""
        self.log.clear()
        until = time.monotonic() + LONG_ENOUGH
        for _ in range(IN_A_ROW):
            if time.monotonic() > until:
                break
            self.count += 1
            handle = await self.client.send({"name": "echo", "data": self.count})
            assert await handle.result(timeout=8) == self.count
        failed = [
            record.getMessage()
            for record in self.log.records
            # An attempt that failed is a junk execution's own.
            if (record.exc_info and " failed with " not in record.getMessage())
            or record.levelno >= logging.CRITICAL
        ]
        assert not failed, failed


@pytest.fixture
async def survival(
    echo_app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Survival]:
    async with echo_app.client() as client:
        yield Survival(echo_app, client, caplog)


# --- Redis and MongoDB ---------------------------------------------------------------


@dataclass(frozen=True)
class Raw:
    """Both stores as a program has them that knows no promises."""

    redis: redis.Redis
    mongo: Database[dict[str, Any]]
    prefix: str

    def key(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    def push(self, *items: str | bytes) -> Self:
        self.redis.rpush(self.key("queue"), *items)
        return self

    def text(self, name: str, value: str | bytes = "x") -> Self:
        """Text where something else belongs."""
        self.redis.set(self.key(name), value)
        return self

    def hash(self, name: str, fields: dict[Any, Any]) -> Self:
        self.redis.hset(self.key(name), mapping=fields)
        return self

    def sent(self, id: str, **fields: Any) -> Self:
        """A hash of an execution, maybe half of one, and its id in the queue."""
        return self.hash(f"execution:{id}", {"id": id, **fields}).push(id)

    def insert(self, collection: str, **document: Any) -> Self:
        self.mongo[collection].insert_one(document)
        return self

    def document(self, key: Any, **changes: Any) -> Self:
        """A document like ours with some fields changed, and its id in the queue."""
        document = {
            "_id": key,
            "id": key,
            "queuePrefix": self.prefix,
            "eventName": "echo",
            "eventData": "1",
            "status": "queued",
            "attemptCount": 0,
            "createdAt": Int64(OLD),
            "updatedAt": Int64(OLD),
            "token": Int64(0),
            "recoveries": 0,
            "enqueuedAt": DatetimeMS(OLD),
            "dueAt": DatetimeMS(OLD),
        } | changes
        kept = {name: each for name, each in document.items() if each is not MISSING}
        return self.insert("executions", **kept).push(str(key))

    def step(self, execution_id: str, **changes: Any) -> Self:
        """A queued execution that ran before, with one step recorded as given."""
        document = {
            "_id": f"{execution_id}:s",
            "executionId": execution_id,
            "stepId": "s",
            "name": "one",
            "status": "completed",
            "result": 1,
            "timestamp": Int64(OLD),
        } | changes
        return self.insert("steps", **document).document(execution_id, token=Int64(3))


MISSING = object()


@pytest.fixture
def raw(where: dict[str, Any]) -> Iterator[Raw]:
    client: pymongo.MongoClient[dict[str, Any]]
    with (
        redis.Redis.from_url(where["redis_url"]) as cache,
        pymongo.MongoClient(where["mongo_url"]) as client,
    ):
        yield Raw(cache, client.get_default_database(), where["queue_prefix"])


REDIS_JUNK: dict[str, Callable[[Raw], object]] = {
    "id of nothing": lambda raw: raw.push("nothing"),
    "empty id": lambda raw: raw.push(""),
    "id with spaces": lambda raw: raw.push("two words"),
    "id with a line feed": lambda raw: raw.push("a\nb"),
    "id with a NUL": lambda raw: raw.push("a\x00b"),
    "long id": lambda raw: raw.push("x" * 100_000),
    "binary id": lambda raw: raw.push(b"\xff\xfe\x00"),
    "operator as id": lambda raw: raw.push('{"$ne": null}'),
    "one id many times": lambda raw: raw.push(*["again"] * 50),
    "much junk at once": lambda raw: raw.push(*[f"junk-{n}" for n in range(500)]),
    "hash with an id alone": lambda raw: raw.sent("h1"),
    "hash without data": lambda raw: raw.sent("h2", eventName="echo", status="queued"),
    "hash with data that is not JSON": lambda raw: raw.sent(
        "h3", eventName="echo", eventData="{", status="queued", createdAt="1"
    ),
    "hash of an unknown status": lambda raw: raw.sent(
        "h4", eventName="echo", eventData="1", status="dancing"
    ),
    "hash of something finished": lambda raw: raw.sent(
        "h5", eventName="echo", eventData="1", status="completed"
    ),
    "hash with another's id": lambda raw: raw.hash(
        "execution:h6", {"id": "other"}
    ).push("h6"),
    "hash with odd numbers": lambda raw: raw.sent(
        "h7",
        eventName="echo",
        eventData="1",
        status="queued",
        createdAt="yesterday",
        attemptCount="many",
        token="x",
    ),
    "binary hash": lambda raw: raw.sent("h8", eventName=b"\xff", eventData=b"\xfe"),
    "text instead of a hash": lambda raw: raw.text("execution:t1").push("t1"),
    "text instead of a hash of a document": lambda raw: raw.text(
        "execution:t2"
    ).document("t2"),
    "text instead of the steps": lambda raw: raw.text("steps:t3").document(
        "t3", token=MISSING
    ),
    "steps that are no JSON": lambda raw: raw.hash(
        "steps:t4", {"s": "{", b"\xff": b"\xff"}
    ).document("t4", token=MISSING),
    "junk in the delayed": lambda raw: raw.redis.zadd(
        raw.key("delayed"), {"not there": 1, "": 2, "x" * 5000: 3}
    ),
    "text instead of the delayed": lambda raw: raw.text("delayed"),
    "text instead of the queue": lambda raw: raw.text("queue"),
    "junk epoch": lambda raw: raw.text("epoch", b"\xff"),
    "junk on the control channel": lambda raw: [
        raw.redis.publish(raw.key("control"), junk)
        for junk in (b"\xff", "", "x" * 10_000, "{}")
    ],
    "junk in the inflight lists": lambda raw: [
        raw.redis.rpush(key, b"\xff", "", "stray")
        for key in raw.redis.keys(raw.key("inflight:*"))
    ],
}

MONGO_JUNK: dict[str, Callable[[Raw], object]] = {
    "document without anything": lambda raw: raw.insert("executions").push("d0"),
    "document with an id alone": lambda raw: raw.insert(
        "executions", _id="d1", id="d1", queuePrefix=raw.prefix
    ).push("d1"),
    "no event name": lambda raw: raw.document("d2", eventName=MISSING),
    "number as event name": lambda raw: raw.document("d3", eventName=5),
    "list as event name": lambda raw: raw.document("d4", eventName=["echo"]),
    "no data": lambda raw: raw.document("d5", eventData=MISSING),
    "number as data": lambda raw: raw.document("d6", eventData=5),
    "document as data": lambda raw: raw.document("d7", eventData={"a": 1}),
    "data that is not JSON": lambda raw: raw.document("d8", eventData="{"),
    "data of NaN": lambda raw: raw.document("d9", eventData="NaN"),
    "data too deep": lambda raw: raw.document("d10", eventData="[" * 5000),
    "data with too many digits": lambda raw: raw.document("d11", eventData="9" * 5000),
    "unknown status": lambda raw: raw.document("d12", status="dancing"),
    "status that is not text": lambda raw: raw.document("d13", status={"$ne": 1}),
    "processing without an owner": lambda raw: raw.document("d14", status="processing"),
    "owner that nobody is": lambda raw: raw.document("d15", owner="nobody"),
    "owner that is not text": lambda raw: raw.document("d16", owner=5),
    "text as token": lambda raw: raw.document("d17", token="x"),
    "float as token": lambda raw: raw.document("d18", token=1.5),
    "null as token": lambda raw: raw.document("d19", token=None),
    "text as attempts": lambda raw: raw.document("d20", attemptCount="three"),
    "negative recoveries": lambda raw: raw.document("d21", recoveries=-5),
    "text as recoveries": lambda raw: raw.document("d22", recoveries="x"),
    "text as times": lambda raw: raw.document(
        "d23", createdAt="yesterday", updatedAt="today"
    ),
    "times out of range": lambda raw: raw.document(
        "d24", createdAt=Int64(2**62), updatedAt=math.inf
    ),
    "text as due time": lambda raw: raw.document("d25", dueAt="soon", runAt="soon"),
    "number as due time": lambda raw: raw.document("d26", dueAt=1.5),
    "no due time": lambda raw: raw.document("d27", dueAt=MISSING, enqueuedAt=MISSING),
    "text as cancel flag": lambda raw: raw.document("d28", cancelRequested="yes"),
    "cancel flag": lambda raw: raw.document("d29", cancelRequested=True),
    "another id inside": lambda raw: raw.document("d30", id="other"),
    "ObjectId as id": lambda raw: raw.document(ObjectId()),
    "number as id": lambda raw: raw.document(7),
    "event of nobody": lambda raw: raw.document("d31", eventName="nobody's"),
    "result of NaN": lambda raw: raw.document(
        "d32", status="completed", result=math.nan
    ),
    "of another prefix": lambda raw: raw.document("d33", queuePrefix="other"),
    "of the original": lambda raw: raw.insert(
        "executions",
        id="ts-1",
        eventName="echo",
        eventData="1",
        status="queued",
        attemptCount=0,
        createdAt=OLD,
        updatedAt=OLD,
    ).push("ts-1"),
    "step without a result": lambda raw: raw.step("s1", result=None),
    "step of an unknown status": lambda raw: raw.step("s2", status="dancing"),
    "step with a number as id": lambda raw: raw.step("s3", stepId=5),
    "step of NaN": lambda raw: raw.step("s4", result=math.nan),
    "step of binary": lambda raw: raw.step("s5", result=b"\x00\xff"),
    "step with junk as JSON text": lambda raw: raw.step("s6", result="{", enc="json"),
    "step with odd times": lambda raw: raw.step("s7", timestamp="x", startedAt="y"),
    "worker without anything": lambda raw: raw.insert(
        "workers", _id="w1", queuePrefix=raw.prefix
    ),
    "worker with odd fields": lambda raw: raw.insert(
        "workers",
        _id="w2",
        queuePrefix=raw.prefix,
        expiresAt="never",
        functions="all",
        dead="no",
    ),
    "worker with a number as id": lambda raw: raw.insert(
        "workers", _id=5, queuePrefix=raw.prefix, dead=True
    ),
}

KEPT = ("of another prefix", "of the original")


@pytest.mark.redis_mongo
@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["redis_mongo"], indirect=True)
@pytest.mark.parametrize("table", [REDIS_JUNK, MONGO_JUNK], ids=["redis", "mongo"])
async def test_junk_in_redis_and_mongodb_harms_no_good_execution(
    table: dict[str, Callable[[Raw], object]],
    survival: Survival,
    raw: Raw,
    subtests: pytest.Subtests,
) -> None:
    app = survival.app
    async with app.worker(options=quick()):
        await survival.good_work_completes()
        for name, write in table.items():
            with subtests.test(name):
                write(raw)
                await survival.good_work_completes()
            for key in ("queue", "delayed", "epoch"):
                if raw.redis.type(raw.key(key)) == b"string":
                    raw.redis.delete(raw.key(key))
    with subtests.test("a worker that finds all of it when it starts"):
        async with app.worker(options=quick()):
            await survival.good_work_completes()
    with subtests.test("what is read"):
        await everything_can_be_read(
            app, [d["_id"] for d in raw.mongo.executions.find()]
        )


@pytest.mark.redis_mongo
@pytest.mark.parametrize("where", ["redis_mongo"], indirect=True)
async def test_documents_of_others_are_left_alone(survival: Survival, raw: Raw) -> None:
    for name in KEPT:
        MONGO_JUNK[name](raw)
    others = {"queuePrefix": {"$ne": raw.prefix}}
    before = list(raw.mongo.executions.find(others).sort("_id"))
    assert len(before) == len(KEPT)

    async with survival.app.worker(options=quick()):
        await survival.good_work_completes()

    assert list(raw.mongo.executions.find(others).sort("_id")) == before


# --- SQLite --------------------------------------------------------------------------


def insert(connection: sqlite3.Connection, id: Any, **changes: Any) -> None:
    """A queued row with some columns changed."""
    row = {
        "id": id,
        "queue_prefix": "worchflow",
        "event_name": "echo",
        "status": "queued",
        "token": 0,
        "due_at": OLD,
        "created_at": OLD,
        "updated_at": OLD,
        "nonce": "n",
        "event_data": "1",
    } | changes
    names = ", ".join(row)
    marks = ", ".join("?" * len(row))
    statement = f"INSERT INTO executions ({names}) VALUES ({marks})"  # noqa: S608
    connection.execute(statement, list(row.values()))


def insert_step(connection: sqlite3.Connection, id: str, **changes: Any) -> None:
    """A queued row that ran before, with one step recorded as given."""
    insert(connection, id, token=3)
    (number,) = connection.execute(
        "SELECT seq FROM executions WHERE id = ?", (id,)
    ).fetchone()
    row = {
        "execution": number,
        "step_id": "s",
        "title": "one",
        "status": "completed",
        "attempts": 1,
        "result": "1",
    } | changes
    names = ", ".join(row)
    marks = ", ".join("?" * len(row))
    statement = f"INSERT INTO steps ({names}) VALUES ({marks})"  # noqa: S608
    connection.execute(statement, list(row.values()))


ROWS: dict[str, dict[str, Any]] = {
    "unknown status": {"status": "dancing"},
    "status as a number": {"status": 5},
    "event of nobody": {"event_name": "nobody's"},
    "event name as bytes": {"event_name": b"echo"},
    "data that is not JSON": {"event_data": "{"},
    "data of NaN": {"event_data": "NaN"},
    "data too deep": {"event_data": "[" * 5000},
    "data with too many digits": {"event_data": "9" * 5000},
    "data as bytes": {"event_data": b"\xff\xfe"},
    "text that is not UTF-8": {"reason": b"\xff", "event_data": "1"},
    "owner that nobody is": {"owner": "nobody"},
    "owner as a number": {"owner": 5},
    "processing without an owner": {"status": "processing"},
    "text as token": {"token": "x"},
    "huge token": {"token": 2**63 - 1},
    "text as attempts": {"attempt_count": "three"},
    "negative recoveries": {"recoveries": -5},
    "text as recoveries": {"recoveries": "x"},
    "text as times": {"created_at": "yesterday", "updated_at": "today"},
    "times out of range": {"created_at": 2**62, "updated_at": -(2**62)},
    "text as due time": {"due_at": "soon"},
    "due time out of range": {"due_at": 2**62, "run_at": 2**62},
    "no due time": {"due_at": None},
    "text as hand-ons": {"event_name": "nobody's", "hand_ons": "x"},
    "cancel flag": {"cancel_requested": 1},
    "text as cancel flag": {"cancel_requested": "x"},
    "result that is not JSON": {"status": "completed", "due_at": None, "result": "{"},
    "error without a type": {"status": "failed", "error_message": "m"},
    "bytes as error": {
        "error_type": b"\xff",
        "error_message": b"",
        "error_traceback": 5,
    },
    "id that is none": {"id": "two words\n"},
    "id as bytes": {"id": b"\xff"},
    "empty prefix": {"queue_prefix": ""},
    "of another prefix": {"queue_prefix": "other"},
}

STEPS: dict[str, dict[str, Any]] = {
    "step of an unknown status": {"status": "dancing"},
    "step without a result": {"result": None},
    "step that is not JSON": {"result": "{"},
    "step as bytes": {"result": b"\xff"},
    "text as tries": {"attempts": "x"},
    "number as title": {"title": 5},
    "odd times": {"started_at": "x", "finished_at": 2**62},
}

STATEMENTS: dict[str, str] = {
    "worker with odd fields": """
        INSERT INTO workers VALUES
        ('w1', 'worchflow', 'all', 'x', 5, 'y', 'z', 5, 'never', 'no')""",
    "worker of bytes": """
        INSERT INTO workers VALUES
        (x'ff', 'worchflow', x'ff', 1, 'h', 1, 1, 'b', 0, 0)""",
    "worker of text that is not UTF-8": """
        INSERT INTO workers VALUES
        (CAST(x'61ff' AS TEXT), 'worchflow', '{}', 1, 'h', 1, 1, 'b', 0, 0)""",
    "worker whose id is a path": """
        INSERT INTO workers VALUES
        ('../../x', 'worchflow', '[]', 1, 'h', 1, 1, 'b', 0, 0)""",
    "counts that are wrong": """
        UPDATE status_counts SET executions = -5""",
    "counts of no status": """
        INSERT INTO status_counts VALUES ('worchflow', 'waltzing', 5)""",
    "functions of nobody": """
        INSERT INTO functions VALUES ('worchflow', 'f', 'e')""",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["sqlite"], indirect=True)
async def test_junk_in_the_database_file_harms_no_good_execution(
    survival: Survival, where: dict[str, Any], subtests: pytest.Subtests
) -> None:
    app, path = survival.app, where["sqlite"]
    async with app.worker(options=quick()):
        await survival.good_work_completes()
        for number, (name, changes) in enumerate(ROWS.items()):
            with subtests.test(name):
                with writing(path) as connection:
                    insert(connection, **{"id": f"r{number}", **changes})
                await survival.good_work_completes()
        for number, (name, changes) in enumerate(STEPS.items()):
            with subtests.test(name):
                with writing(path) as connection:
                    insert_step(connection, f"s{number}", **changes)
                await survival.good_work_completes()
        for name, statement in STATEMENTS.items():
            with subtests.test(name):
                with writing(path) as connection:
                    connection.execute(statement)
                await survival.good_work_completes()
    with subtests.test("a worker that finds all of it when it starts"):
        async with app.worker(options=quick()):
            await survival.good_work_completes()
    with subtests.test("what is read"):
        with writing(path) as connection:
            rows = connection.execute("SELECT id FROM executions").fetchall()
        await everything_can_be_read(app, [row[0] for row in rows])


@pytest.mark.parametrize("where", ["sqlite"], indirect=True)
async def test_workers_that_are_junk_are_in_nobodys_way(where: dict[str, Any]) -> None:
    backend = SQLiteBackend(where["sqlite"])
    await backend.open()
    try:
        worker = await joined(backend)
        with writing(where["sqlite"]) as connection:
            for name, statement in STATEMENTS.items():
                if name.startswith("worker"):
                    connection.execute(statement)

        seen = {each.id for each in await backend.workers.seen()}
        assert seen == {worker.id, "../../x"}  # which is dead, and no harm
        assert await backend.workers.reap(worker.id, expired=True) == 0
    finally:
        await backend.close()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else, who commits."""
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        with connection:
            yield connection


async def everything_can_be_read(app: Worchflow[Any], ids: list[Any]) -> None:
    """Every call answers or raises an error of the library; the listing continues."""
    async with app.client() as client:
        for each in ids:
            for read in (client.get, client.steps, client.retry, client.cancel):
                with contextlib.suppress(WorchflowError):
                    await read(each)
        await client.counts()
        cursor: str | None = None
        seen = 0
        while True:
            page = await client.list(cursor=cursor, limit=50)
            seen += len(page.items)
            cursor = page.cursor
            if cursor is None:
                break
        assert seen >= 20
        for status in ("queued", "failed", "completed"):
            await client.list(status=status)


async def test_a_result_that_is_no_json_is_an_error_for_its_reader_alone(
    echo_app: Worchflow[Any], where: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    async with echo_app.client() as client, echo_app.worker():
        handle = await client.send({"name": "echo", "data": 1}, id="broken")
        await handle.result(timeout=8)
        if "sqlite" in where:
            with writing(where["sqlite"]) as connection:
                connection.execute("UPDATE executions SET result = '{'")
        else:
            raw: Raw = request.getfixturevalue("raw")
            raw.mongo.executions.update_many(
                {}, {"$set": {"result": "{", "enc": "json"}}
            )

        with pytest.raises(WorchflowError, match="result of execution broken"):
            await handle.result(timeout=8)


async def test_data_that_is_no_json_fails_its_execution_with_the_reason(
    echo_app: Worchflow[Any], where: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    async with echo_app.client() as client:
        if "sqlite" in where:
            with writing(where["sqlite"]) as connection:
                insert(connection, "broken", event_data="{")
        else:
            raw: Raw = request.getfixturevalue("raw")
            raw.document("broken", eventData="{")
        async with echo_app.worker():
            with pytest.raises(ExecutionFailed, match="EventValidationError"):
                await client.handle("broken").result(timeout=8)
            assert await client.handle("broken").status() == "failed"
            with pytest.raises(SerializationError, match="execution broken holds"):
                await client.get("broken")
