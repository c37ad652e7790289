"""The executions a worker runs now: started under a claim, ended by a settlement."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ..engine.execution_deadline import ExecutionDeadline, after_waiting, passed_limit
from ..engine.outcome import (
    fields_of,
    poisoned,
    too_late,
    unfinished,
    unstorable,
    with_its_parent,
)
from ..engine.runner import ExecutionRunner
from ..foundations.errors import SerializationError
from ..model.notices import ErrorRaised, ExecutionUpdated
from ..model.settlement import Released
from .claim_calls import ClaimCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..definitions.registry import FunctionRegistry
    from ..engine.outcome import Outcome
    from ..engine.ownership import Interruption
    from ..engine.worker_runtime import WorkerRuntime
    from ..model.options import WorkerOptions
    from ..model.records import Claim
    from ..model.settlement import Settled
    from .lease import Lease

logger = logging.getLogger("worchflow.worker")

FEW_SLOTS = 8
"""A worker of so many uses each slot at once; of more it claims several together."""
MIN_PARKED, PARKED_FOR_EACH_SLOT = 100, 10
MAX_PARKED_BYTES = 256 * 1024 * 1024
"""Bytes of records that all parked executions of a worker keep at most."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """An execution that is kept while it waits."""

    suspend: Callable[[], bool]
    """Lets it leave, if it still waits: whether it does."""
    size: int = 0
    is_sync: bool = False
    """Whether it keeps a thread."""


class ExecutionSlot:
    """The slot of one execution, as its attempt sees it."""

    __slots__ = ("_execution_id", "_is_sync", "_slots")

    def __init__(
        self, slots: ExecutionSlots, execution_id: str, *, is_sync: bool
    ) -> None:
        self._slots = slots
        self._execution_id = execution_id
        self._is_sync = is_sync

    @property
    def park_for(self) -> float:
        """Seconds for which it is kept while it waits."""
        return self._slots.keeps_for(self._execution_id)

    def park(self, suspend: Callable[[], bool], size: int) -> bool:
        """Give the slot back while it waits, if it can be kept."""
        parked = Parked(suspend=suspend, size=size, is_sync=self._is_sync)
        return self._slots.park(self._execution_id, parked)

    def ask(self) -> asyncio.Future[None]:
        """Ask for a slot again."""
        return self._slots.ask(self._execution_id)

    def take(self) -> None:
        """Have a slot again at once."""
        self._slots.take(self._execution_id)


class ExecutionSlots:
    """Runs claims in at most `concurrency` slots; a slot is free after settlement.

    An execution that only waits has none meanwhile, and is kept all the same.
    """

    def __init__(
        self,
        runtime: WorkerRuntime,
        registry: FunctionRegistry,
        options: WorkerOptions,
    ) -> None:
        self._runtime = runtime
        self._calls = ClaimCalls(runtime)
        self._registry = registry
        self._options = options
        self._slots: dict[str, asyncio.Task[None]] = {}
        """What runs or is parked, by execution."""
        self._parked: dict[str, Parked] = {}
        """What has no slot while it waits, the longest parked first."""
        self._asking: deque[tuple[str, asyncio.Future[None]]] = deque()
        """What is parked and could continue, in its order."""
        self._keeps_none = False
        """Whether nothing is parked any more: the worker stops."""
        self._runners: dict[str, ExecutionRunner] = {}
        self._quarantined: str | None = None
        self.may_be_quarantined = True
        """Whether it is worth asking for an execution for the quarantine slot."""
        self._freed = asyncio.Event()
        self._freed.set()

    @property
    def free(self) -> int:
        """How many more executions may be claimed now."""
        return max(0, self._vacant() - len(self._asking))

    def _vacant(self) -> int:
        """How many slots nothing runs in; negative if more runs than there are."""
        return self._options.concurrency - len(self._slots) + len(self._parked)

    @property
    def few_are_free(self) -> bool:
        """Whether fewer are free than half of the slots beyond `FEW_SLOTS`."""
        return 2 * self.free < self._options.concurrency - FEW_SLOTS

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the executions in the slots, and of those that are parked."""
        return frozenset(self._slots)

    @property
    def quarantine_is_free(self) -> bool:
        """Whether the slot for an execution that killed workers is free."""
        return self._quarantined is None

    async def wait_free(self) -> None:
        """Wait until a slot is free."""
        while not self.free:
            self._freed.clear()
            await self._freed.wait()

    def start(self, claim: Claim, lease: Lease) -> None:
        """Run a claim in its own slot.

        While it was made, something that was parked may have taken the slot that was
        free: then it is run if one gets free soon, else handed back.
        """
        execution_id = claim.execution.id
        if claim.worker_id != lease.worker.id or execution_id in self._slots:
            return
        slot: asyncio.Future[None] | None = None
        if self._vacant() <= 0:
            slot = self.ask(execution_id)
            self._parked[execution_id] = Parked(suspend=slot.cancel)
        task = asyncio.get_running_loop().create_task(self._run(claim, lease, slot))
        self._slots[execution_id] = task
        task.add_done_callback(partial(self._ended, execution_id))

    def interrupt(self, execution_id: str, why: Interruption) -> None:
        """End one execution's attempt, if it is running."""
        if (runner := self._runners.get(execution_id)) is not None:
            runner.attempt.scope.interrupt(why)

    def interrupt_all(self, why: Interruption) -> None:
        """End every attempt."""
        for runner in list(self._runners.values()):
            runner.attempt.scope.interrupt(why)

    def woken(self, execution_id: str) -> None:
        """Let an execution look again for what it waits for, if it is here."""
        if (runner := self._runners.get(execution_id)) is not None:
            runner.attempt.woken()

    def suspend_parked(self) -> None:
        """Let everything that waits leave, now and from now on."""
        self._keeps_none = True
        for parked in list(self._parked.values()):
            parked.suspend()

    async def drained(self) -> None:
        """Wait until nothing runs or is parked."""
        while self._slots:
            await asyncio.wait(self._slots.values())

    def abandon(self) -> None:
        """Say what still runs and is not waited for any more."""
        for execution_id in self._slots:
            logger.warning(
                "execution %s still runs at the deadline; it is not handed back before "
                "its code ends, or its claim ends with the lease and another worker "
                "takes over",
                execution_id,
                extra={"execution_id": execution_id},
            )

    def _ended(self, execution_id: str, task: asyncio.Task[None]) -> None:
        del self._slots[execution_id]
        self._parked.pop(execution_id, None)
        self._has_vacancy()
        if self._quarantined == execution_id:
            self._quarantined = None
            self.may_be_quarantined = True
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error(
                "execution %s could not be settled; it is taken up again after the "
                "next heartbeat",
                execution_id,
                extra={"execution_id": execution_id},
                exc_info=error,
            )
            self._runtime.emitter.emit(ErrorRaised(error=error))

    async def _run(
        self, claim: Claim, lease: Lease, slot: asyncio.Future[None] | None
    ) -> None:
        outcome: Outcome | None
        loop = asyncio.get_running_loop()
        claimed_at = loop.time()
        if slot is not None and not await self._gets(slot):
            outcome = unfinished(claim, Released())
        else:
            claim = after_waiting(claim, loop.time() - claimed_at)
            outcome = await self._attempt(claim, lease)
        if outcome is None or lease.lost:
            logger.warning(
                "worker %s lost its claim on execution %s and leaves it to the next",
                lease.worker.id,
                claim.execution.id,
                extra=fields_of(claim),
            )
            return
        try:
            settled = await self._calls.settle(claim, lease, outcome)
        except SerializationError as error:
            outcome = unstorable(self._runtime, claim, outcome, error)
            settled = await self._calls.settle(claim, lease, outcome)
        if settled is not None:
            self._announce(claim, outcome, settled)

    async def _attempt(self, claim: Claim, lease: Lease) -> Outcome | None:
        if (outcome := self._refused(claim)) is not None:
            return outcome
        function = self._registry.for_event(claim.execution.event_name)
        if function is None:
            return unfinished(claim, Released(delay=1.0))
        begun = await self._calls.begin(claim, lease, function)
        if begun is None:
            return None
        now = asyncio.get_running_loop().time()
        deadline = ExecutionDeadline.of(begun, now)
        if (error := passed_limit(claim, function, deadline, now)) is not None:
            return too_late(self._runtime, claim, function, error)
        slot = ExecutionSlot(self, claim.execution.id, is_sync=not function.is_async)
        runner = ExecutionRunner(self._runtime, lease, claim, function, slot, deadline)
        self._runners[claim.execution.id] = runner
        try:
            return await runner.run()
        finally:
            del self._runners[claim.execution.id]

    def _refused(self, claim: Claim) -> Outcome | None:
        """The outcome of a claim of which no code may run here; None for any other."""
        if claim.parent_has_ended:
            return with_its_parent(claim)
        deaths = claim.execution.deaths - self._options.quarantine_after
        if deaths >= self._options.quarantine_deaths:
            return poisoned(claim)
        if deaths >= 0 and not self._enter_quarantine(claim):
            # Claimed while the slot was free, adopted when it was not any more.
            return unfinished(claim, Released())
        return None

    # -- what is parked

    def keeps_for(self, execution_id: str) -> float:
        """Seconds for which an execution is kept while it waits."""
        if self._keeps_none or execution_id == self._quarantined:
            return 0.0
        return self._options.park_for

    def park(self, execution_id: str, parked: Parked) -> bool:
        """Take the slot of an execution back while it waits, until it asks for one.

        Where no more can be kept, the one leaves that was parked first; False if none
        can, for all wait for what comes soon.
        """
        rivals = self._rivals(parked)
        if rivals and not any(each.suspend() for each in rivals):
            return False
        self._parked[execution_id] = parked
        self._has_vacancy()
        return True

    def ask(self, execution_id: str) -> asyncio.Future[None]:
        """Give a parked execution a slot as soon as there is one."""
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.append((execution_id, asked))
        self._has_vacancy()
        return asked

    async def _gets(self, slot: asyncio.Future[None]) -> bool:
        """Whether a slot that was asked for gets free soon."""
        await asyncio.wait({slot}, timeout=self._options.park_for)
        slot.cancel()
        return not slot.cancelled()

    def take(self, execution_id: str) -> None:
        """Give a parked execution a slot, even if there is none."""
        self._parked.pop(execution_id, None)

    def _has_vacancy(self) -> None:
        """Give free slots to what asked for them; the rest is for new executions."""
        while self._asking and (self._vacant() > 0 or self._asking[0][1].done()):
            execution_id, asked = self._asking.popleft()
            if not asked.done():
                self._parked.pop(execution_id, None)
                asked.set_result(None)
        self._freed.set()

    def _rivals(self, new: Parked) -> Sequence[Parked]:
        """Those of which one has to leave for a new one, the longest parked first."""
        if self._keeps_none:
            return [new]
        every = [*self._parked.values(), new]
        most = self._options.max_parked
        if most is None:
            most = max(MIN_PARKED, PARKED_FOR_EACH_SLOT * self._options.concurrency)
        if len(every) > most or sum(each.size for each in every) > MAX_PARKED_BYTES:
            return every
        # Each keeps a thread, and what runs needs as many again.
        sync = [each for each in every if each.is_sync]
        too_many = new.is_sync and len(sync) > self._options.concurrency
        return sync if too_many else ()

    def _enter_quarantine(self, claim: Claim) -> bool:
        if self._quarantined is not None:
            return False
        self._quarantined = claim.execution.id
        return True

    def _announce(self, claim: Claim, outcome: Outcome, settled: Settled) -> None:
        if not settled.applied:
            logger.warning(
                "execution %s was settled by somebody else first; this worker's "
                "outcome is dropped",
                claim.execution.id,
                extra=fields_of(claim),
            )
            return
        emitter, notice = self._runtime.emitter, outcome.notice
        if settled.status is notice.status and not emitter.listens_to(
            ExecutionUpdated.name
        ):
            emitter.emit(notice)
            return
        update = ExecutionUpdated(
            execution_id=notice.execution_id,
            event_name=notice.event_name,
            attempt=notice.attempt,
            status=settled.status or notice.status,
        )
        # Somebody may have cancelled it meanwhile: then it did not end as said.
        if update.status is notice.status and notice != update:
            emitter.emit(notice)
        emitter.emit(update)
