"""`step.run`: call a function, with the step's own retries, and record its result."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from ...definitions.calls import MISSING
from ...definitions.middleware import nest_step
from ...definitions.retry import decide_retry
from ...foundations.errors import InvalidInput
from ...model.step_kind import StepKind
from ...model.waits import NewWait
from ...serialization.annotations import MISSING as UNANNOTATED
from ...serialization.annotations import return_type
from ..coroutines import discard, is_being_cancelled
from ..own_context import InOwnContext
from ..ownership import Interrupted
from ..parking import Waiting
from ..step_function import StepFunction
from ..step_results import (
    fatal,
    note_failure,
    record_failure,
    record_result,
    refuse_other_kind,
    replay,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from ...definitions.calls import StepCall
    from ...model.records import StoredStep
    from ...model.waits import StoredWait
    from ..attempt import Attempt
    from ..threads import Executor, ThreadCall

logger = logging.getLogger("worchflow.engine")


class Run:
    """One use of `step.run` in one attempt; plain functions run in `threads`."""

    __slots__ = (
        "_as_type",
        "_attempt",
        "_function",
        "_is_withdrawn",
        "_threads",
        "call",
        "started_at",
        "step_id",
        "tries",
    )
    kind: ClassVar[StepKind] = StepKind.RUN

    # Made only for what is not replayed.
    _as_type: Any
    _function: StepFunction

    def __init__(
        self, attempt: Attempt, call: StepCall, step_id: str, threads: Executor
    ) -> None:
        self.call = call
        self.step_id = step_id
        self.tries = 0
        self.started_at: datetime | None = None
        self._attempt = attempt
        self._threads = threads
        self._is_withdrawn = False

    def recorded(self) -> StoredStep | None:
        """Its record."""
        return self._attempt.journal.find(self.step_id)

    def records(self) -> Sequence[StoredStep]:
        """Its record, if there is one."""
        found = self.recorded()
        return () if found is None else (found,)

    def withdraw(self) -> None:
        """Let what the function makes of its cancellation not count."""
        self._is_withdrawn = True

    def given_up(self) -> Sequence[str]:
        """Its own identity."""
        return (self.step_id,)

    async def abandon(self, reason: str) -> None:
        """Nothing: its function was cancelled."""

    def replay(self, recorded: StoredStep) -> Any:
        """The recorded result as the type that the code names now."""
        return replay(self._attempt, self, recorded, self._type)

    async def do(self) -> Any:
        """The function's result, recorded before this returns."""
        attempt, call = self._attempt, self.call
        # Before the function runs: an annotation that cannot be read has no effect.
        self._as_type = self._type()
        self.started_at = attempt.runtime.clock.now()
        self._function = StepFunction(attempt, call, self.step_id, self._threads)
        failed: Exception | None = None
        try:
            try:
                if (stored := attempt.journal.waits.get(self.step_id)) is not None:
                    await self._wait(stored)
                value, failed = await InOwnContext(self._try())
            except Exception as error:
                note_failure(attempt, self, error)
                raise
            if failed is not None:
                return await record_failure(attempt, self, failed)
            return await record_result(attempt, self, value, self._as_type)
        finally:
            failed = None  # It holds this frame.

    async def _try(self) -> tuple[Any, Exception | None]:
        """Call the function, with the step's own retries if it has any."""
        runtime, policy = self._attempt.runtime, self.call.retries
        call: Callable[[], Awaitable[Any]] = self._function.result
        if runtime.middleware:
            call = nest_step(
                runtime.middleware, self._attempt.ctx, self.call.title, call
            )
        failure: Exception | None = None
        while True:
            self.tries += 1
            try:
                value = await call()
            except BaseException as error:
                failure = self._as_failure(error)
                if failure is None or (policy is None and failure is error):
                    raise
                if policy is None:
                    raise failure from error
                delay = decide_retry(failure, self.tries, policy, runtime.random)
                if delay is None or not self._attempt.has_time_for(delay):
                    return None, failure
                self._log_retry(failure, delay)
                after = f", after {type(failure).__name__}"
            else:
                self._refuse_swallowed()
                return value, None
            finally:
                failure = None  # It holds this frame.
                if self._function.left_behind is not None:
                    self._keep_thread(self._function.left_behind)
            await self._pause(delay, after)

    async def _pause(self, delay: float, after: str) -> None:
        """Wait for the next try.

        The store knows of it unless it comes soon: then a crash begins anew to count.
        """
        attempt = self._attempt
        if delay <= attempt.parking.keeps_for:
            return await attempt.scope.pause(delay)
        wait = NewWait(
            step_id=self.step_id,
            kind=self.kind,
            title=self.call.title,
            timeout=delay,
            tries=self.tries,
        )
        return await self._wait(await attempt.journal.add_wait(wait), after)

    async def _wait(self, stored: StoredWait, after: str = "") -> None:
        """Wait until the next try is due that the store knows of, and for a slot."""
        attempt = self._attempt
        refuse_other_kind(attempt, self, stored.kind)
        self.tries = stored.tries
        name = f"try {stored.tries + 1} of step {self.call.name}{after}"
        since = attempt.journal.told_at.get(self.step_id, attempt.began)
        at = since + (stored.left or 0.0)
        await attempt.parking.wait(Waiting(self, self.kind, name, at, stored.deadline))
        await attempt.parking.resume()

    def _as_failure(self, error: BaseException) -> Exception | None:
        """What counts as the function's failure; None for what has to pass through."""
        if isinstance(error, Interrupted | GeneratorExit):
            return None
        self._refuse_swallowed()
        if isinstance(error, Exception):
            return error
        if isinstance(error, SystemExit):
            return _caused("the step called sys.exit", error)
        if isinstance(error, asyncio.CancelledError) and not is_being_cancelled():
            return _caused("the step was cancelled from inside", error)
        return None

    def _refuse_swallowed(self) -> None:
        """What a function makes of its cancellation does not count."""
        if self._attempt.scope.is_over:
            raise Interrupted
        if self._is_withdrawn:
            raise asyncio.CancelledError

    def _keep_thread(self, thread: ThreadCall) -> None:
        self._function.left_behind = None
        late = self._attempt.scope.keep(self._record_late(thread))
        self._attempt.journal.hold(self.step_id, late)

    async def _record_late(self, thread: ThreadCall) -> None:
        """Record what a thread returns after its caller was cancelled."""
        try:
            value = await thread.future
        finally:
            del thread  # It holds an error that holds this frame.
        if inspect.isawaitable(value):
            discard(value)
        elif not self._function.knows_its_end:
            await record_result(self._attempt, self, value, self._as_type)

    def _type(self) -> Any:
        if self.call.as_type is not MISSING:
            return self.call.as_type
        try:
            named = return_type(self.call.function)
        except InvalidInput as error:
            raise fatal(self._attempt, error) from error.__cause__
        return Any if named is UNANNOTATED else named

    def _log_retry(self, failure: Exception, delay: float) -> None:
        logger.warning(
            "step %s of execution %s failed on try %d (%s); its next try starts in "
            "%.3g s",
            self.call.name,
            self._attempt.claim.execution.id,
            self.tries,
            type(failure).__name__,
            delay,
            extra={**self._attempt.fields, "step": self.call.title},
        )


def _caused(what: str, error: BaseException) -> RuntimeError:
    failure = RuntimeError(f"{what} ({error})" if str(error) else what)
    failure.__cause__ = error
    return failure
