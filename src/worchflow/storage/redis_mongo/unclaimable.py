"""Why an id from the queue could not be claimed, and what becomes of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from ...model.transitions import CLAIMABLE
from .adopted_executions import adopted_execution
from .documents import EXECUTIONS, UnreadableError
from .scripts import BACK, NOWHERE
from .unserved import Unserved
from .values import milliseconds_of, weight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...model.records import StoredExecution, WorkerRecord
    from .documents import Document
    from .executions import Executions
    from .scripts import Argument
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

MAX_LOGGED = 1000
"""How many ids that were set aside are remembered, to be logged only once."""


class Verdict(Enum):
    """What a look at one document says about its id."""

    GONE = "released"
    UNSERVED = "for others"
    CLAIMABLE = "claimable"


@dataclass(slots=True)
class Sorted:
    """What came of a look at ids: some can be claimed now, some were handed back."""

    claimable: list[str]
    handed_back: int = 0


class UnclaimableSorter:
    """Looks at the ids one worker took and could not claim."""

    def __init__(
        self,
        stores: Stores,
        executions: Executions,
        worker: WorkerRecord,
        released: Callable[[str, int], None],
    ) -> None:
        self._stores = stores
        self._executions = executions
        self._worker = worker
        self._unserved = Unserved(stores, worker)
        self._released = released
        self._logged: dict[str, None] = {}
        self.count = 0
        """How many ids were set aside."""

    async def sort_out(self, ids: Sequence[str]) -> Sorted:
        """Find out why each id was not claimable and put it where it belongs."""
        stores = self._stores
        found = {
            str(document[stores.documents.id_field]): document
            for document in await stores.mongo.find(
                EXECUTIONS, stores.documents.by_ids(ids)
            )
        }
        result = Sorted([])
        unserved: list[Document] = []
        for execution_id, document in found.items():
            match await self._place(execution_id, document):
                case Verdict.CLAIMABLE:
                    result.claimable.append(execution_id)
                case Verdict.UNSERVED:
                    unserved.append(document)
                case Verdict.GONE:
                    pass
        if unserved:
            places = await self._unserved.places(unserved)
            result.handed_back = places.count(BACK)
            for document, place in zip(unserved, places, strict=True):
                if not stores.options.ts_compat:
                    # Its hash did not say its event: the next time it is sorted by it.
                    execution = stores.documents.execution(document)
                    self._executions.enqueue(execution, NOWHERE)
                self._release_claim(document["id"], place)
        if unknown := [each for each in ids if each not in found]:
            result.claimable += await self._adopt_from_redis(unknown)
        return result

    async def _place(self, execution_id: str, document: Document) -> Verdict:
        stores = self._stores
        try:
            execution = stores.documents.execution(document)
        except UnreadableError as error:
            self.set_aside(execution_id, error.message)
            return Verdict.GONE
        if not stores.documents.is_ours(document):
            self.set_aside(execution_id, "it belongs to another queue prefix")
        elif execution.status not in CLAIMABLE or execution.worker is not None:
            self._taken_or_done(execution)
        elif execution.cancel_requested:
            await self._executions.cancel_waiting(execution_id)
            self._release_claim(execution_id, NOWHERE)
        elif execution.status.is_suspended and document.get("dueAt") is None:
            # Whatever wakes it queues it anew.
            self._release_claim(execution_id, NOWHERE)
        elif (due := _due(document)) > stores.clock.now():
            self._release_claim(execution_id, due)
        elif execution.event_name not in self._worker.functions:
            return Verdict.UNSERVED
        elif execution.deaths >= self._worker.quarantine_after:
            # It is found in MongoDB when a quarantine slot is free.
            self._release_claim(execution_id, NOWHERE)
        else:
            return Verdict.CLAIMABLE
        return Verdict.GONE

    def _taken_or_done(self, execution: StoredExecution) -> None:
        """Drop the id; a finished execution's hash may have missed how it ended."""
        fields: dict[str, Argument] | None = None
        ttl = 0
        if execution.status.is_terminal:
            fields = self._stores.documents.status_fields(execution)
            ttl = int(self._stores.options.finished_ttl * 1000)
        elif execution.worker is None:
            self.set_aside(execution.id, f"it is {execution.status} without an owner")
            return
        self._release_claim(execution.id, NOWHERE, fields, ttl)

    async def _adopt_from_redis(self, ids: Sequence[str]) -> list[str]:
        """Give ids that only Redis knows a document, as if they had been sent to us."""
        stores = self._stores
        hashes = await stores.redis.hashes(list(map(stores.keys.execution, ids)))
        now = stores.clock.now()
        documents: dict[str, Document] = {}
        for execution_id, fields in zip(ids, hashes, strict=True):
            try:
                documents[execution_id] = adopted_execution(
                    stores.documents, execution_id, fields, now
                )
            except UnreadableError as error:
                self.set_aside(execution_id, error.message)
        # Whoever else inserted it meanwhile, the claim decides.
        await stores.committer.insert_executions(
            (document, weight(document["eventData"])) for document in documents.values()
        )
        return list(documents)

    def set_aside(self, execution_id: str, why: str) -> None:
        """Take an id that cannot run out of the queue, and say so once."""
        self.count += 1
        if execution_id not in self._logged:
            logger.warning("the queued id %.200r is set aside: %s", execution_id, why)
            self._logged[execution_id] = None
            if len(self._logged) > MAX_LOGGED:
                del self._logged[next(iter(self._logged))]
        self._release_claim(execution_id, NOWHERE)

    def _release_claim(
        self,
        execution_id: str,
        place: str | int,
        fields: dict[str, Argument] | None = None,
        ttl: int = 0,
    ) -> None:
        self._stores.write_behind.put(
            self._stores.scripts.release(
                self._worker.id,
                execution_id,
                place,
                fields=fields,
                ttl=ttl,
                answered=partial(self._released, execution_id),
            )
        )


def _due(document: Document) -> int:
    return milliseconds_of(document.get("runAt")) or 0
