"""What is recorded of one execution: identities of steps, first uses, checkpoints."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..foundations.backoff import Backoff
from ..foundations.errors import PayloadTooLarge, StoreUnavailable
from ..model.step_kind import StepKind
from .replay import Replay
from .step_ids import StepIdAllocator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..definitions.calls import NamedCall
    from ..definitions.function import AnyFunction
    from ..model.records import Claim, StoredStep
    from ..model.waits import NewWait, StoredWait
    from .operation import Operation
    from .scope import Scope
    from .store_calls import StoreCalls
    from .worker_runtime import WorkerRuntime


RECORD_BYTES = 500
"""About so many bytes a record takes beside its payload."""


class Journal:
    """The records of one execution, as one attempt reads and extends them.

    Saves that outlast their caller are kept in `scope`.
    """

    __slots__ = (
        "_calls",
        "_claim",
        "_first_uses",
        "_ids",
        "_recorded",
        "_recorded_uses",
        "_runtime",
        "_scope",
        "_size",
        "left_out",
        "replay",
        "told_at",
        "waits",
    )

    def __init__(
        self,
        runtime: WorkerRuntime,
        claim: Claim,
        function: AnyFunction,
        scope: Scope,
        calls: StoreCalls,
    ) -> None:
        self._runtime = runtime
        self._claim = claim
        self._scope = scope
        self._calls = calls
        self._recorded = dict(claim.steps)
        self._size = sum(map(_size_of, self._recorded.values()))
        self.waits: dict[str, StoredWait] = dict(claim.waits)
        """The waits that the store knows, by step id."""
        self.told_at: dict[str, float] = {}
        """When the store told of those of this attempt, on the event loop's clock."""
        self._first_uses: dict[str, _FirstUse | None] = {}
        """The steps that are being done; with a value once something waits for it."""
        self._recorded_uses = 0
        """Those of them that are recorded already."""
        self._ids = StepIdAllocator(
            reuse=function.repeat_titles == "reuse",
            execution_id=claim.execution.id,
        )
        self.left_out: frozenset[str] = frozenset()
        """Steps that have lost a race: the events that they have taken are free."""
        self.replay = Replay(
            self._recorded,
            told=function.log_replays,
            clock=runtime.clock.monotonic,
        )

    def identify(self, call: NamedCall, user: object) -> str:
        """The step id of this use; `user` is the calling task or thread."""
        if call.step_id is not None:
            return call.step_id
        return self._ids.identify(call.title, call.key, user)

    def find(self, step_id: str) -> StoredStep | None:
        """What is recorded under an identity. Asked from any thread."""
        return self._recorded.get(step_id)

    def is_in_use(self, step_id: str) -> bool:
        """Whether code waits for a step: its first use, or one that follows this."""
        if step_id in self._first_uses:
            first = self._first_uses.get(step_id)
            if first is None or not first.is_over:
                return True
        following = tuple(self._scope.following.values())
        return any(each.step_id == step_id for each in following)

    async def once(self, operation: Operation) -> Any:
        """The operation's value: of its record, or done by the first use of the step.

        Other uses meanwhile wait for the first. One that was cancelled leaves no
        record, and the next one does it then; one that failed fails them all.
        """
        step_id = operation.step_id
        while (recorded := operation.recorded()) is None:
            if step_id in self._first_uses:
                first = self._first_use(step_id).end_of()
                await self._scope.follow(operation, first)
                continue
            self._first_uses[step_id] = None
            self._recorded_uses += step_id in self._recorded
            failure: Exception | None = None
            try:
                return await operation.do()
            except Exception as error:
                failure = error
                raise
            finally:
                self._end_first_use(step_id, failure)
                failure = None  # It holds this frame.
        return operation.replay(recorded)

    def hold(self, step_id: str, until: asyncio.Future[Any]) -> None:
        """Let no further use of an unrecorded step begin before `until` is done.

        For what continues although the first use was cancelled: a thread, a save.
        """
        if step_id in self._first_uses:
            self._first_use(step_id).continues = until

    async def checkpoint(self, step: StoredStep) -> StoredStep:
        """Record a step durably and return what is recorded: the first write wins.

        Repeated until a store answers. When the caller is cancelled the step has
        happened all the same, so it is recorded without it.
        """
        try:
            try:
                stored = await self._runtime.store.steps.checkpoint(self._claim, step)
            except StoreUnavailable as error:
                return await self._checkpoint_again(step, error)
        except asyncio.CancelledError:
            self.hold(step.step_id, self._scope.keep(self._checkpoint_again(step)))
            raise
        self._add(stored)
        return stored

    async def add_wait(self, wait: NewWait) -> StoredWait:
        """Have the store know a wait; what it knows. Repeated until it answers."""

        async def add() -> StoredWait:
            await self._calls.flush()
            (stored,) = await self._runtime.store.waits.add(self._claim, [wait])
            return stored

        stored = await self._calls.until_answered(add, wait.title, "waits to be stored")
        self.waits[wait.step_id] = stored
        self.told_at[wait.step_id] = asyncio.get_running_loop().time()
        return stored

    def ask_for(self, step_id: str) -> None:
        """Take note of a step that the handler asks for; from any thread."""
        self.replay.ask_for(step_id)
        if step_id in self.left_out:
            # One title for the same step again: it is asked for after all.
            self.left_out = self.left_out.difference((step_id,))

    def leave_out(self, step_ids: Iterable[str]) -> None:
        """Give up steps that have lost a race; from any thread."""
        for each in step_ids:
            self.replay.leave_out(each)
        self.left_out = self.left_out.union(step_ids)

    async def forget_waits(self, step_ids: Iterable[str]) -> None:
        """Have the store forget waits that are over; those of tokens stay.

        Somebody may hold these. If it does not answer, a later suspension or the end of
        the execution does it.
        """
        over = [
            step_id
            for step_id in step_ids
            if (wait := self.waits.get(step_id)) is not None
            and wait.kind is not StepKind.TOKEN
        ]
        for each in over:
            del self.waits[each]
        if over:
            with suppress(StoreUnavailable):
                await self._runtime.store.waits.remove(self._claim, over)

    async def forget_idle_waits(self, waited_for: Collection[str]) -> None:
        """The same at a suspension, for all waits but those that it is left for.

        That for a child without a record yet stays: its time goes on.
        """
        await self.forget_waits(
            step_id
            for step_id, wait in list(self.waits.items())
            if step_id not in waited_for
            and (wait.kind is not StepKind.INVOKE or self.find(step_id) is not None)
        )

    def size(self) -> int:
        """About how many bytes its records take."""
        return self._size

    def refuse(self, more: int, name: str) -> None:
        """`PayloadTooLarge` if so many more steps would be too many, or too large.

        Those that are being done count as recorded. `name` is that of the first.
        """
        limits, steps = self._runtime.payloads.limits, len(self._recorded)
        begun = len(self._first_uses) - self._recorded_uses
        count, size = steps + begun + more, self._size
        if count <= limits.execution_steps and size <= limits.execution_bytes:
            return
        id_ = self._claim.execution.id
        if count > limits.execution_steps:
            size, limit = count, limits.execution_steps
            what = f"has {steps} recorded steps: {count} are more than its limit of"
            what = f"{what} {limit}, PayloadLimits.execution_steps"
        else:
            limit = limits.execution_bytes
            what = f"has {size} bytes of recorded steps, more than its limit of {limit}"
            what = f"{what}, PayloadLimits.execution_bytes"
        raise PayloadTooLarge(
            f"step {name} does not start: execution {id_} {what}. Give parts of the "
            "work to children, which have steps of their own",
            field="steps",
            size=size,
            limit=limit,
        )

    def forget(self) -> None:
        """Forget the tasks and threads that used titles."""
        self._ids.forget()

    def _first_use(self, step_id: str) -> _FirstUse:
        first = self._first_uses[step_id]
        if first is None:
            first = self._first_uses[step_id] = _FirstUse()
        return first

    def _end_first_use(self, step_id: str, failure: Exception | None = None) -> None:
        first = self._first_uses[step_id]
        if first is not None and (until := first.continues) is not None:
            first.continues, first.is_over = None, True
            until.add_done_callback(lambda _: self._end_first_use(step_id))
            return
        del self._first_uses[step_id]
        self._recorded_uses -= step_id in self._recorded
        if first is not None:
            first.end(failure)

    async def _checkpoint_again(
        self, step: StoredStep, error: StoreUnavailable | None = None
    ) -> StoredStep:
        """Record until a store answers; `error` is what the last try raised."""
        backoff = Backoff(self._runtime.random)
        while True:
            if error is not None:
                pause = backoff.pause()
                what = "is done and waits to be recorded"
                self._calls.report_unanswered(step.title, step.key, what, error, pause)
                await asyncio.sleep(pause)
            try:
                stored = await self._runtime.store.steps.checkpoint(self._claim, step)
            except StoreUnavailable as failure:
                error = failure
            else:
                self._add(stored)
                return stored

    def _add(self, stored: StoredStep) -> None:
        step_id = stored.step_id
        if step_id in self._first_uses and step_id not in self._recorded:
            self._recorded_uses += 1
        self._recorded[step_id] = stored
        self._size += _size_of(stored)


def _size_of(step: StoredStep) -> int:
    """About how many bytes a record takes in memory."""
    error = step.error
    text = 0 if error is None else len(error.message) + len(error.traceback)
    return len(step.result or "") + text + RECORD_BYTES


class _FirstUse:
    """What other uses of a step wait for: the end of the use that does it."""

    __slots__ = ("_waiting", "continues", "is_over")

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self.continues: asyncio.Future[Any] | None = None
        """What continues although the use was cancelled."""
        self.is_over = False
        """Whether only what continues is left of it."""

    def end_of(self) -> asyncio.Future[None]:
        """Done when nothing of it runs any more; with its failure."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def end(self, failure: Exception | None) -> None:
        """Tell the others that it has ended."""
        for future in self._waiting:
            if future.done():
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
        self._waiting.clear()
