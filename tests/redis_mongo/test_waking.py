"""Who waits for work is woken for what others found in the queue, by no timer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from tests.redis_mongo.commands import Commands
from tests.stores import claim_one, insert_one, joined
from tests.waiting import until
from worchflow.model.records import Claim
from worchflow.storage.redis_mongo import connections, notices, taking
from worchflow.storage.redis_mongo.backend import RedisMongoBackend

LONG = 120.0
"""Seconds that a wait lasts which somebody has to end."""
WOKEN = 60.0
"""Seconds in which whoever is woken has returned, however busy the machine is."""


@pytest.fixture(autouse=True)
def nobody_looks_by_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pop would soon end, and its worker look whether it missed something."""
    monkeypatch.setattr(connections, "MAX_BLOCK_SECONDS", LONG)
    monkeypatch.setattr(taking, "MAX_BLOCK_SECONDS", LONG)


async def blocked(
    raw_redis: redis.Redis, claim: Any, before: int = 0
) -> asyncio.Task[list[Claim]]:
    """A claim that waits in Redis, behind others that do."""
    task = asyncio.ensure_future(claim)
    await until(lambda: waiting_clients(raw_redis) == before + 1)
    return task


async def heard_by(raw_redis: redis.Redis, prefix: str, count: int) -> None:
    """Wait until so many backends listen for notices."""
    channel = f"{prefix}:control"
    await until(lambda: raw_redis.pubsub_numsub(channel)[0][1] == count)


def waiting_clients(raw_redis: redis.Redis) -> int:
    info: Any = raw_redis.info("clients")
    return int(info["blocked_clients"])


async def test_what_a_waiting_worker_pops_for_others_reaches_them_at_once(
    backend: RedisMongoBackend,
    counted: tuple[RedisMongoBackend, Commands],
    raw_redis: redis.Redis,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, commands = counted
    other, worker = await joined(own, "a"), await joined(backend, "b")
    await heard_by(raw_redis, prefix, 2)
    before = waiting_clients(raw_redis)
    wrong = await blocked(raw_redis, own.claims.claim(other, 1, LONG), before)
    right = await blocked(raw_redis, backend.claims.claim(worker, 1, LONG), before + 1)
    commands.seen.clear()

    id_ = await insert_one(backend, event="b")

    async with asyncio.timeout(WOKEN):
        (claim,) = await right
    assert claim.execution.id == id_
    assert not commands.seen
    assert not wrong.done()
    wanted = await insert_one(backend, event="a")
    async with asyncio.timeout(WOKEN):
        (claim,) = await wrong
    assert claim.execution.id == wanted


async def test_who_may_have_missed_a_hint_looks_again(
    backend: RedisMongoBackend,
    raw_redis: redis.Redis,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notices, "READY", "no message begins so")
    other, worker = await joined(backend, "a"), await joined(backend, "b")
    await heard_by(raw_redis, prefix, 1)
    before = waiting_clients(raw_redis)
    wrong = await blocked(raw_redis, backend.claims.claim(other, 1, LONG), before)
    right = await blocked(raw_redis, backend.claims.claim(worker, 1, LONG), before + 1)
    id_ = await insert_one(backend, event="b")
    await until(lambda: raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == [id_])
    assert not right.done()

    raw_redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    async with asyncio.timeout(WOKEN):
        (claim,) = await right
    assert claim.execution.id == id_
    wrong.cancel()


async def test_an_id_popped_when_the_slots_may_be_full_is_put_back(
    backend: RedisMongoBackend,
    raw_redis: redis.Redis,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, worker = await joined(backend, "a"), await joined(backend, "b")
    await heard_by(raw_redis, prefix, 1)
    before = waiting_clients(raw_redis)
    wrong = await blocked(raw_redis, backend.claims.claim(other, 1, LONG), before)
    right = await blocked(raw_redis, backend.claims.claim(worker, 1, LONG), before + 1)
    first = await insert_one(backend, event="b")
    async with asyncio.timeout(WOKEN):
        (claim,) = await right
    assert claim.execution.id == first
    # Both still wait for the queue: who got something by a hint is the first to.
    await until(lambda: waiting_clients(raw_redis) == before + 2)

    late = await insert_one(backend, event="b")

    await until(lambda: raw_redis.lrange(f"{prefix}:ready:b", 0, -1) == [late])
    assert await backend._open_parts.stores.write_behind.flush(10)
    assert raw_redis.lrange(f"{prefix}:inflight:{worker.id}", 0, -1) == [first]
    assert (await claim_one(backend, worker)).execution.id == late
    wrong.cancel()
