"""Clients of every make: handed in and left alone, or made from URLs and closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pymongo
import pytest
import redis
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.servers import RedisServer
from tests.stores import (
    ERROR,
    claim_one,
    insert_one,
    joined,
    new_execution,
    new_step,
)
from tests.waiting import until
from worchflow.foundations.errors import (
    ConfigurationError,
    SchemaTooNew,
    StoreUnavailable,
)
from worchflow.model.options import BackendOptions
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed, RetryAt
from worchflow.storage.redis_mongo.backend import RedisMongoBackend


async def one_road(backend: RedisMongoBackend) -> None:
    """Send, run twice, replay and complete; every answer of Redis is used."""
    worker = await joined(backend)
    id_ = await insert_one(backend, event_data='"é"')
    async with backend.notices.watch(id_) as subscription:
        claim = await claim_one(backend, worker)
        backend.claims.announce(claim)
        assert await subscription.next(5) is not None
    step = new_step(1, result='"ü"')
    await backend.steps.checkpoint(claim, step)
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0.05), None)
    again = await claim_one(backend, worker)
    assert again.steps == {step.step_id: step}
    assert again.execution.event_data == '"é"'
    assert (await backend.claims.settle(again, Completed(result="1"), None)).applied
    assert (await asyncio.to_thread(backend.workers.renew, worker.id)).alive
    assert await backend._open_parts.stores.write_behind.flush(5)
    assert backend._open_parts.stores.write_behind.lost == 0
    await backend.workers.leave(worker.id)


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_given_clients_of_any_setting_work_and_stay_open(
    redis_url: str, mongo_url: str, prefix: str, decode_responses: bool, protocol: int
) -> None:
    cache = Redis.from_url(
        redis_url, decode_responses=decode_responses, protocol=protocol
    )
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    backend = RedisMongoBackend(
        redis=cache,
        db=client.get_default_database(),
        options=BackendOptions(queue_prefix=prefix),
    )
    await backend.open()
    await one_road(backend)
    await backend.close()
    assert await cache.ping()
    assert (await client.admin.command("ping"))["ok"] == 1
    await cache.aclose()
    await client.close()


async def test_defaults_of_a_given_database_are_not_inherited(
    redis_url: str, mongo_url: str, prefix: str, raw_mongo: Mongo
) -> None:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    careless: AsyncDatabase[dict[str, Any]] = (
        client.get_default_database().with_options(
            codec_options=CodecOptions(tz_aware=False),
            write_concern=WriteConcern(0),
            read_preference=ReadPreference.SECONDARY_PREFERRED,
        )
    )
    cache = Redis.from_url(redis_url)
    backend = RedisMongoBackend(
        redis=cache, db=careless, options=BackendOptions(queue_prefix=prefix)
    )
    await backend.open()
    await one_road(backend)
    id_ = await insert_one(backend)
    assert raw_mongo.executions.count_documents({"_id": id_}) == 1
    stored = await backend.executions.get(id_)
    assert stored is not None
    assert stored.created_at.tzinfo is not None
    await backend.close()
    await cache.aclose()
    await client.close()


async def test_leases_of_given_clients_use_the_given_sync_database(
    redis_url: str, mongo_url: str, prefix: str
) -> None:
    cache = Redis.from_url(redis_url)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as sync_client:
        backend = RedisMongoBackend(
            redis=cache,
            db=client.get_default_database(),
            lease_db=sync_client.get_default_database(),
            options=BackendOptions(queue_prefix=prefix),
        )
        await backend.open()
        worker = await joined(backend)
        # The event loop is blocked here, and the lease does not care.
        assert backend.workers.renew(worker.id).alive
        await backend.close()
        assert sync_client.admin.command("ping")["ok"] == 1
    await cache.aclose()
    await client.close()


async def test_given_clients_belong_to_their_loop(
    redis_url: str, mongo_url: str
) -> None:
    cache = Redis.from_url(redis_url)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    backend = RedisMongoBackend(redis=cache, db=client.get_default_database())
    with pytest.raises(ConfigurationError, match="event loop"):
        backend.clone()
    await cache.aclose()
    await client.close()


async def test_clients_made_from_urls_are_closed(
    open_backend: OpenBackend, raw_redis: redis.Redis, raw_mongo: Mongo
) -> None:
    def connections() -> set[str]:
        return {client["id"] for client in raw_redis.client_list()}

    def mongo_connections() -> int:
        status = raw_mongo.client.admin.command("serverStatus")
        return int(status["connections"]["current"])

    before, mongo_before = connections(), mongo_connections()
    backend = await open_backend()
    await one_road(backend)
    assert len(connections()) > len(before)
    await backend.close()
    await until(lambda: connections() <= before)
    await until(lambda: mongo_connections() <= mongo_before)


async def test_opening_and_closing_count(open_backend: OpenBackend) -> None:
    backend = await open_backend()
    await backend.open()
    await backend.close()
    await insert_one(backend)
    await backend.close()
    with pytest.raises(ConfigurationError, match="open"):
        await insert_one(backend)
    await backend.open()
    await insert_one(backend)


async def test_a_clone_works_on_another_loop(backend: RedisMongoBackend) -> None:
    id_ = await insert_one(backend)
    clone = backend.clone()

    async def look() -> bool:
        await clone.open()
        found = await clone.executions.get(id_)
        await clone.close()
        return found is not None

    assert await asyncio.to_thread(asyncio.run, look())


@pytest.mark.parametrize(
    ("redis_url", "mongo_url"),
    [
        ("http://user:secret@host", "mongodb://host/db"),
        ("redis://user:secret@host:port", "mongodb://host/db"),
        ("redis://host", "mongo://user:secret@host"),
        ("redis://host", "mongodb://user:sec/ret@host/db"),
        ("redis://host", "mongodb://"),
        ("redis://:sec/ret@host", "mongodb://host/db"),
        ("redis://:sec?ret@host/0", "mongodb://host/db"),
        ("redis://:sec ret/@host/0", "mongodb://host/db"),
        ("redis://host?password=sec&socket_timeout=ret", "mongodb://host/db"),
        ("redis://host", "mongodb://user:sec?ret@host/db"),
        ("redis://host", "mongodb://user:sec ?ret@host/db"),
    ],
)
def test_a_bad_url_is_told_without_its_password(redis_url: str, mongo_url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL") as caught:
        RedisMongoBackend.connect(redis_url, mongo_url)
    assert "sec" not in str(caught.value)
    assert "ret@" not in str(caught.value)


@pytest.mark.parametrize("number", ["shop", "1/2", "-1"])
def test_a_redis_database_that_is_no_number_is_refused(number: str) -> None:
    url = f"redis://:secret@host/{number}"
    with pytest.raises(ConfigurationError, match=rf"host/{number}.* not a number"):
        RedisMongoBackend.connect(url, "mongodb://host/db")


@pytest.mark.parametrize("other", ["{0}_" + "x" * 50, "{0}", "é" * 32])
async def test_a_database_name_that_mongodb_refuses_is_told(
    redis_url: str, mongo_url: str, raw_mongo: Mongo, other: str
) -> None:
    raw_mongo.meta.insert_one({})
    name = other.format(raw_mongo.name.upper())
    backend = RedisMongoBackend.connect(
        redis_url, mongo_url.replace(raw_mongo.name, name)
    )
    with pytest.raises(ConfigurationError, match=name):
        await backend.open()


def test_the_location_has_no_password_and_making_it_no_input_or_output() -> None:
    backend = RedisMongoBackend.connect(
        "redis://user:se cret@nowhere.invalid:1/2",
        "mongodb://user:secret@nowhere.invalid:2/?authSource=admin",
        BackendOptions(queue_prefix="shop"),
    )
    assert backend.location == (
        "redis://nowhere.invalid:1/2 + mongodb://nowhere.invalid:2/worchflow "
        "(prefix shop)"
    )


async def test_an_unreachable_mongodb_is_unavailable_and_its_password_untold(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "worchflow")
    backend = RedisMongoBackend.connect(
        redis_url,
        "mongodb://user:secret@127.0.0.1:9/db",
        BackendOptions(timeout=0.5),
    )
    with pytest.raises(StoreUnavailable) as caught:
        await backend.open()
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("option", "value"), [("single_connection_client", True), ("max_connections", 2)]
)
async def test_a_redis_client_that_cannot_wait_and_work_is_refused(
    redis_url: str, mongo_url: str, option: str, value: object
) -> None:
    options: dict[str, Any] = {option: value}
    cache = Redis.from_url(redis_url, **options)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    with pytest.raises(ConfigurationError, match=option):
        RedisMongoBackend(redis=cache, db=client.get_default_database())
    await cache.aclose()
    await client.close()


async def test_a_client_with_a_short_timeout_waits_in_short_turns(
    redis_url: str, mongo_url: str, prefix: str
) -> None:
    impatient = Retry(NoBackoff(), 0)
    cache = Redis.from_url(redis_url, socket_timeout=1.0, retry=impatient)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    backend = RedisMongoBackend(
        redis=cache,
        db=client.get_default_database(),
        options=BackendOptions(queue_prefix=prefix),
    )
    await backend.open()
    worker = await joined(backend)
    assert list(await backend.claims.claim(worker, 1, 1.5)) == []
    assert not backend.claims.claimer(worker)._redis_is_down
    await backend.close()
    await cache.aclose()
    await client.close()


async def test_redis_is_reached_over_a_unix_socket(
    open_backend: OpenBackend, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis(args=("--unixsocket", "redis.sock"))
    backend = await open_backend(f"unix://{server.folder}/redis.sock?db=1")
    await one_road(backend)
    # With nothing to do, the client that waits for work is used as well.
    worker = await joined(backend)
    assert list(await backend.claims.claim(worker, 1, 0.05)) == []
    assert not backend.claims.claimer(worker)._redis_is_down
    with redis.Redis.from_url(server.url) as over_tcp:
        users = over_tcp.client_list()
    assert {user["db"] for user in users if "redis.sock" in user["addr"]} == {"1"}


@pytest.fixture
def cluster_url(start_redis: Callable[..., RedisServer]) -> str:
    """A cluster of one node that has all slots."""
    server = start_redis(args=("--cluster-enabled", "yes"))
    with redis.Redis.from_url(server.url) as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in node.execute_command("CLUSTER", "INFO"):
            pass
    return f"redis://127.0.0.1:{server.port}"


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_a_cluster_works_when_the_prefix_has_a_hash_tag(
    cluster_url: str, mongo_url: str, decode_responses: bool
) -> None:
    cluster = RedisCluster.from_url(cluster_url, decode_responses=decode_responses)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    backend = RedisMongoBackend(
        redis=cluster,
        db=client.get_default_database(),
        options=BackendOptions(queue_prefix="{shop}"),
    )
    await backend.open()
    await one_road(backend)
    await backend.close()
    await cluster.aclose()
    await client.close()


async def test_a_cluster_without_a_hash_tag_is_refused_with_the_remedy(
    cluster_url: str, mongo_url: str
) -> None:
    cluster = RedisCluster.from_url(cluster_url)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    backend = RedisMongoBackend(
        redis=cluster,
        db=client.get_default_database(),
        options=BackendOptions(queue_prefix="shop"),
    )
    with pytest.raises(ConfigurationError, match=r'queue_prefix="\{shop\}"'):
        await backend.open()
    await cluster.aclose()
    await client.close()


async def test_ids_are_unique_per_database_whatever_the_prefix(
    open_backend: OpenBackend,
) -> None:
    ours, theirs = await open_backend(), await open_backend(queue_prefix="theirs")
    id_ = await insert_one(theirs)
    fresh = new_execution()
    outcomes = await ours.executions.insert([fresh, new_execution(id_)])
    assert [outcome.is_foreign for outcome in outcomes] == [False, True]
    assert await ours.executions.get(id_) is None
    assert await ours.executions.get(fresh.id) is not None


async def test_a_newer_schema_is_left_alone(
    open_backend: OpenBackend, raw_mongo: Mongo
) -> None:
    raw_mongo.worchflow_meta.insert_one({"_id": "schema", "version": 99})  # type: ignore[dict-item]
    with pytest.raises(SchemaTooNew, match="99"):
        await open_backend()
    assert raw_mongo.executions.count_documents({}) == 0


async def test_only_the_indexes_that_queries_need_are_made(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    await one_road(backend)
    assert set(raw_mongo.executions.index_information()) == {
        "_id_",
        "worchflow_owner",
        "worchflow_by_event",
        "worchflow_by_parent",
        "worchflow_by_tag",
        "worchflow_ended",
        "worchflow_follow_ups",
        "worchflow_due_by_event",
        "worchflow_listing",
        "worchflow_quarantined",
    }
    assert set(raw_mongo.steps.index_information()) == {"_id_"}


async def test_counts_are_kept_and_refreshed(
    backend: RedisMongoBackend, raw_mongo: Mongo
) -> None:
    await insert_one(backend)
    assert (await backend.counting.by_status())[ExecutionStatus.QUEUED] == 1
    raw_mongo.executions.insert_one(
        {
            "_id": "other",  # type: ignore[dict-item]
            "queuePrefix": backend.options.queue_prefix,
            "status": "queued",
        }
    )
    assert (await backend.counting.by_status())[ExecutionStatus.QUEUED] == 1
    raw_mongo.worchflow_meta.update_many(
        {"counts": {"$exists": True}}, [{"$set": {"at": {"$subtract": ["$at", 2001]}}}]
    )
    assert (await backend.counting.by_status())[ExecutionStatus.QUEUED] == 2
