"""Recorded steps: MongoDB keeps them, Redis caches their results."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from ...foundations.errors import SerializationError, StoreUnavailable, WorchflowError
from ...model.notices import encode_step_completed
from ...model.records import StepStatus
from ...model.settlement import ClaimKey
from ...model.step_kind import StepKind
from ..contract.steps import StepStore
from .cached_results import cached_results
from .documents import EXECUTIONS, FATE, STEPS, UnreadableError
from .step_records import StepRecords
from .values import weight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ...foundations.types import Payload
    from ...model.records import Claim, StoredStep
    from .documents import Document
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

MAX_UNFLUSHED_SECONDS = 1.0
"""Seconds MongoDB may lag behind Redis before `durability="fast"` waits for it."""
MAX_GONE_WORKERS = 1000
"""How many workers that are gone are remembered: code of their claims may run yet."""


class Unflushed(NamedTuple):
    """One checkpoint on its way to MongoDB."""

    document: Document
    size: int
    task: asyncio.Future[Document]


class Steps(StepStore):
    """Records and loads steps.

    In fast mode the value of a `step.run` is acknowledged by whichever store answers
    first, and `barrier` waits for MongoDB's answers before anything settles on them.
    Both are written at once, so Redis is ahead by no more than MongoDB's answer takes.
    If the process and Redis are lost in that moment, such steps run again.

    What MongoDB has not confirmed is kept for as long as its claim may settle: until
    the barrier is passed, the execution is claimed anew, or its worker is gone.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._records = StepRecords(stores)
        self._is_fast = stores.options.durability == "fast"
        self._unflushed: dict[ClaimKey, list[Unflushed]] = {}
        """What claims have written and MongoDB has not confirmed."""
        self._gone: dict[str, None] = {}

    @override
    async def checkpoint(self, claim: Claim, step: StoredStep) -> StoredStep:
        """Record a step; what was recorded first is what it is."""
        stores = self._stores
        document = stores.documents.new_step(claim, step, stores.clock.now)
        if (
            self._is_fast
            and claim.worker_id not in self._gone
            and step.status is StepStatus.COMPLETED
            # Redis holds results alone, and not that one of them is a wait's.
            and step.kind is StepKind.RUN
            and stores.committer.oldest_age() < MAX_UNFLUSHED_SECONDS
        ):
            return await self._checkpoint_fast(claim, step, document)
        stored = await self._records.record(document, _size(step))
        recorded = self._recorded(step, document, stored)
        if step.status is StepStatus.COMPLETED:
            stores.write_behind.put(
                stores.scripts.step(
                    claim,
                    step.step_id,
                    self._value_to_cache(recorded),
                    encode_step_completed(claim, step),
                ),
                # The original looks for it in Redis alone.
                at_once=stores.options.ts_compat,
            )
        return recorded

    def is_flushed(self, claim: Claim) -> bool:
        """Whether MongoDB has every checkpoint of a claim that may still settle."""
        is_confirmed = not self._unflushed or ClaimKey.of(claim) not in self._unflushed
        return is_confirmed and not self._is_over(claim)

    def forget(self, worker_id: str) -> None:
        """A worker is gone: nothing it has claimed settles by it any more.

        What is still on its way to MongoDB arrives all the same.
        """
        if not self._is_fast:
            return
        self._gone[worker_id] = None
        if len(self._gone) > MAX_GONE_WORKERS:
            del self._gone[next(iter(self._gone))]
        self._keep(lambda claim_key: claim_key.worker_id != worker_id)

    async def barrier(self, claim: Claim) -> bool:
        """Wait until all checkpoints of this claim are in MongoDB.

        False when one of them turns out to have been recorded otherwise before:
        then this attempt has computed with a value that is not the recorded one. Also
        for a worker that is gone: nobody knows any more what it has recorded.
        """
        if self._is_over(claim):
            return False
        for document, size, task in self._unflushed.get(ClaimKey.of(claim), ()):
            try:
                stored = await asyncio.shield(task)
            except StoreUnavailable:
                stored = await self._records.record(document, size)
            if not _is_own(stored, document):
                # It stays: whatever else is asked under this claim is told the same.
                return False
        self.forget_claim(claim)
        return True

    @override
    async def flush(self, claim: Claim) -> bool:
        return self.is_flushed(claim) or await self.barrier(claim)

    def forget_claim(self, claim: Claim) -> None:
        """A claim was settled: nothing of it is waited for any more."""
        self._unflushed.pop(ClaimKey.of(claim), None)

    @override
    async def all(self, execution_id: str) -> list[StoredStep]:
        """Everything recorded for one execution, oldest first."""
        own = [
            entry.task
            for claim_key, entries in self._unflushed.items()
            if claim_key.execution_id == execution_id
            for entry in entries
        ]
        if own:
            await asyncio.wait(own)
        stores = self._stores
        found, executions = await asyncio.gather(
            stores.mongo.find(STEPS, stores.documents.steps_of([execution_id])),
            stores.mongo.find(
                EXECUTIONS, stores.documents.by_id(execution_id), fields=FATE, limit=1
            ),
        )
        steps = [
            step
            for execution in executions
            for step in self._counted(found, execution).values()
        ]
        steps.sort(key=lambda step: (_at(step.started_at), _at(step.finished_at)))
        return steps

    async def load(
        self, executions: Sequence[Document]
    ) -> dict[str, dict[str, StoredStep]]:
        """The recorded steps of executions, by their ids.

        MongoDB's, and what only Redis has, which is backfilled. Redis is asked where
        it may have more: after a claim in fast mode, and where others write as well.
        """
        stores = self._stores
        ids = [document["id"] for document in executions]
        self._forget_former_claims(executions)
        found, cached = await asyncio.gather(
            stores.mongo.find(STEPS, stores.documents.steps_of(ids)),
            cached_results(stores, executions),
        )
        by_id = {document["id"]: document for document in executions}
        recorded: dict[str, list[Document]] = {each: [] for each in ids}
        for document in found:
            recorded[document["executionId"]].append(document)
        loaded = {
            each: self._counted(documents, by_id[each])
            for each, documents in recorded.items()
        }
        await self._backfill(by_id, loaded, cached)
        return loaded

    def _counted(
        self, documents: Sequence[Document], execution: Document
    ) -> dict[str, StoredStep]:
        """The steps that count for an execution, by their ids.

        The original does not meet a failure that we have recorded: what it has
        completed since then is what the step is.
        """
        counted: dict[str, StoredStep] = {}
        for document in documents:
            if self._records.is_void(document, execution):
                continue
            step = self._read(document)
            if step is not None and (
                step.step_id not in counted or step.status is StepStatus.COMPLETED
            ):
                counted[step.step_id] = step
        return counted

    async def _checkpoint_fast(
        self,
        claim: Claim,
        step: StoredStep,
        document: Document,
    ) -> StoredStep:
        stores, loop = self._stores, asyncio.get_running_loop()
        cached: asyncio.Future[int] = loop.create_future()
        stores.write_behind.put(
            stores.scripts.step(
                claim,
                step.step_id,
                self._value_to_cache(step),
                encode_step_completed(claim, step),
                partial(_answer, cached),
            )
        )
        size = _size(step)
        task = asyncio.ensure_future(self._records.record(document, size))
        claim_key = ClaimKey.of(claim)
        entry = Unflushed(document, size, task)
        self._unflushed.setdefault(claim_key, []).append(entry)
        task.add_done_callback(partial(self._flushed, claim_key, document))
        answers: set[asyncio.Future[Any]] = {cached, task}
        await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and cached.result() == 1:
            return step
        try:
            stored = await asyncio.shield(task)
        except WorchflowError:
            # Nobody continues with it: whoever saves the step does so anew.
            self._forget(claim_key, task)
            raise
        recorded = self._recorded(step, document, stored)
        # The handler continues with what is recorded: no conflict is left.
        self._forget(claim_key, task)
        return recorded

    def _flushed(
        self, claim_key: ClaimKey, document: Document, task: asyncio.Future[Document]
    ) -> None:
        if task.cancelled() or task.exception() is not None:
            return  # The barrier sends it again.
        if _is_own(task.result(), document):
            self._forget(claim_key, task)

    def _is_over(self, claim: Claim) -> bool:
        return claim.worker_id in self._gone

    def _forget_former_claims(self, executions: Sequence[Document]) -> None:
        """Whoever has claimed these with lower tokens cannot settle them any more."""
        if self._unflushed:
            tokens = {each["id"]: each.get("token", 0) for each in executions}
            self._keep(
                lambda claim_key: (
                    claim_key.token >= tokens.get(claim_key.execution_id, 0)
                )
            )

    def _keep(self, is_kept: Callable[[ClaimKey], bool]) -> None:
        self._unflushed = {
            claim_key: entries
            for claim_key, entries in self._unflushed.items()
            if is_kept(claim_key)
        }

    def _forget(self, claim_key: ClaimKey, task: asyncio.Future[Document]) -> None:
        entries = self._unflushed.get(claim_key, [])
        rest = [entry for entry in entries if entry.task is not task]
        if rest:
            self._unflushed[claim_key] = rest
        else:
            self._unflushed.pop(claim_key, None)

    def _recorded(
        self, step: StoredStep, document: Document, stored: Document
    ) -> StoredStep:
        """The step that is recorded; maybe by an earlier try of ours."""
        if stored is document:
            return step
        try:
            return self._stores.documents.step(stored)
        except UnreadableError as error:
            raise SerializationError(
                f'the record of step "{step.title}" cannot be read: {error.message}',
                execution_id=document["executionId"],
            ) from error

    async def _backfill(
        self,
        executions: dict[str, Document],
        loaded: dict[str, dict[str, StoredStep]],
        cached: dict[str, dict[str, str]],
    ) -> None:
        documents = self._stores.documents
        missing = [
            (
                documents.cached_step(executions[execution_id], step_id, value),
                weight(value),
            )
            for execution_id, fields in cached.items()
            for step_id, text in fields.items()
            if step_id not in loaded[execution_id]
            and (value := documents.read_cached(text)) is not None
        ]
        recorded = await asyncio.gather(*starmap(self._records.record, missing))
        for document in recorded:
            if (step := self._read(document)) is not None:
                loaded[document["executionId"]][step.step_id] = step

    def _read(self, document: Document) -> StoredStep | None:
        try:
            return self._stores.documents.step(document)
        except UnreadableError as error:
            logger.warning(
                "step %s is left out: %s", document.get("_id"), error.message
            )
            return None

    def _value_to_cache(self, step: StoredStep) -> Payload:
        if step.result is None or step.status is not StepStatus.COMPLETED:
            return ""
        return self._stores.documents.cached_value(step.result)


def _size(step: StoredStep) -> int:
    if step.error is not None:
        return weight(step.error.message, step.error.traceback)
    return weight(step.result or "")


def _is_own(stored: Document, document: Document) -> bool:
    """Whether what is recorded is this very write, or an earlier try of it."""
    return stored is document or stored.get("nonce") == document["nonce"]


def _answer(future: asyncio.Future[int], answer: int) -> None:
    if not future.done():
        future.set_result(answer)


def _at(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0
