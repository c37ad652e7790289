"""Children in MongoDB: many that end in one moment, and one that cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.redis_mongo.conftest import Mongo
from tests.stores import claim_many, claimed, insert, joined, new_execution, settle
from worchflow.model.records import Claim, ExecutionStatus, NewExecution, Parent
from worchflow.model.settlement import Completed, Suspended
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import NewWait
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

S = ExecutionStatus
DAY = 24 * 3600.0
COUNT = 25
WAIT = NewWait(step_id="1" * 32, kind=StepKind.SLEEP, title="Long", timeout=DAY)


def child_of(claim: Claim) -> NewExecution:
    own = claim.execution
    parent = Parent(own.id, own.nonce, "1" * 32, claim.token)
    return new_execution(event="child", parent=parent, depth=1)


async def with_children(backend: RedisMongoBackend) -> tuple[Claim, list[str]]:
    claim = await claimed(backend)
    assert await backend.children.announce(claim)
    return claim, await insert(backend, *(child_of(claim) for _ in range(COUNT)))


async def test_retention_looks_behind_children_that_ended_in_one_moment(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    """Their parent lives, and there are more of them than a page holds."""
    _, children = await with_children(backend)
    (other,) = await insert(backend, new_execution())
    for id_ in (*children, other):
        await backend.executions.cancel(id_, None)
    long_ago = datetime.now(UTC) - timedelta(days=365)
    later = long_ago + timedelta(hours=1)
    ended: Any = raw_mongo.executions.update_many
    ended({"_id": {"$in": children}}, {"$set": {"finishedAt": long_ago}})
    ended({"_id": other}, {"$set": {"finishedAt": later}})

    assert await backend.retention.prune(S.CANCELLED, DAY, 10) == 1

    assert await backend.executions.get(other) is None
    assert len(await backend.children.find(children)) == COUNT
    assert await backend.retention.prune(S.CANCELLED, DAY, 10) == 0


async def test_what_children_have_waited_for_goes_with_them(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    claim, children = await with_children(backend)
    worker = await joined(backend, "child")
    for each in await claim_many(backend, worker, COUNT):
        await backend.waits.add(each, [WAIT])
        await settle(backend, each, Suspended(status=S.SLEEPING, wakeups=0))

    await settle(backend, claim, Completed(result="1"))

    stored = list(raw_mongo.executions.find({"_id": {"$in": children}}))
    assert {each["status"] for each in stored} == {"cancelled"}
    assert [each["_id"] for each in stored if "followUps" in each] == []
    assert raw_mongo.waits.count_documents({}) == 0


async def test_a_child_that_cannot_be_read_hides_no_other(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    _, children = await with_children(backend)
    odd, *others = children
    raw_mongo.executions.update_one({"_id": odd}, {"$set": {"status": "odd"}})

    assert sorted(await backend.children.find(children)) == sorted(others)
