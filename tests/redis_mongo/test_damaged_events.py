"""Damaged events and waits are in nobody's way: others are found, told and removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.redis_mongo.conftest import Mongo
from tests.stores import claimed, expect
from worchflow.model.events import NewEvent
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import AwaitedEvent, NewWait
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

EARLY = datetime(2020, 1, 1, tzinfo=UTC)


async def test_damaged_documents_are_in_nobodys_way(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    prefix = backend.options.queue_prefix
    own: dict[str, Any] = {"queuePrefix": prefix, "eventName": "news", "eventKey": "k"}
    same: dict[str, Any] = {"queuePrefix": prefix, "name": "news", "key": "k"}
    first = EARLY + timedelta(days=1)
    for number, damaged in enumerate(
        (
            same | {"at": first},
            same | {"at": first, "id": 5, "data": "1"},
            same | {"at": first, "id": "no-data"},
            {"queuePrefix": prefix, "at": first, "id": "no-name", "data": "1"},
            {"queuePrefix": prefix, "at": first, "name": 7, "key": [1], "id": "odd"},
        )
    ):
        raw_mongo.events.insert_one(damaged | {"_id": f"damaged {number}"})
    raw_mongo.waits.insert_many(
        [
            own | {"_id": "damaged 1"},
            own | {"_id": "damaged 2", "executionId": 5, "since": "soon"},
        ]
    )
    claim = await claimed(backend)
    wait = NewWait(
        step_id=f"{1:032x}",
        kind=StepKind.WAIT,
        title="wait",
        event=AwaitedEvent(name="news", key="k", since=EARLY),
    )
    (stored,) = await backend.waits.add(claim, [wait])

    event = await backend.events.append(
        NewEvent(id="good", name="news", key="k", data="1")
    )
    assert await backend.events.deliver(event) is None

    await expect(backend, claim.execution.id, wakeups=1)
    look = await backend.events.find(claim, stored, ())
    assert look.event == event
    raw_mongo.takenEvents.insert_one({"_id": f"{claim.execution.nonce} good"})
    assert not await backend.events.take(claim, stored.step_id, "good")
    for _ in range(3):
        await backend.events.prune(3600, 10)
    left = {each["_id"] for each in raw_mongo.events.find()}
    # Whatever has the key of an open wait stays; what nobody can wait for goes.
    assert left == {f"{prefix} good", "damaged 0", "damaged 1", "damaged 2"}
