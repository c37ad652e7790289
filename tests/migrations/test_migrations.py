"""Databases of earlier releases are brought up to date, and their work continues."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pymongo
import pytest

from tests.migrations.conftest import DATABASES
from tests.migrations.orders import PREFIX, app_on
from tests.waiting import until
from worchflow import SchemaTooNew, SchemaTooOld
from worchflow.model.options import BackendOptions
from worchflow.storage.choice import open_backend
from worchflow.storage.redis_mongo.indexes import INDEXES
from worchflow.storage.redis_mongo.mongo_gateway import MongoGateway
from worchflow.storage.redis_mongo.schema import SCHEMA
from worchflow.storage.sqlite import migrations
from worchflow.storage.sqlite.backend import SQLiteBackend

Where = dict[str, Any]

ON_SQLITE = [name for name in DATABASES if name.startswith("sqlite")]
ON_SERVERS = [name for name in DATABASES if name not in ON_SQLITE]

LEASE_TTL = 1.0
"""Seconds until a dead worker's executions are taken over on MongoDB."""


def backend_on(where: Where) -> Any:
    options = BackendOptions(queue_prefix=PREFIX, lease_ttl=LEASE_TTL)
    if "sqlite" in where:
        return SQLiteBackend(where["sqlite"], options)
    return open_backend(where["redis_url"], where["mongo_url"], options=options)


async def test_what_an_earlier_release_has_left_is_completed(where: Where) -> None:
    calls: list[str] = []
    app = app_on({"backend": backend_on(where)}, calls, obey=False)
    expected = {
        "completed-1": "completed",
        "failed-1": "failed",
        "retrying-1": "completed",
        "processing-1": "completed",
        "flagged-1": "cancelled",
        "queued-1": "completed",
        "delayed-1": "completed",
        "cancelled-1": "cancelled",
    }
    async with app.worker(), app.client() as client:

        async def statuses() -> dict[str, str]:
            items = (await client.list()).items
            return {each.id: each.status.value for each in items}

        await until(lambda: _are(statuses, expected))
        for name in ("completed-1", "retrying-1", "processing-1", "queued-1"):
            assert (await client.get(name)).result == {"shelf": 7, "paid": 12.5}
        failed = await client.get("failed-1")
        assert failed.error is not None
        assert failed.error.type == "NonRetryable"
        # The first schemas have no records of attempts.
        assert [each.outcome for each in failed.attempts] in ([], ["failed"])
        attempt = (await client.get("retrying-1")).attempts[-1]
        assert (attempt.number, attempt.outcome) == (2, "completed")

    # What was recorded before is not run again.
    assert sorted(calls) == [
        *("delayed-1 Charge", "delayed-1 Reserve", "processing-1 Charge"),
        *("queued-1 Charge", "queued-1 Reserve", "retrying-1 Charge"),
    ]


async def _are(read: Any, expected: dict[str, str]) -> bool:
    return bool(await read() == expected)


async def test_a_client_leaves_an_earlier_schema_alone(
    where: Where, content: Callable[[], str]
) -> None:
    before = content()
    with pytest.raises(SchemaTooOld, match="worchflow migrate"):
        await app_on(where).client().open()

    assert content() == before


async def test_a_worker_in_a_web_process_migrates_before_its_client_opens(
    where: Where,
) -> None:
    app = app_on(where, obey=False)
    async with app.lifespan(concurrency=1)(None) as state:
        found = await state["worchflow"].get("completed-1")

    assert found.status == "completed"


async def test_a_migrated_store_has_what_is_new(where: Where) -> None:
    backend = backend_on(where)
    with pytest.raises(SchemaTooOld):
        await backend.open()
    await backend.open(migrate=True)
    await backend.close()

    async with app_on(where).client() as client:
        message = {"name": "order", "data": {"do": "complete"}}
        await client.send(message, id="new-1", headers={"a": "b"}, tags=["blue"])
        (found,) = (await client.list(tag="blue")).items

    assert (found.id, found.headers, found.tags) == ("new-1", {"a": "b"}, ("blue",))


