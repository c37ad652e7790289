"""What the simulation has found, each by itself."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from tests.simulation.drivers import Directly, backend_on
from tests.simulation.mongo_server import MongoServer
from tests.simulation.mongo_values import Document
from tests.simulation.redis_server import RedisServer
from tests.stores import claimed, joined
from tests.waiting import until
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.options import BackendOptions


class Cut(Directly):
    """MongoDB can be cut off."""

    is_cut = False

    async def mongo(self, command: Document, timeout: float) -> Document:
        if self.is_cut:
            await asyncio.sleep(0.01)
            raise AutoReconnect("connection refused")
        return await super().mongo(command, timeout)


async def test_a_round_that_fails_after_its_caller_left_is_not_reported() -> None:
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    mongo = MongoServer(lambda: datetime.now(UTC).replace(tzinfo=None))
    redis = RedisServer(lambda: 0.0)
    transport = Cut(mongo, redis)
    backend = backend_on(transport, BackendOptions(queue_prefix="p", timeout=0.2))
    await backend.open()
    worker = await joined(backend)
    claimers = backend._open_parts.claims.claimers

    claim = asyncio.ensure_future(backend.claims.claim(worker, 1, 5.0))
    await until(lambda: claimers[worker.id]._round is not None)
    transport.is_cut = True
    claim.cancel()
    redis.run([b"RPUSH", b"p:queue", b"an id"])

    def round_is_over() -> bool:
        task = claimers[worker.id]._round
        return task is None or task.done()

    await until(round_is_over)
    transport.is_cut = False
    # As a renewal does that finds the worker dead.
    claimers.clear()
    del claim
    gc.collect()
    await backend.close()

    assert reported == []


async def test_an_announcement_that_fails_after_its_caller_left_is_not_reported() -> (
    None
):
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    mongo = MongoServer(lambda: datetime.now(UTC).replace(tzinfo=None))
    transport = Cut(mongo, RedisServer(lambda: 0.0))
    backend = backend_on(transport, BackendOptions(queue_prefix="p", timeout=0.2))
    await backend.open()
    claim = await claimed(backend, id="parent")

    transport.is_cut = True
    # As an arm of a race that has lost.
    announcing = asyncio.ensure_future(backend.children.announce(claim))
    await asyncio.sleep(0)
    announcing.cancel()
    made = backend._open_parts.children._announced._made
    await until(lambda: all(task is None or task.done() for task in made.values()))
    made.clear()
    del announcing
    await asyncio.sleep(0)
    transport.is_cut = False
    gc.collect()
    await backend.close()

    assert reported == []


async def test_what_was_not_answered_is_announced_again() -> None:
    mongo = MongoServer(lambda: datetime.now(UTC).replace(tzinfo=None))
    transport = Cut(mongo, RedisServer(lambda: 0.0))
    backend = backend_on(transport, BackendOptions(queue_prefix="p", timeout=0.2))
    await backend.open()
    claim = await claimed(backend, id="parent")

    transport.is_cut = True
    with pytest.raises(StoreUnavailable):
        await backend.children.announce(claim)
    transport.is_cut = False
    assert await backend.children.announce(claim)
    stored = mongo.collection("executions").latest["parent"]
    await backend.close()

    assert stored["hasChildren"] is True
