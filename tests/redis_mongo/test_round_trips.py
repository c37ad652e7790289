"""Without faults and duplicates nothing makes more round trips than the design says."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import redis
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from tests.redis_mongo.commands import Commands
from tests.stores import ERROR, EVENT, claim_many, joined, new_execution, new_step
from worchflow import WorchflowClient
from worchflow.client import handle
from worchflow.model.notices import ExecutionCompleted
from worchflow.model.options import BackendOptions
from worchflow.model.records import Claim, ExecutionStatus
from worchflow.model.settlement import Completed, RetryAt
from worchflow.storage.redis_mongo.backend import RedisMongoBackend


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
async def backend(
    commands: Commands, redis_url: str, mongo_url: str, prefix: str
) -> Any:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        mongo_url, event_listeners=[commands]
    )
    cache = Redis.from_url(redis_url)
    backend = RedisMongoBackend(
        redis=cache,
        db=client.get_default_database(),
        options=BackendOptions(queue_prefix=prefix),
    )
    await backend.open()
    yield backend
    await backend.close()
    await cache.aclose()
    await client.close()


async def test_indexes_that_are_there_are_not_made_again(
    backend: RedisMongoBackend, commands: Commands
) -> None:
    """Making one may take minutes, so opening must not wait for it in vain."""
    made = commands.seen["createIndexes executions"]
    await backend.close()
    await backend.open()
    assert (made, commands.seen["createIndexes executions"]) == (1, 1)


async def test_a_result_that_is_waited_for_is_read_once(
    backend: RedisMongoBackend, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "FIRST_LOOK_SECONDS", 10.0)  # nothing here ends so late
    monkeypatch.setattr(handle, "FRESH_SECONDS", 10.0)
    worker = await joined(backend)
    commands.seen.clear()
    async with WorchflowClient[Any](backend=backend) as client:
        sent = await client.send({"name": EVENT, "data": None})
        waiting = asyncio.create_task(sent.result(timeout=10))
        (claim,) = await claim_many(backend, worker, 1)
        await backend.steps.checkpoint(claim, new_step())
        end = ExecutionCompleted(
            execution_id=sent.id,
            event_name=EVENT,
            attempt=1,
            status=ExecutionStatus.COMPLETED,
        )
        await backend.claims.settle(claim, Completed(result="1"), end)
        assert await waiting == 1

    assert commands.seen["find executions"] == 1


async def test_what_a_fail_over_may_take_back_is_not_read(
    backend: RedisMongoBackend, commands: Commands
) -> None:
    worker = await joined(backend)
    (inserted,) = await backend.executions.insert([new_execution()])
    (claim,) = await backend.claims.claim(worker, 1, 1.0)
    await backend.steps.checkpoint(claim, new_step())
    await backend.executions.get(inserted.id)
    await backend.steps.all(inserted.id)
    await backend.counting.by_status()
    await backend.workers.reap(worker.id, expired=True)
    await backend.sweeping.sweep(worker.id)

    # The names of indexes are read with the driver's own level.
    assert commands.read_levels["majority"] >= 5
    assert commands.read_levels.keys() == {"majority"}


async def flushed(backend: RedisMongoBackend, commands: Commands) -> Counter[str]:
    """Return what MongoDB was sent since the last time."""
    assert await backend._open_parts.stores.write_behind.flush(5)
    seen = commands.seen.copy()
    commands.seen.clear()
    return seen


def count_runs(backend: RedisMongoBackend, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Count the round trips of scripts, upkeep aside."""
    gateway = backend._open_parts.stores.redis
    runs: list[list[str]] = []
    run = gateway.run

    async def counted(calls: Any) -> Any:
        names = [call.script.name for call in calls]
        if names != ["promote"]:
            runs.append(names)
        return await run(calls)

    monkeypatch.setattr(gateway, "run", counted)
    return runs


async def test_a_road_of_one_execution(
    backend: RedisMongoBackend, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = count_runs(backend, monkeypatch)
    worker = await joined(backend)
    await flushed(backend, commands)

    await backend.executions.insert([new_execution()])
    assert await flushed(backend, commands) == {"insert executions": 1}
    assert runs == [["enqueue"]]

    runs.clear()
    (claim,) = await backend.claims.claim(worker, 1, 1.0)
    assert await flushed(backend, commands) == {"findAndModify executions": 1}
    assert runs == [["take"], ["mark"]]

    runs.clear()
    await backend.steps.checkpoint(claim, new_step())
    assert await flushed(backend, commands) == {"insert steps": 1}
    assert runs == [["step"]]

    runs.clear()
    await backend.claims.settle(claim, Completed(result="1"), None)
    assert await flushed(backend, commands) == {"update executions": 1}
    assert runs == [["release"]]


async def test_many_executions_share_them(
    backend: RedisMongoBackend, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = count_runs(backend, monkeypatch)
    worker = await joined(backend)
    await flushed(backend, commands)
    await backend.executions.insert([new_execution() for _ in range(40)])
    assert await flushed(backend, commands) == {"insert executions": 1}
    assert runs == [["enqueue"]]

    runs.clear()
    claims = await claim_many(backend, worker, 40, limit=40)
    assert await flushed(backend, commands) == {
        "update executions": 1,
        "find executions": 1,
    }
    assert runs == [["take"], ["mark"]]

    runs.clear()

    async def finish(claim: Claim) -> None:
        await backend.steps.checkpoint(claim, new_step())
        await backend.claims.settle(claim, Completed(result="1"), None)

    await asyncio.gather(*map(finish, claims))
    assert await flushed(backend, commands) == {
        "insert steps": 1,
        "update executions": 1,
    }
    assert len(runs) <= 2


async def test_recorded_steps_are_only_read_when_there_may_be_some(
    backend: RedisMongoBackend, commands: Commands
) -> None:
    worker = await joined(backend)
    await backend.executions.insert([new_execution()])
    (claim,) = await claim_many(backend, worker, 1)
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0), None)
    await flushed(backend, commands)
    await claim_many(backend, worker, 1)
    seen = await flushed(backend, commands)
    assert seen == {"find steps": 1, "findAndModify executions": 1}


async def test_redis_is_sent_no_other_commands(
    backend: RedisMongoBackend, raw_redis: redis.Redis, commands: Commands
) -> None:
    worker = await joined(backend)

    async def road() -> None:
        await backend.executions.insert([new_execution()])
        await flushed(backend, commands)
        (claim,) = await backend.claims.claim(worker, 1, 1.0)
        await backend.steps.checkpoint(claim, new_step())
        await backend.claims.settle(claim, Completed(result="1"), None)
        await flushed(backend, commands)

    await road()  # The first time Redis has to be told the scripts.
    raw_redis.config_resetstat()
    await road()
    stats = raw_redis.info("commandstats")
    assert isinstance(stats, dict)
    for name in ("hgetall", "lrange", "multi", "watch", "eval", "script|load"):
        assert f"cmdstat_{name}" not in stats
