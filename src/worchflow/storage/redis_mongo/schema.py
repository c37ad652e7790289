"""What is checked and made when a backend opens."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from ...foundations.errors import ConfigurationError, SchemaTooNew, SchemaTooOld
from .documents import EVENTS, EXECUTIONS, META, STEPS, WAITS
from .indexes import (
    COMPAT,
    COMPAT_EXECUTIONS,
    COMPAT_STEPS,
    ENDED_INDEX,
    INDEXES,
    OF_EVENTS,
    OF_WAITS,
)
from .probe import probe_mongo, probe_redis, refusals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .mongo_gateway import Document
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

SCHEMA = 6
"""Documents of schema 1 have no headers, tags and attempts, and no index of tags, those
of schema 2 no wake-ups and follow-ups, and no index of these, those of schema 3 no
`acceptedAt`, and there are no events, those of schema 4 no parents, and no index of
these, those of schema 5 no `eligibleAt` and `deadlineAt`."""
COMPATIBLE_FROM = 1
"""Releases from this schema on can use what this one writes."""
INDEX_TIMEOUT = 600.0
"""Seconds an index may take on a collection that is large already."""


async def prepare(stores: Stores, *, migrate: bool) -> None:
    """Check servers and settings, make indexes; with `migrate` update the schema.

    Raises `StoreUnavailable`, `ConfigurationError`, `SchemaTooNew` or `SchemaTooOld`.
    """
    _check_prefix(stores)
    # First: an old server lacks commands, and that is not a matter of rights.
    with refusals("INFO"):
        await _check_redis(stores)
    await probe_redis(stores)
    await _check_schema(stores, migrate=migrate)
    await probe_mongo(stores)
    await _check_indexes(stores)


def _check_prefix(stores: Stores) -> None:
    if stores.redis.is_cluster and stores.keys.hash_tag is None:
        prefix = stores.options.queue_prefix
        raise ConfigurationError(
            f'queue_prefix="{prefix}" has no hash tag, but this is a Redis Cluster, '
            f'where all keys have to be in one slot: use queue_prefix="{{{prefix}}}"'
        )


async def _check_redis(stores: Stores) -> None:
    server = await stores.redis.info("server")
    memory = await stores.redis.info("memory")
    version = str(server.get("redis_version", ""))
    # Valkey says 7.2.4 here and its own version elsewhere.
    if (found := re.match(r"(\d+)\.(\d+)", version)) and tuple(
        map(int, found.groups())
    ) < (6, 2):
        raise ConfigurationError(
            f"Redis {version} is too old: Redis 6.2, or Valkey, is the first that can "
            "hand out work without losing it"
        )
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        logger.warning(
            "Redis evicts keys when it is full (maxmemory-policy %s): nothing is lost, "
            "but evicted work waits for the sweep; noeviction is better",
            policy,
        )


async def _check_schema(stores: Stores, *, migrate: bool) -> None:
    """Leave the mark of this release; refuse what is too new, or too old as yet."""
    mark = {"version": SCHEMA, "compatibleFrom": COMPATIBLE_FROM}
    if not (await stores.mongo.insert(META, [{"_id": "schema"} | mark])).refused:
        return
    found = await stores.mongo.find(META, {"_id": "schema"}, limit=1)
    document: Document = found[0] if found else mark
    version = document.get("version")
    lowest = document.get("compatibleFrom", version)
    if not isinstance(version, int) or not isinstance(lowest, int) or lowest > SCHEMA:
        raise SchemaTooNew(
            f"this database has schema {version!r}, this release knows {SCHEMA}: use "
            "the release that wrote it, or a newer one"
        )
    if version >= SCHEMA:
        return
    if not migrate:
        raise SchemaTooOld("this MongoDB database", found=version, needed=SCHEMA)
    # First all that a migration makes, which is the same whoever makes it: a mark says
    # that everything is there.
    await _check_indexes(stores)
    these = {"_id": "schema", "version": version}
    await stores.mongo.update(META, [{"q": these, "u": {"$set": mark}}])


async def _check_indexes(stores: Stores) -> None:
    found = await stores.mongo.indexes(EXECUTIONS)
    originals = [index for index in found if _is_unique(index, COMPAT_EXECUTIONS)]
    indexes = [*INDEXES, *(COMPAT if stores.options.ts_compat else [ENDED_INDEX])]
    if stores.options.ts_compat:
        steps = await stores.mongo.indexes(STEPS)
        if not any(_is_unique(index, COMPAT_STEPS) for index in steps):
            await stores.mongo.make_indexes(STEPS, [COMPAT_STEPS], INDEX_TIMEOUT)
        if not originals:
            indexes.append(COMPAT_EXECUTIONS)
    elif originals:
        raise ConfigurationError(
            f'the collection "{EXECUTIONS}" has the unique index '
            f'"{originals[0]["name"]}" on "id", which the TypeScript original makes: '
            "use ts_compat=True to share its documents, or another database; once all "
            "of it is history, drop that index"
        )
    await _make_missing(stores, EXECUTIONS, indexes, found)
    for collection, wanted in ((WAITS, OF_WAITS), (EVENTS, OF_EVENTS)):
        there = await stores.mongo.indexes(collection)
        await _make_missing(stores, collection, wanted, there)


async def _make_missing(
    stores: Stores,
    collection: str,
    indexes: Sequence[Document],
    found: Sequence[Document],
) -> None:
    """Make indexes, only what is missing: it may take long, and opening must not."""
    missing = [
        index for index in indexes if not any(_is(each, index) for each in found)
    ]
    if missing:
        await stores.mongo.make_indexes(collection, missing, INDEX_TIMEOUT)


def _is(index: Document, wanted: Document) -> bool:
    """Whether an index is the one that is wanted, in every respect that we name."""
    return all(index.get(name) == value for name, value in wanted.items())


def _is_unique(index: dict[str, Any], wanted: Document) -> bool:
    """Whether an index is a unique one on the same fields, whatever its name is."""
    return dict(index.get("key", {})) == wanted["key"] and bool(index.get("unique"))
