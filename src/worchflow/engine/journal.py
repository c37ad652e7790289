"""What is recorded of one execution: identities of steps, first uses, checkpoints."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..foundations.backoff import Backoff
from ..foundations.errors import StoreUnavailable
from ..foundations.ids import step_name
from ..model.records import StoredStep
from .replay import Replay
from .step_ids import StepIdAllocator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definitions.function import AnyFunction
    from ..definitions.step_call import NamedCall
    from ..model.records import Claim
    from ..model.waits import NewWait, StoredWait
    from .operation import Operation
    from .scope import Scope
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
                await self._first_use(step_id).wait()
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
        backoff = Backoff(self._runtime.random)
        while True:
            try:
                (stored,) = await self._runtime.store.waits.add(self._claim, [wait])
            except StoreUnavailable as error:
                pause = backoff.pause()
                self._report_unrecorded(wait, "waits to be stored", error, pause)
                await asyncio.sleep(pause)
            else:
                self.waits[wait.step_id] = stored
                return stored

    async def remove_waits(self, *, except_for: frozenset[str]) -> None:
        """Have the store forget the waits that are over, or not asked for any more.

        If it does not answer, a later suspension or the end of the execution does it.
        """
        over = [step_id for step_id in self.waits if step_id not in except_for]
        if over:
            with suppress(StoreUnavailable):
                await self._runtime.store.waits.remove(self._claim, over)

    def size(self) -> int:
        """About how many bytes its records take."""
        return sum(len(step.result or "") + 500 for step in self._recorded.values())

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
                self._report_unrecorded(
                    step, "is done and waits to be recorded", error, pause
                )
                await asyncio.sleep(pause)
            try:
                stored = await self._runtime.store.steps.checkpoint(self._claim, step)
            except StoreUnavailable as failure:
                error = failure
            else:
                self._recorded[step.step_id] = stored
                return stored

    def _report_unrecorded(
        self,
        step: StoredStep | NewWait,
        what: str,
        error: StoreUnavailable,
        pause: float,
    ) -> None:
        key = step.key if isinstance(step, StoredStep) else None
        self._runtime.repeated.warning(
            logger,
            "%s; step %s of execution %s %s, next try in %.1f s",
            error,
            step_name(step.title, key),
            self._claim.execution.id,
            what,
            pause,
            extra={**self._fields, "step": step.title},
        )


class _FirstUse:
    """What other uses of a step wait for: the end of the use that does it."""

    __slots__ = ("_ended", "continues")

    def __init__(self) -> None:
        self._ended: asyncio.Future[None] | None = None
        self.continues: asyncio.Future[Any] | None = None
        """What continues although the use was cancelled."""

    async def wait(self) -> None:
        """Wait until nothing of it runs any more; raises its failure."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._ended)

    def end(self, failure: Exception | None) -> None:
        """Tell the others that it has ended."""
        if self._ended is None:
            return
        if failure is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(failure)
            self._ended.exception()  # seen here, whether or not somebody waits
        self._ended = None