async def test_migrating_twice_changes_nothing(
    where: Where, content: Callable[[], str]
) -> None:
    for _ in range(2):
        backend = backend_on(where)
        await backend.open(migrate=True)
        await backend.close()
        before = content()

    backend = backend_on(where)
    await backend.open(migrate=True)
    await backend.close()
    assert content() == before


@pytest.mark.parametrize("is_compatible", [False, True])
async def test_a_later_schema_is_refused_unless_it_says_that_this_release_can_use_it(
    where: Where, content: Callable[[], str], is_compatible: bool
) -> None:
    backend = backend_on(where)
    await backend.open(migrate=True)
    await backend.close()
    claim_to_be_later(where, compatible_from=1 if is_compatible else 99)
    before = content()

    for migrate in (False, True):
        backend = backend_on(where)
        if is_compatible:
            await backend.open(migrate=migrate)
            await backend.close()
        else:
            with pytest.raises(SchemaTooNew, match="99"):
                await backend.open(migrate=migrate)

    assert content() == before


def claim_to_be_later(where: Where, compatible_from: int) -> None:
    if "sqlite" in where:
        with contextlib.closing(sqlite3.connect(where["sqlite"])) as connection:
            connection.execute(
                "INSERT INTO schema_changes VALUES (99, ?, 0)", (compatible_from,)
            )
            connection.commit()
            connection.execute("PRAGMA user_version=99")
        return
    with pymongo.MongoClient[dict[str, Any]](where["mongo_url"]) as client:
        mark = {"version": 99, "compatibleFrom": compatible_from}
        meta = client.get_default_database()["worchflow_meta"]
        meta.update_one({"_id": "schema"}, {"$set": mark})


@pytest.mark.parametrize("where", ON_SQLITE, indirect=True)
async def test_a_migration_that_breaks_changes_nothing(
    where: Where, content: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    *before, last = migrations.migrations()
    broken = replace(last, script=f"{last.script}\nINSERT INTO nowhere VALUES (1);\n")
    monkeypatch.setattr(migrations, "migrations", lambda: [*before, broken])
    content_before = content()

    with pytest.raises(Exception, match="nowhere"):
        await backend_on(where).open(migrate=True)

    assert content() == content_before


@pytest.mark.parametrize("where", ON_SERVERS, indirect=True)
async def test_a_migration_whose_process_dies_between_two_writes_is_completed(
    where: Where, content: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind: list[int] = []
    (first,) = (
        each["version"]
        for each in json.loads(content())["worchflow_meta"][0]
        if each["_id"] == "schema"
    )
    while SCHEMA not in left_behind:
        with monkeypatch.context() as patch:
            let_pass(len(left_behind), patch)
            with pytest.raises(ProcessDied):
                await backend_on(where).open(migrate=True)
        stored = json.loads(content())
        (mark,) = (e for e in stored["worchflow_meta"][0] if e["_id"] == "schema")
        if mark["version"] == SCHEMA:
            assert {each["name"] for each in INDEXES} <= set(stored["executions"][1])
        else:
            with pytest.raises(SchemaTooOld):
                await backend_on(where).open()
        left_behind.append(mark["version"])

    # Nothing, the indexes of one collection after the other if some are new, the mark.
    assert set(left_behind[:-1]) == {first}
    backend = backend_on(where)
    await backend.open()
    await backend.close()


class ProcessDied(BaseException):
    """Nothing of the process runs after this."""


def let_pass(writes: int, patch: pytest.MonkeyPatch) -> None:
    """Die instead of the first write to MongoDB after so many."""
    left = writes

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        async def written(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if not left:
                raise ProcessDied
            outcome = await write(*args, **kwargs)
            # A mark that is refused, since there is one, has changed nothing.
            left -= not getattr(outcome, "refused", ())
            return outcome

        return written

    for name in ("insert", "update", "make_indexes"):
        patch.setattr(MongoGateway, name, dying(getattr(MongoGateway, name)))
