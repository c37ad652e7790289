"""Claims: ownership of executions, decided by one update of their documents."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ...foundations.errors import StoreUnavailable
from ...foundations.ids import new_nonce
from ...foundations.milliseconds import seconds_left, to_milliseconds
from ...model.records import SUSPENDED, Claim
from ...model.transitions import CLAIMABLE
from .documents import EXECUTIONS, FAST, UnreadableError
from .expressions import as_long
from .indexes import QUARANTINED
from .mongo_gateway import is_refusal
from .outbox import (
    AWAITS_CHILDREN,
    FOLLOW_UPS,
    HAS_WAITS,
    follow_ups_expression,
)
from .parents import ended_parents
from .scripts import MISSING, NOWHERE
from .wait_documents import waits_by_id
from .wake_ups import WOKEN_BY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Parent, StoredExecution, StoredStep, WorkerRecord
    from ...model.waits import StoredWait
    from .documents import Document
    from .steps import Steps
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")


class Ownership:
    """Makes one worker the owner of executions."""

    def __init__(self, stores: Stores, steps: Steps, worker: WorkerRecord) -> None:
        self._stores = stores
        self._steps = steps
        self._worker = worker
        self._eligible: Document = {
            "queuePrefix": stores.documents.prefix,
            "owner": None,
            "status": {"$in": list(CLAIMABLE)},
            "eventName": {"$in": list(worker.functions)},
            "cancelRequested": {"$ne": True},
            "deaths": {"$not": {"$gte": worker.quarantine_after}},
            # Nothing that is missing compares greater than a date.
            "$expr": {"$lte": ["$runAt", "$$NOW"]},
            # What is suspended without a deadline has no due time either.
            "$nor": [{"status": {"$in": sorted(SUSPENDED)}, "dueAt": None}],
        }
        with_data: Document = {"eventData": {"$type": "string"}}
        if stores.options.ts_compat:
            with_data = {"$or": [with_data, {"eventData": None}]}
        self._eligible |= with_data
        self._change = _claim_change(worker)
        if stores.options.durability == "fast":
            # From now on Redis may have steps that MongoDB lacks.
            self._change[0][FAST] = True
        if stores.options.ts_compat:
            self._change = _beside_the_original(
                self._change, stores.options.queue_prefix
            )

    async def claim(
        self, nonce: str, ids: Sequence[str]
    ) -> tuple[list[Claim], list[str]]:
        """Claims on those of the ids that are eligible, in order, and the other ids.

        Calling it again with the nonce finds what an earlier call has claimed.
        """
        if len(ids) == 1:
            found = await self._claim_one(nonce, ids[0])
        else:
            found = await self._claim_many(nonce, ids)
        claims = await self._claims(found)
        for claim in claims:
            self._show(claim)
        return claims, [each for each in ids if each not in found]

    async def claim_quarantined(self) -> Claim | None:
        """A claim on the oldest that is eligible but for its deaths, or None."""
        stores = self._stores
        quarantined = self._eligible | {
            "deaths": {"$gte": self._worker.quarantine_after},
            "dueAt": {"$exists": True},
        }
        waiting = await stores.mongo.find(
            EXECUTIONS,
            quarantined,
            fields=("id",),
            sort=(("dueAt", 1),),
            limit=1,
            hint=QUARANTINED,
        )
        ids = [document["id"] for document in waiting if "id" in document]
        nonce = new_nonce(stores.options.runtime)
        values, unset = self._change
        for execution_id in ids:
            document = await stores.mongo.change(
                EXECUTIONS,
                stores.documents.by_id(execution_id) | quarantined,
                [{"$set": values | {"claim": nonce}}, unset],
            )
            if document is not None:
                for claim in await self._claims({execution_id: document}):
                    self._show(claim)
                    return claim
        return None

    async def owned(self, ids: Sequence[str]) -> list[Claim]:
        """Claims that this worker already holds among the ids."""
        query = {"owner": self._worker.id} | self._stores.documents.live
        found = await self._find(query, ids)
        return await self._claims(found, replay=True)

    async def _claim_one(self, nonce: str, execution_id: str) -> dict[str, Document]:
        """Claim and read in one round trip: an idle worker is waited for."""
        statement = self._statement(
            nonce, self._stores.documents.by_ids([execution_id])
        )
        try:
            document = await self._stores.mongo.change(
                EXECUTIONS, statement["q"], statement["u"]
            )
        except StoreUnavailable as error:
            if not is_refusal(error):
                raise
            return await self._claim_many(nonce, [execution_id])
        if document is not None:
            return {execution_id: document}
        return await self._claimed(nonce, [execution_id])

    async def _claim_many(self, nonce: str, ids: Sequence[str]) -> dict[str, Document]:
        statement = self._statement(nonce, self._stores.documents.by_ids(ids))
        written = await self._stores.mongo.update(EXECUTIONS, [statement])
        if written.refused:
            await self._claim_singly(nonce, ids)
        return await self._claimed(nonce, ids)

    async def _claimed(self, nonce: str, ids: Sequence[str]) -> dict[str, Document]:
        return await self._find({"claim": nonce, "owner": self._worker.id}, ids)

    def _statement(self, nonce: str, query: Document) -> Document:
        values, unset = self._change
        return {
            "q": query | self._eligible,
            "u": [{"$set": values | {"claim": nonce}}, unset],
            "multi": True,
            # Left to itself MongoDB may walk through all that waits instead.
            "hint": {self._stores.documents.id_field: 1},
        }

    async def _claim_singly(self, nonce: str, ids: Sequence[str]) -> None:
        """One document that cannot be updated must not keep the others waiting."""
        for each in ids:
            statement = self._statement(nonce, self._stores.documents.by_ids([each]))
            written = await self._stores.mongo.update(EXECUTIONS, [statement])
            for refusal in written.refused.values():
                logger.warning(
                    "execution %.200r cannot be claimed (code %d): see its document",
                    each,
                    refusal.code,
                )

    async def _find(self, query: Document, ids: Sequence[str]) -> dict[str, Document]:
        documents = await self._stores.mongo.find(
            EXECUTIONS, self._stores.documents.by_ids(ids) | query
        )
        found = {
            document[self._stores.documents.id_field]: document
            for document in documents
        }
        return {each: found[each] for each in ids if each in found}

    async def _claims(
        self, found: dict[str, Document], *, replay: bool = False
    ) -> list[Claim]:
        executions: dict[str, StoredExecution] = {}
        for execution_id, document in found.items():
            try:
                executions[execution_id] = self._stores.documents.execution(document)
            except UnreadableError as error:
                await self._fail_unreadable(document, error)
        with_steps = [
            found[execution_id]
            for execution_id, execution in executions.items()
            # The first claim of what we inserted has nothing to replay, if nobody
            # else runs executions.
            if replay
            or execution.token != 1
            or "nonce" not in found[execution_id]
            or self._stores.options.ts_compat
        ]
        steps: dict[str, dict[str, StoredStep]] = {}
        if with_steps:
            steps = await self._steps.load(with_steps)
        with_waits = [found[each] for each in executions if HAS_WAITS in found[each]]
        waits: dict[str, dict[str, StoredWait]] = {}
        if with_waits:
            waits = await waits_by_id(self._stores, with_waits)
        parents = [
            each.parent
            for each in executions.values()
            if each.parent is not None and not each.parent.leaves
        ]
        ended: set[Parent] = set()
        if parents:
            ended = await ended_parents(self._stores, parents)
        return [
            Claim(
                execution=execution,
                worker_id=self._worker.id,
                token=execution.token,
                steps=steps.get(execution_id, {}),
                waits=waits.get(execution_id, {}),
                parent_has_ended=execution.parent in ended,
                deadline_left=self._deadline_left(execution),
            )
            for execution_id, execution in executions.items()
        ]

    def _deadline_left(self, execution: StoredExecution) -> float | None:
        if execution.deadline_at is None:
            return None
        # The claim may have stamped it after the last moment that we know of: what is
        # due for the claim is due for us.
        now = max(self._stores.clock.now(), to_milliseconds(execution.updated_at))
        return seconds_left(execution.deadline_at, now)

    def _show(self, claim: Claim) -> None:
        execution = claim.execution
        self._stores.write_behind.put(
            self._stores.scripts.mark(
                claim, self._stores.clock.now(), partial(self._shown, execution)
            )
        )

    def _shown(self, execution: StoredExecution, answer: int) -> None:
        """After a wipe, or when the push was lost, there is no hash yet."""
        if answer == MISSING:
            fields = self._stores.documents.hash_fields(execution)
            self._stores.write_behind.put(self._stores.scripts.enqueue(fields, NOWHERE))

    async def _fail_unreadable(
        self, document: Document, error: UnreadableError
    ) -> None:
        logger.warning("execution %.200r fails: %s", document.get("_id"), error.message)
        message = f"the execution cannot be read: {error.message}"
        values = {
            "status": "failed",
            "error": {"$literal": message},
            "errorStack": "",
            "errorType": "UnreadableError",
            "errorStep": None,
            FOLLOW_UPS: follow_ups_expression(as_long("$token")),
        }
        query = {"_id": document["_id"], "owner": self._worker.id}
        change = [{"$set": values}, {"$unset": ["owner", "claim"]}]
        await self._stores.mongo.update(EXECUTIONS, [{"q": query, "u": change}])


def _claim_change(worker: WorkerRecord) -> tuple[Document, Document]:
    branches = [
        {
            "case": {"$eq": ["$eventName", {"$literal": event}]},
            "then": {"$literal": function_id},
        }
        for event, function_id in worker.functions.items()
    ]
    functions: Any = "$$REMOVE"
    if branches:
        functions = {"$switch": {"branches": branches, "default": "$$REMOVE"}}
    values: Document = {
        "owner": worker.id,
        "status": "processing",
        "functionId": functions,
        # A token of a foreign type starts again instead of stopping the batch.
        "token": {"$add": [as_long("$token"), 1]},
        "startedAt": {"$ifNull": ["$startedAt", "$$NOW"]},
        "updatedAt": {"$toLong": "$$NOW"},
    }
    stamps = ["dueAt", "runAt", "notBefore", "reason", "sweptAt", "handOns", WOKEN_BY]
    return values, {"$unset": [*stamps, AWAITS_CHILDREN]}


def _beside_the_original(
    change: tuple[Document, Document], prefix: str
) -> tuple[Document, Document]:
    """The change of a claim where what is claimed may have been the original's.

    Its `retry` changes the status and no stamp: what waits and says when it ended was
    retried. Then what failed and who died under lower tokens does not count any more.
    """
    values, unset = change
    is_retried = {"$eq": [{"$type": "$finishedAt"}, "date"]}
    values = values | {
        "queuePrefix": {"$literal": prefix},
        "startedAt": {"$cond": [is_retried, "$$NOW", values["startedAt"]]},
        "retryToken": {"$cond": [is_retried, values["token"], "$retryToken"]},
        "recoveries": {"$cond": [is_retried, 0, "$recoveries"]},
        "deaths": {"$cond": [is_retried, "$$REMOVE", "$deaths"]},
        "eligibleAt": {"$cond": [is_retried, "$$NOW", "$eligibleAt"]},
        "deadlineAt": {"$cond": [is_retried, "$$REMOVE", "$deadlineAt"]},
    }
    return values, {"$unset": [*unset["$unset"], "finishedAt", "result", "enc"]}
