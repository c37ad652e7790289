"""Workers' documents and their leases, by MongoDB's clock."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Protocol

import pymongo
from bson.int64 import Int64
from pymongo.errors import PyMongoError

from ...foundations.errors import StoreUnavailable
from ..contract.workers import Renewal
from .documents import EXECUTIONS, WORKERS
from .indexes import OWNER, owned_by
from .mongo_gateway import CODEC, unavailable, write_concern

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from ...model.records import WorkerRecord
    from .documents import Document
    from .mongo_gateway import MongoGateway
    from .stores import Stores


class LeaseStore(Protocol):
    """Runs two commands one after the other, from the lease's thread."""

    def run(self, first: Document, second: Document) -> tuple[Document, Document]:
        """Their answers; `StoreUnavailable` in time."""
        ...

    def close(self) -> None:
        """Close what it made."""
        ...


class OwnConnection:
    """A sync database for leases alone: renewing needs no turn of the event loop."""

    def __init__(
        self,
        make: Callable[[], Database[Any]],
        timeout: float,
        *,
        close_client: bool,
    ) -> None:
        self._make = make
        self._timeout = timeout
        self._close_client = close_client
        self._db: Database[Any] | None = None
        self._lock = threading.Lock()

    def run(self, first: Document, second: Document) -> tuple[Document, Document]:
        """Their answers; `StoreUnavailable` in time."""
        try:
            with self._lock, pymongo.timeout(self._timeout):
                if self._db is None:
                    self._db = self._make()
                return (
                    self._db.command(first, codec_options=CODEC),
                    self._db.command(second, codec_options=CODEC),
                )
        except (PyMongoError, OSError) as error:
            raise unavailable(error) from error

    def close(self) -> None:
        """Close the client, if it was made here."""
        with self._lock:
            if self._db is not None and self._close_client:
                self._db.client.close()
            self._db = None


class OnTheLoop:
    """Renews on the backend's event loop: a loop that is blocked loses its leases."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, mongo: MongoGateway, timeout: float
    ) -> None:
        self._loop = loop
        self._mongo = mongo
        self._timeout = timeout

    def run(self, first: Document, second: Document) -> tuple[Document, Document]:
        """Their answers; `StoreUnavailable` in time."""
        future = asyncio.run_coroutine_threadsafe(self._both(first, second), self._loop)
        try:
            return future.result(self._timeout)
        except TimeoutError:
            future.cancel()
            raise StoreUnavailable(
                f"the lease was not renewed within {self._timeout:g} s: the event loop "
                "is busy; pass lease_db= to renew it from its own thread"
            ) from None

    def close(self) -> None:
        """Nothing was made."""

    async def _both(
        self, first: Document, second: Document
    ) -> tuple[Document, Document]:
        return await self._mongo.command(first), await self._mongo.command(second)


class Leases:
    """Registers workers and renews their leases."""

    def __init__(self, stores: Stores, lease_store: LeaseStore) -> None:
        self._stores = stores
        self._lease_store = lease_store

    async def join(self, worker: WorkerRecord) -> None:
        """Register a worker with a lease from now."""
        options = self._stores.options
        values: Document = {
            "queuePrefix": {"$literal": options.queue_prefix},
            "functions": {
                "$literal": [
                    {"event": event, "id": function_id}
                    for event, function_id in worker.functions.items()
                ]
            },
            "concurrency": worker.concurrency,
            "host": {"$literal": worker.host},
            "pid": worker.pid,
            "startedAt": {"$literal": worker.started_at},
            "expiresAt": _expiry(options.lease_ttl),
        }
        statement = {"q": {"_id": worker.id}, "u": [{"$set": values}], "upsert": True}
        await self._stores.mongo.update(WORKERS, [statement])

    def renew(self, worker_id: str) -> Renewal:
        """Renew a lease from any thread but the loop's, and see what it covers."""
        options = self._stores.options
        statement = {
            "q": {"_id": worker_id, "dead": {"$ne": True}},
            "u": [{"$set": {"expiresAt": _expiry(options.lease_ttl)}}],
        }
        renewed, owned = self._lease_store.run(
            {
                "update": WORKERS,
                "updates": [statement],
                "writeConcern": write_concern(options.lease_ttl / 2),
            },
            {
                "find": EXECUTIONS,
                "filter": owned_by([worker_id]) | self._stores.documents.live,
                "hint": OWNER,
                "projection": {"id": 1, "cancelRequested": 1},
                "batchSize": 100_000,
                "singleBatch": True,
            },
        )
        if "writeErrors" in renewed or "writeConcernError" in renewed:
            raise StoreUnavailable("MongoDB did not renew the lease with a majority")
        if renewed["n"] == 0:
            return Renewal(alive=False)
        documents = owned["cursor"]["firstBatch"]
        return Renewal(
            alive=True,
            owned=frozenset(each["id"] for each in documents if "id" in each),
            cancelled=frozenset(
                each["id"]
                for each in documents
                if "id" in each and each.get("cancelRequested") is True
            ),
        )


def _expiry(ttl: float) -> Document:
    return {"$add": ["$$NOW", Int64(ttl * 1000)]}
