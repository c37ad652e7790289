"""Executions whose event a worker does not serve: handed on, or waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS

from ...model.records import SUSPENDED
from ...model.transitions import (
    CLAIMABLE,
    MAX_REQUEUE_DELAY,
    requeue_delay,
    unserved_reason,
)
from .documents import EXECUTIONS
from .indexes import DUE
from .scripts import BACK
from .waiting_reasons import served_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...model.records import WorkerRecord
    from .documents import Document
    from .stores import Stores

PAGE = 1000


class Unserved:
    """Decides where executions wait that one worker cannot run."""

    def __init__(self, stores: Stores, worker: WorkerRecord) -> None:
        self._stores = stores
        self._worker = worker

    async def places(self, documents: Sequence[Document]) -> list[str | int]:
        """Where each belongs: back in the queue, or until a due time in the set."""
        served = await served_events(
            self._stores,
            {document["eventName"] for document in documents},
            except_by=self._worker.id,
        )
        return [
            BACK if document["eventName"] in served else await self._postpone(document)
            for document in documents
        ]

    async def requeue_deferred(self) -> None:
        """Make due what has waited for a worker such as this one."""
        stores = self._stores
        now = stores.clock.now()
        longest = now + int(MAX_REQUEUE_DELAY * 1000) + 1000
        query: Document = {
            "queuePrefix": stores.documents.prefix,
            "dueAt": {"$gt": DatetimeMS(now), "$lte": DatetimeMS(longest)},
            "eventName": {"$in": list(self._worker.functions)},
            "handOns": {"$gt": 0},
            "owner": None,
        }
        while found := await stores.mongo.find(
            EXECUTIONS, query, fields=("id",), limit=PAGE, hint=DUE
        ):
            ids = [document["_id"] for document in found]
            # What is suspended without a due time would wait for a wake-up.
            is_suspended = {"$in": ["$status", {"$literal": sorted(SUSPENDED)}]}
            due = DatetimeMS(now)
            run_at = {"$cond": [is_suspended, due, "$$REMOVE"]}
            change: list[Document] = [
                {"$set": {"dueAt": due, "runAt": run_at}},
                {"$unset": ["reason", "handOns"]},
            ]
            statement = {
                "q": {"_id": {"$in": ids}, "owner": None},
                "u": change,
                "multi": True,
            }
            await stores.mongo.update(EXECUTIONS, [statement])
            # What lacks its id is not an execution.
            self._queue(document["id"] for document in found if "id" in document)

    def _queue(self, execution_ids: Iterable[str]) -> None:
        for execution_id in execution_ids:
            self._stores.write_behind.put(
                self._stores.scripts.release(self._worker.id, execution_id, BACK)
            )

    async def _postpone(self, document: Document) -> int:
        stores = self._stores
        times = document.get("handOns")
        times = times if isinstance(times, int) else 0
        due = stores.clock.now() + int(requeue_delay(times) * 1000)
        change: Document = {
            "$set": {
                "dueAt": DatetimeMS(due),
                "runAt": DatetimeMS(due),
                "reason": unserved_reason(document["eventName"]),
            },
            "$inc": {"handOns": 1},
        }
        query = stores.documents.by_id(document["id"]) | {
            "owner": None,
            "status": {"$in": list(CLAIMABLE)},
        }
        await stores.mongo.update(EXECUTIONS, [{"q": query, "u": change}])
        return due
