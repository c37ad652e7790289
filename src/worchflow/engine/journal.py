"""What is recorded of one execution: identities of steps, first uses, checkpoints."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..foundations.backoff import Backoff
from ..foundations.errors import StoreUnavailable
from ..foundations.ids import step_name
from ..model.step_kind import StepKind
from .ownership import Interrupted, Interruption
from .replay import Replay
from .step_ids import StepIdAllocator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from ..definitions.calls import NamedCall
    from ..definitions.function import AnyFunction
    from ..foundations.types import T
    from ..model.children import Child
    from ..model.events import LogLook, NewEvent, StoredEvent
    from ..model.records import Claim, StoredStep
    from ..model.waits import NewWait, StoredWait
    from .open_children import OpenChildren
    from .operation import Operation
    from .scope import Scope
    from .sending import Accepted, Prepared
    from .worker_runtime import WorkerRuntime

logger = logging.getLogger("worchflow.engine")


class Journal:
    """The records of one execution, as one attempt reads and extends them.

    Saves that outlast their caller are kept in `scope`; `fields` is what every log
    line about the attempt carries.
    """

    __slots__ = (
        "_claim",
        "_fields",
        "_first_uses",
        "_ids",
        "_recorded",
        "_runtime",
        "_scope",
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
        fields: Mapping[str, object],
    ) -> None:
        self._runtime = runtime
        self._claim = claim
        self._scope = scope
        self._fields = fields
        self._recorded = dict(claim.steps)
        self.waits: dict[str, StoredWait] = dict(claim.waits)
        """The waits that the store knows, by step id."""
        self.told_at: dict[str, float] = {}
        """When the store told of those of this attempt, on the event loop's clock."""
        self._first_uses: dict[str, _FirstUse | None] = {}
        """The steps that are being done; with a value once something waits for it."""
        self._ids = StepIdAllocator(
            reuse=function.repeat_titles == "reuse",
            execution_id=claim.execution.id,
        )
        self.replay = Replay(
            self._recorded,
            told=function.log_replays,
            clock=runtime.clock.monotonic,
        )

    def identify(self, call: NamedCall, user: object) -> str:
        """The step id of this use; `user` is the calling task or thread."""
        step_id = call.step_id
        if step_id is None:
            step_id = self._ids.identify(call.title, call.key, user)
        self.replay.ask_for(step_id)
        return step_id

    def find(self, step_id: str) -> StoredStep | None:
        """What is recorded under an identity. Asked from any thread."""
        return self._recorded.get(step_id)

    async def once(self, operation: Operation) -> Any:
        """The operation's value: of its record, or done by the first use of the step.

        Other uses meanwhile wait for the first. One that was cancelled leaves no
        record, and the next one does it then; one that failed fails them all.
        """
        step_id = operation.step_id
        while (recorded := self._recorded.get(step_id)) is None:
            if step_id in self._first_uses:
                first = self._first_use(step_id).end_of()
                await self._scope.follow(operation, first)
                continue
            self._first_uses[step_id] = None
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
        self._recorded[step.step_id] = stored
        return stored

    async def add_wait(self, wait: NewWait) -> StoredWait:
        """Have the store know a wait; what it knows. Repeated until it answers."""

        async def add() -> StoredWait:
            await self._flush()
            (stored,) = await self._runtime.store.waits.add(self._claim, [wait])
            return stored

        stored = await self._until_answered(add, wait.title, "waits to be stored")
        self.waits[wait.step_id] = stored
        self.told_at[wait.step_id] = asyncio.get_running_loop().time()
        return stored

    async def find_event(self, wait: StoredWait, passed: Collection[str]) -> LogLook:
        """What the log of events has for a wait. Repeated until the store answers."""
        events = self._runtime.store.events
        return await self._until_answered(
            lambda: events.find(self._claim, wait, passed),
            wait.title,
            "looks for its event",
        )

    async def take_event(self, wait: StoredWait, event: StoredEvent) -> bool:
        """Keep an event for a wait; whether it is this wait's.

        Repeated until the store answers.
        """
        events = self._runtime.store.events
        return await self._until_answered(
            lambda: events.take(self._claim, wait.step_id, event.id),
            wait.title,
            f"takes event {event.id}",
        )

    async def send(self, messages: Sequence[Prepared], title: str) -> None:
        """Have executions accepted, after all that was recorded before.

        An id that exists is taken for what an earlier try has sent. Repeated until the
        store answers.
        """

        async def accept() -> None:
            await self._flush()
            await self._runtime.sender.insert(messages, first_counts=True)

        await self._until_answered(accept, title, "sends its messages")

    async def start_children(
        self, messages: Sequence[Prepared], title: str
    ) -> list[Accepted]:
        """As `send`, of children: whatever ends this execution knows of them."""

        async def accept() -> list[Accepted]:
            await self._flush()
            if not await self._runtime.store.children.announce(self._claim):
                self._scope.interrupt(Interruption.LOST)
                raise Interrupted
            return await self._runtime.sender.insert(messages, first_counts=True)

        return await self._until_answered(accept, title, "starts its children")

    async def find_child(
        self, children: OpenChildren, child_id: str, title: str
    ) -> Child | None:
        """How a child stands now. Repeated until the store answers."""
        what = f"looks for child {child_id}"
        return await self._until_answered(lambda: children.find(child_id), title, what)

    async def retry_child(self, child_id: str, title: str) -> None:
        """Have a child run again that failed in an earlier life of this execution.

        Repeated until the store answers.
        """

        async def retry() -> None:
            await self._flush()
            await self._runtime.store.children.retry(self._claim, child_id)

        await self._until_answered(retry, title, f"retries child {child_id}")

    async def cancel_child(self, child_id: str, reason: str | None, title: str) -> None:
        """Cancel a child, unless it has ended. Repeated until the store answers."""

        async def cancel() -> None:
            await self._flush()
            await self._runtime.store.executions.cancel(child_id, reason)

        await self._until_answered(cancel, title, f"cancels child {child_id}")

    async def append_event(self, event: NewEvent, title: str) -> StoredEvent:
        """Append an event to the log, for a wait of this execution; what is stored.

        Repeated until the store answers.
        """
        events = self._runtime.store.events
        what = f"appends event {event.id}"
        return await self._until_answered(lambda: events.append(event), title, what)

    async def wakeups(self) -> int:
        """How often the execution was woken."""
        return await self._runtime.store.waits.wakeups(self._claim.execution.id)

    async def remove_waits(self, *, except_for: frozenset[str]) -> None:
        """Have the store forget the waits that are over, or not asked for any more.

        Those of tokens stay: somebody may hold them. If it does not answer, a later
        suspension or the end of the execution does it.
        """
        over = [
            step_id
            for step_id, wait in self.waits.items()
            if step_id not in except_for and wait.kind is not StepKind.TOKEN
        ]
        if over:
            with suppress(StoreUnavailable):
                await self._runtime.store.waits.remove(self._claim, over)

    def size(self) -> int:
        """About how many bytes its records take."""
        return sum(len(step.result or "") + 500 for step in self._recorded.values())

    def forget(self) -> None:
        """Forget the tasks and threads that used titles."""
        self._ids.forget()

    async def _flush(self) -> None:
        """Have all that is recorded survive, before anything leaves the execution.

        An attempt that has other values than are recorded ends here: what would leave
        it is not what the next attempt, which has the recorded ones, would make.
        """
        if not await self._runtime.store.steps.flush(self._claim):
            self._scope.interrupt(Interruption.OUTDATED)
            raise Interrupted

    def _first_use(self, step_id: str) -> _FirstUse:
        first = self._first_uses[step_id]
        if first is None:
            first = self._first_uses[step_id] = _FirstUse()
        return first

    def _end_first_use(self, step_id: str, failure: Exception | None = None) -> None:
        first = self._first_uses[step_id]
        if first is not None and (until := first.continues) is not None:
            first.continues = None
            until.add_done_callback(lambda _: self._end_first_use(step_id))
            return
        del self._first_uses[step_id]
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
                self._report_unanswered(step.title, step.key, what, error, pause)
                await asyncio.sleep(pause)
            try:
                stored = await self._runtime.store.steps.checkpoint(self._claim, step)
            except StoreUnavailable as failure:
                error = failure
            else:
                self._recorded[step.step_id] = stored
                return stored

    async def _until_answered(
        self, call: Callable[[], Awaitable[T]], title: str, what: str
    ) -> T:
        """Make a call of the store for the step of a title until it answers."""
        backoff = Backoff(self._runtime.random)
        while True:
            try:
                return await call()
            except StoreUnavailable as error:
                pause = backoff.pause()
                self._report_unanswered(title, None, what, error, pause)
            await asyncio.sleep(pause)

    def _report_unanswered(
        self,
        title: str,
        key: str | None,
        what: str,
        error: StoreUnavailable,
        pause: float,
    ) -> None:
        self._runtime.repeated.warning(
            logger,
            "%s; step %s of execution %s %s, next try in %.1f s",
            error,
            step_name(title, key),
            self._claim.execution.id,
            what,
            pause,
            extra={**self._fields, "step": title},
        )


class _FirstUse:
    """What other uses of a step wait for: the end of the use that does it."""

    __slots__ = ("_waiting", "continues")

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self.continues: asyncio.Future[Any] | None = None
        """What continues although the use was cancelled."""

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
