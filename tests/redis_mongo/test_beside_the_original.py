"""With `ts_compat` each fleet takes over what the other one has left.

The original knows nothing of our stamps (token, owner, due time, nonce): what its
commands leave behind is judged by the status and the recorded steps.
"""

from __future__ import annotations

import pytest
import redis

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.redis_mongo.the_original import Original
from tests.stores import ERROR, claim_one, insert_one, joined, new_step
from worchflow.ids import step_id
from worchflow.settlement import RetryAt
from worchflow.storage.redis_mongo import RedisMongoBackend


@pytest.fixture
async def backend(open_backend: OpenBackend) -> RedisMongoBackend:
    return await open_backend(ts_compat=True)


@pytest.fixture
def original(raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str) -> Original:
    return Original(raw_redis, raw_mongo, prefix)


async def sent(backend: RedisMongoBackend, **fields: str) -> str:
    """Send as our client does, and wait until everybody can see it."""
    id_ = await insert_one(backend, **fields)
    assert await backend._open_parts.stores.lane.flush(5)
    return id_


# -- recorded steps


async def test_a_step_of_the_original_is_replayed_by_the_first_claim_of_what_we_sent(
    backend: RedisMongoBackend, original: Original
) -> None:
    id_ = await sent(backend)
    assert original.take() == id_
    original.step(id_, "charge", {"receipt": 1})
    original.fail(id_, retries=True)

    claim = await claim_one(backend, await joined(backend))

    assert claim.token == 1
    steps = {key: step.result for key, step in claim.steps.items()}
    assert steps == {step_id("charge"): '{"receipt":1}'}


async def test_steps_of_both_stay_in_redis_where_the_original_looks_for_them(
    backend: RedisMongoBackend, original: Original
) -> None:
    """Also after it has written anew what a wipe took."""
    id_ = await sent(backend)
    original.take()
    original.fail(id_, retries=True)
    original.redis.flushdb()
    original.recover()
    assert original.take() == id_
    original.step(id_, "charge", 1)
    original.fail(id_, retries=True)
    claim = await claim_one(backend, await joined(backend))
    ours = new_step(2, step_id=step_id("ship"), title="ship", result="2")
    await backend.checkpoint(claim, ours)
    await backend.settle(claim, RetryAt(error=ERROR, delay=0), None)
    assert await backend._open_parts.stores.lane.flush(5)

    original.recover()
    assert original.take() == id_

    assert original.step(id_, "charge", "again") == 1
    assert original.step(id_, "ship", "again") == 2


async def test_steps_of_an_earlier_execution_of_the_original_go_when_its_id_is_sent(
    backend: RedisMongoBackend, original: Original
) -> None:
    original.send("same")
    original.take()
    original.step("same", "charge", 1)
    original.mongo.executions.delete_many({})
    original.mongo.steps.delete_many({})

    await sent(backend, id="same")

    claim = await claim_one(backend, await joined(backend))
    assert claim.steps == {}
    assert original.redis.exists(f"{original.prefix}:steps:same") == 0
