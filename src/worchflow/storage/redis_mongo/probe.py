"""Whether both stores will do what is needed, tried once when a backend opens.

A right that is missing would else be found by work that stands still.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    RedisError,
)

from ...foundations.errors import ConfigurationError, StoreUnavailable
from ...foundations.ids import new_nonce
from .documents import EVENTS, EXECUTIONS, STEPS, TAKEN_EVENTS, WAITS, WORKERS
from .errors import RedisFull, describe
from .scripts import PROBE, ScriptCall

if TYPE_CHECKING:
    from collections.abc import Generator

    from .stores import Stores

BLOCK = 0.01
"""Seconds that BLMOVE waits for a list that is empty."""
PASSING = (
    *("OOM", "READONLY", "MISCONF", "LOADING", "BUSY", "NOREPLICAS", "MASTERDOWN"),
    *("CLUSTERDOWN", "TRYAGAIN"),
)
"""Refusals that say nothing about rights: work waits until they are over."""
REFUSING = (NoPermissionError, AuthenticationError)
NOT_A_CLUSTER_CLIENT = (
    "this Redis is a node of a Redis Cluster, which one URL does not reach: pass "
    "redis=RedisCluster.from_url(...) of redis.asyncio, and db=, instead of URLs"
)
RIGHTS = (
    'give its user what "Access rights" in the docs of stores and configuration lists'
)


async def probe_redis(stores: Stores) -> None:
    """Use every command once, on keys that nothing else uses, and one channel.

    Raises `ConfigurationError` naming what Redis refuses, and `StoreUnavailable`.
    """
    redis, prefix = stores.redis, stores.keys.prefix
    with refusals("INFO"):
        cluster = await redis.info("cluster")
    if cluster.get("cluster_enabled") and not redis.is_cluster:
        raise ConfigurationError(NOT_A_CLUSTER_CLIENT)
    keys = [
        f"{prefix}:probe:{new_nonce(stores.options.runtime)}:{kind}"
        for kind in ("hash", "list", "zset", "text")
    ]
    channel = stores.keys.updates("probe")
    with refusals("EVAL"):
        call = ScriptCall(PROBE, keys, [channel])
        (answer,) = await redis.run([call])
        if isinstance(answer, RedisFull):
            return
        if isinstance(answer, Exception):
            raise StoreUnavailable(f"Redis: {describe(answer)}") from answer
    refused = [_text(each) for each in answer]
    if lasting := [each for each in refused if not _is_passing(each)]:
        raise _refusal("; ".join(lasting))
    with refusals("BLMOVE"):
        await redis.pop(keys[1], keys[1], BLOCK)
    with refusals("SUBSCRIBE"):
        listener = redis.listen()
        try:
            await listener.subscribe(channel)
            await listener.next(stores.options.timeout)
        finally:
            await listener.close()


async def probe_mongo(stores: Stores) -> None:
    """Find, change and remove a document that no collection has.

    Raises `ConfigurationError` where the user may not, and `StoreUnavailable`.
    """
    mongo = stores.mongo
    nobody = {"_id": f"probe:{new_nonce(stores.options.runtime)}"}
    change = {"q": nobody, "u": {"$set": {"probe": 1}}}
    for collection in (EXECUTIONS, STEPS, WAITS, EVENTS, TAKEN_EVENTS, WORKERS):
        await mongo.find(collection, nobody, limit=1)
        await mongo.update(collection, [change])
        await mongo.delete(collection, nobody)


@contextmanager
def refusals(commands: str) -> Generator[None]:
    """Raise `ConfigurationError` for what a server that does answer will not do."""
    try:
        yield
    except RedisFull:
        return  # It says nothing about rights, and is over one day.
    except StoreUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, MovedError):
            raise ConfigurationError(NOT_A_CLUSTER_CLIENT) from cause
        if isinstance(cause, AuthenticationError):
            raise ConfigurationError(
                f"Redis refuses the user or the password ({describe(cause)}): check "
                "redis_url=redis://user:password@host:6379/0"
            ) from cause
        if isinstance(cause, RedisError) and "DB index" in str(cause):
            raise ConfigurationError(
                f"Redis has no such database ({describe(cause)}): the number behind "
                "the last / of redis_url is too high; 0 is always there"
            ) from cause
        if isinstance(cause, REFUSING) or "unknown command" in str(cause):
            raise _refusal(f"{commands} {cause}") from cause
        raise


def _refusal(what: str) -> ConfigurationError:
    return ConfigurationError(f"Redis refuses what is needed ({what:.500}): {RIGHTS}")


def _is_passing(refused: str) -> bool:
    words = refused.partition(" ")[2]
    return any(word in words for word in PASSING)


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
