"""What Redis or MongoDB will refuse later is told when a backend opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest
import redis

from tests.servers import MongoServer, RedisServer
from worchflow.foundations.errors import ConfigurationError, StoreUnavailable
from worchflow.model.options import BackendOptions
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.redis_gateway import RedisGateway

OPTIONS = BackendOptions(queue_prefix="shop", timeout=5)
COMMANDS = [
    *("eval", "get", "set", "blmove", "lrange", "hgetall", "hget", "hmget", "hset"),
    *("hsetnx", "hdel", "rpush", "lpush", "lpop", "rpop", "lrem", "llen", "zadd"),
    *("zcard", "zrem", "zrange", "zrangebyscore", "persist", "pexpire", "unlink"),
    *("publish", "subscribe"),
]


async def refusal(redis_url: str, mongo_url: str) -> str:
    backend = RedisMongoBackend.connect(redis_url, mongo_url, OPTIONS)
    with pytest.raises(ConfigurationError) as refused:
        await backend.open()
    return refused.value.message


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis()


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as admin:
        yield admin


def user(server: RedisServer, admin: redis.Redis, rights: str) -> str:
    admin.execute_command(*f"ACL SETUSER shop reset on >secret {rights}".split())
    return f"redis://shop:secret@127.0.0.1:{server.port}/0"


async def test_each_command_that_a_user_may_not_run_is_named(
    server: RedisServer, admin: redis.Redis, mongo_url: str
) -> None:
    for command in COMMANDS:
        url = user(server, admin, f"~shop:* &shop:* +@all -{command}")
        message = (await refusal(url, mongo_url)).lower()
        assert command in message, message
        assert "access rights" in message
        assert "secret" not in message


async def test_an_old_server_is_told_as_such_and_not_as_one_that_lacks_rights(
    server: RedisServer,
    admin: redis.Redis,
    mongo_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = RedisGateway.info

    async def of_an_old_one(gateway: RedisGateway, section: str) -> dict[str, Any]:
        return await info(gateway, section) | {"redis_version": "6.0.16"}

    monkeypatch.setattr(RedisGateway, "info", of_an_old_one)
    url = user(server, admin, "~shop:* &shop:* +@all -blmove")

    assert "Redis 6.0.16 is too old" in await refusal(url, mongo_url)


async def test_keys_and_channels_out_of_reach_are_named(
    server: RedisServer, admin: redis.Redis, mongo_url: str
) -> None:
    url = user(server, admin, "~other:* &shop:* +@all")
    assert "keys" in await refusal(url, mongo_url)

    url = user(server, admin, "~shop:* resetchannels +@all")
    assert "channel" in await refusal(url, mongo_url)


async def test_what_is_allowed_leaves_nothing_behind(
    server: RedisServer, admin: redis.Redis, mongo_url: str
) -> None:
    url = user(server, admin, "~shop:* &shop:* +@all -info")
    backend = RedisMongoBackend.connect(url, mongo_url, OPTIONS)
    await backend.open()
    await backend.close()

    assert admin.keys("*probe*") == []


async def test_a_full_redis_is_no_reason_not_to_open(
    server: RedisServer, admin: redis.Redis, mongo_url: str
) -> None:
    admin.config_set("maxmemory", "1")
    backend = RedisMongoBackend.connect(server.url, mongo_url, OPTIONS)

    await backend.open()
    await backend.close()


async def test_a_database_that_does_not_exist_is_told(
    server: RedisServer, mongo_url: str
) -> None:
    url = f"redis://127.0.0.1:{server.port}/99"

    assert "the number behind the last /" in await refusal(url, mongo_url)


async def test_a_password_that_is_wrong_or_missing_is_told(
    server: RedisServer, admin: redis.Redis, mongo_url: str
) -> None:
    admin.config_set("requirepass", "right")
    for given in ("", ":wrong@", "nobody:wrong@"):
        url = f"redis://{given}127.0.0.1:{server.port}/0"
        message = await refusal(url, mongo_url)
        assert "refuses the user or the password" in message
        assert "wrong" not in message


async def test_a_node_of_a_cluster_is_told(
    start_redis: Callable[..., RedisServer], mongo_url: str
) -> None:
    node = start_redis(args=("--cluster-enabled", "yes"))

    assert "RedisCluster.from_url" in await refusal(node.url, mongo_url)


@pytest.mark.parametrize("most", [1, 3])
def test_too_few_connections_in_a_url_are_refused(
    redis_url: str, mongo_url: str, most: int
) -> None:
    with pytest.raises(ConfigurationError, match=f"max_connections={most}"):
        RedisMongoBackend.connect(f"{redis_url}?max_connections={most}", mongo_url)
    RedisMongoBackend.connect(f"{redis_url}?max_connections=4", mongo_url)


async def test_a_redis_that_is_away_is_unavailable(mongo_url: str) -> None:
    backend = RedisMongoBackend.connect("redis://127.0.0.1:1/0", mongo_url, OPTIONS)

    with pytest.raises(StoreUnavailable):
        await backend.open()


@pytest.mark.timeout(60)
async def test_what_mongodb_refuses_is_told(
    start_mongo: Callable[..., MongoServer], redis_url: str
) -> None:
    server = start_mongo(replica_set=False, args=("--auth",))
    host = f"127.0.0.1:{server.port}"
    # Before there is a user, whoever is on the same machine may make one.
    with server.client() as client:
        client.admin.command("createUser", "root", pwd="boss", roles=["root"])
    root: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(f"mongodb://root:boss@{host}/admin") as root:
        root.shop.command(
            "createUser", "reader", pwd="secret", roles=[{"role": "read", "db": "shop"}]
        )
        root.admin.command(
            "createUser",
            "shop",
            pwd="secret",
            roles=[{"role": "readWrite", "db": "shop"}],
        )
        root.shop.command(
            "createRole",
            "almost",
            privileges=[
                {
                    "resource": {"db": "shop", "collection": name},
                    "actions": ["find", "insert", "createIndex", "listIndexes", *more],
                }
                for name, more in [
                    ("worchflow_meta", ["update", "remove"]),
                    ("executions", ["update", "remove"]),
                    ("steps", ["update"]),
                    ("workers", ["update", "remove"]),
                ]
            ],
            roles=[],
        )
        root.shop.command("createUser", "almost", pwd="secret", roles=["almost"])
        changes = ["insert", "update", "remove", "createIndex"]
        root.shop.command(
            "createRole",
            "earlier",
            privileges=[
                {
                    "resource": {"db": "shop", "collection": name},
                    "actions": ["find", "listIndexes", *changes],
                }
                for name in ("worchflow_meta", "executions", "steps", "workers")
            ],
            roles=[],
        )
        root.shop.command("createUser", "earlier", pwd="secret", roles=["earlier"])

    # The user is of the database admin, and the URL names another one.
    message = await refusal(redis_url, f"mongodb://shop:secret@{host}/shop")
    assert "?authSource=admin" in message
    message = await refusal(redis_url, f"mongodb://{host}/shop")
    assert "readWrite" in message
    message = await refusal(redis_url, f"mongodb://reader:secret@{host}/shop")
    assert "readWrite" in message
    message = await refusal(redis_url, f"mongodb://almost:secret@{host}/shop")
    assert "delete" in message
    assert "steps" in message
    # What an earlier release needed is not enough any more.
    message = await refusal(redis_url, f"mongodb://earlier:secret@{host}/shop")
    assert "waits" in message

    url = f"mongodb://shop:secret@{host}/shop?authSource=admin"
    backend = RedisMongoBackend.connect(redis_url, url, OPTIONS)
    await backend.open()
    await backend.close()
