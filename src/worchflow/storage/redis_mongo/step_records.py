"""Which document of a step counts: the first one that is not void."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.records import StepStatus
from .committer import DUPLICATE
from .documents import EXECUTIONS, FATE, LIFE, STEP_LIFE, STEPS, life_of
from .fields import count_of, plain_step_id

if TYPE_CHECKING:
    from .documents import Document
    from .stores import Stores

WRITE = ("_id", STEP_LIFE, "nonce", "status")
"""What tells one write of a step from every other."""


class StepRecords:
    """Tells void documents of steps from others and replaces them.

    Void is what another execution of the same id recorded, a failure from before an
    explicit retry, and one that counted for an attempt alone that has ended. A void
    document is never read. It stays until the step is recorded anew, in its place, or
    its execution is pruned.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def is_void(self, step: Document, execution: Document) -> bool:
        """Whether a step does not count for an execution; both as documents.

        One without a mark counts: the original, which may have run it, makes none.
        """
        life = step.get(STEP_LIFE)
        if life is not None and life != life_of(execution):
            return True
        if step.get("status") != StepStatus.FAILED:
            return False
        token, void_below = step.get("token"), execution.get("retryToken", 0)
        if not isinstance(token, int) or not isinstance(void_below, int):
            return True
        attempt, ended = step.get("attempt"), count_of(execution.get("attemptCount"))
        is_over = isinstance(attempt, int) and attempt <= ended
        return is_over or token < void_below

    async def record(self, document: Document, size: int) -> Document:
        """Insert a step and return what is recorded of it.

        That is `document` itself, or what was there before and is not void. `document`
        is also what a writer continues with whose own document is void: that takes no
        other's place.
        """
        recorded = await self._insert(document, size)
        if recorded is document and self._may_be_hidden(document):
            other = await self._find(document)
            if other is not None and other.get("status") == StepStatus.COMPLETED:
                return other
        return recorded

    def _may_be_hidden(self, document: Document) -> bool:
        """Whether its insertion does not meet what the original has recorded."""
        is_failed = document["status"] == StepStatus.FAILED
        return is_failed and self._stores.options.ts_compat

    async def _insert(self, document: Document, size: int) -> Document:
        insert = self._stores.committer.insert_step
        while await insert(document, size) is DUPLICATE:
            stored = await self._find(document)
            if stored is None:
                continue  # Removed between the two calls, as an explicit retry does.
            # The execution is asked only where it makes a difference.
            if stored.get("status") != StepStatus.FAILED and not self.is_void(
                stored, {LIFE: document.get(STEP_LIFE)}
            ):
                return stored
            execution = await self._execution(document["executionId"])
            if self.is_void(document, execution):
                break
            if not self.is_void(stored, execution):
                return stored
            if await self._replace(stored, document):
                break
        return document

    async def _find(self, document: Document) -> Document | None:
        query: Document = {"_id": document["_id"]}
        sort: list[tuple[str, int]] = []
        if self._stores.options.ts_compat:
            step_id = plain_step_id(document["stepId"])
            pair = {"executionId": document["executionId"], "stepId": step_id}
            query = {"$or": [pair, query]}
            # By the alphabet a completed one comes before a failed one.
            sort.append(("status", 1))
        found = await self._stores.mongo.find(STEPS, query, sort=sort, limit=1)
        return found[0] if found else None

    async def _execution(self, execution_id: str) -> Document:
        found = await self._stores.mongo.find(
            EXECUTIONS,
            self._stores.documents.by_id(execution_id),
            fields=FATE,
            limit=1,
        )
        return found[0] if found else {}

    async def _replace(self, void: Document, document: Document) -> bool:
        """Put a document in place of a void one; False if that is not there any more.

        It keeps the `_id` that it has: with `ts_compat` this may be an ObjectId.
        """
        statement = {
            "q": {field: void.get(field) for field in WRITE},
            "u": {key: value for key, value in document.items() if key != "_id"},
        }
        return (await self._stores.mongo.update(STEPS, [statement])).count == 1
