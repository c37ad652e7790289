"""Runs one claimed execution from its event to a settlement."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..definitions.context import Context, ReceivedEvent, SyncContext
from ..definitions.middleware import nest_execution
from ..foundations.durations import format_duration
from ..foundations.errors import (
    EventValidationError,
    InvalidInput,
    NonRetryable,
    SerializationError,
)
from ..model.notices import (
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionUpdated,
)
from ..model.records import ExecutionStatus
from ..model.settlement import UNFINISHED, Cancelled, Completed, Released, Suspended
from ..serialization.plain_json import with_article
from .attempt import Attempt
from .context_calls import ContextCalls
from .coroutines import discard, is_being_cancelled, is_coroutine_function
from .execution_deadline import deadline_error
from .outcome import Outcome, failed_outcome, recorded, unfinished
from .ownership import Interrupted, Interruption
from .sending import CURRENT_HEADERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from ..definitions.function import AnyFunction
    from ..model.records import Claim
    from .execution_deadline import ExecutionDeadline
    from .ownership import Ownership
    from .slot import Slot
    from .worker_runtime import WorkerRuntime

logger = logging.getLogger("worchflow.engine")

PAUSE_FACTOR = 10.0
"""So many times as long as a replay took is an execution left alone after it: replaying
takes no more than a tenth of the time, whatever wakes it and how often."""
RECORDED_AT_ONCE = 100
"""Failures that are recorded side by side before a suspension."""
MIN_REPLAY_SECONDS = 0.01
"""Seconds; what is shorter counts as nothing."""


class ExecutionRunner:
    """One claim's attempt. `run` may be called once."""

    def __init__(
        self,
        runtime: WorkerRuntime,
        ownership: Ownership,
        claim: Claim,
        function: AnyFunction,
        slot: Slot,
        deadline: ExecutionDeadline | None = None,
    ) -> None:
        self.attempt = Attempt(runtime, ownership, claim, function, slot, deadline)
        self._runtime = runtime
        self._claim = claim
        self._function = function

    async def run(self) -> Outcome | None:
        """Run the handler to an outcome; None when the claim was lost.

        When this returns, no code of the attempt runs any more.
        """
        started_at = self._claim.execution.attempt_started_at
        if started_at is None:
            started_at = self._runtime.clock.now()
        else:
            self._runtime.parking.replayed += 1
        try:
            outcome = await self._run(started_at)
        except Exception as error:
            logger.exception(
                "attempt %d of execution %s broke the library; it counts as failed",
                self.attempt.number,
                self._claim.execution.id,
                extra=self.attempt.fields,
            )
            await self.attempt.scope.close()
            outcome = failed_outcome(self.attempt, error)
        finally:
            self.attempt.forget()
        return outcome and recorded(outcome, self.attempt, started_at)

    async def _run(self, started_at: datetime) -> Outcome | None:
        attempt = self.attempt
        try:
            attempt.ctx = self._context()
        except SerializationError as error:
            unfit = EventValidationError(
                f"{error}. It was sent by a program that does not know the function's "
                "event type, or the type has changed since",
                field="data",
                execution_id=self._claim.execution.id,
            )
            return failed_outcome(attempt, unfit, final=True)
        self._announce()
        handler = attempt.loop.create_task(self._handle(attempt.ctx))
        attempt.scope.begin_handler(handler)
        await self._until_ended()
        outcome = await self._outcome(handler, started_at)
        if outcome is not None and not isinstance(outcome.settlement, UNFINISHED):
            attempt.journal.replay.tell_held()
        return outcome

    async def _until_ended(self) -> None:
        """Wait for the handler, but not longer than it may take."""
        attempt, deadline, timer = self.attempt, self.attempt.deadline, None
        if deadline is not None:
            passed = Interruption.DEADLINE
            timer = attempt.loop.call_at(deadline.ends, attempt.time_out, passed)
        if attempt.running_time is not None:
            attempt.running_time.start()
        try:
            await attempt.scope.ended
        finally:
            if attempt.running_time is not None:
                attempt.running_time.stop()
            if timer is not None:
                timer.cancel()

    async def _handle(self, ctx: Any) -> Any:
        attempt, function = self.attempt, self._function
        CURRENT_HEADERS.set(ctx.headers)
        if not attempt.ownership.holds():
            await attempt.ownership.regain()

        call: Callable[[Any], Awaitable[Any]]
        if not function.is_async:
            call = self._in_thread
        elif is_coroutine_function(function.handler):
            call = function.handler
        else:
            call = self._on_loop
        if self._runtime.middleware:
            call = nest_execution(self._runtime.middleware, call)
        try:
            value = await call(ctx)
            await attempt.scope.join()
        except SystemExit as exit_:
            raise RuntimeError(f"the handler called sys.exit({exit_})") from exit_
        except asyncio.CancelledError as error:
            if attempt.scope.is_over or is_being_cancelled():
                raise
            raise RuntimeError("the handler was cancelled from inside") from error
        return value

    async def _on_loop(self, ctx: Any) -> Any:
        """What a plain function around an `async def` gives."""
        value = self._function.handler(ctx)
        if inspect.isawaitable(value):
            return await value
        raise NonRetryable(
            f"the handler of {self._function.id} is an async def inside a plain "
            f"wrapper, which returned {with_article(value)} instead of an "
            "awaitable: let the wrapper return what it wraps, or be an async def too; "
            "or, if it is meant to run the handler in a thread, annotate its own "
            "parameter as SyncContext[...] and leave out functools.wraps"
        )

    async def _in_thread(self, ctx: Any) -> Any:
        attempt, handler = self.attempt, self._function.handler

        def called() -> Any:
            attempt.handler_thread = threading.get_ident()
            return handler(ctx)

        call = attempt.scope.in_thread(self._runtime.handler_threads, called)
        attempt.scope.handler_call = call.future
        try:
            return self._plain(await call.result())
        finally:
            del call  # It holds an error that holds this frame.

    def _plain(self, value: Any) -> Any:
        """The result of a plain handler; not a coroutine that nobody would await."""
        if inspect.isawaitable(value):
            discard(value)
            raise NonRetryable(
                f"the handler of {self._function.id} is called as a plain function, "
                "but returned an awaitable: make it an async def, or annotate its "
                "parameter as Context[...]"
            )
        return value

    async def _outcome(
        self, handler: asyncio.Future[Any], started_at: datetime
    ) -> Outcome | None:
        attempt, scope = self.attempt, self.attempt.scope
        # An interrupted handler may return something all the same: that is what it
        # makes of its cancellation, and no result.
        why = scope.interruption
        await scope.close()
        if handler.done() and not handler.cancelled():
            # asyncio need not report it again.
            self._tell_of_cleanup(why, handler.exception())
        if Interruption.LOST in (why, scope.interruption):
            return None
        if attempt.fatal is not None:
            return failed_outcome(attempt, attempt.fatal, final=True)
        match why:
            case Interruption.TIMEOUT:
                outcome = failed_outcome(attempt, self._timeout())
            case Interruption.DEADLINE if attempt.deadline is not None:
                error = deadline_error(self._claim, self._function, attempt.deadline)
                attempt.note_timeout(error)
                outcome = failed_outcome(attempt, error, final=True)
            case Interruption.CANCELLED:
                outcome = unfinished(self._claim, Cancelled())
            case Interruption.STOPPING | Interruption.OUTDATED:
                outcome = unfinished(self._claim, Released())
            case Interruption.SUSPENDED:
                outcome = await self._suspended(started_at)
            case _:
                outcome = self._ended(handler)
        return outcome

    async def _suspended(self, started_at: datetime) -> Outcome:
        """Record what a resume has to know, and give the claim up."""
        attempt, settlement = self.attempt, self.attempt.parking.settlement
        await self._record_failures()
        if not isinstance(settlement, Suspended):
            return unfinished(self._claim, Released())
        await attempt.journal.forget_idle_waits(attempt.parking.waited_for)
        replayed = attempt.journal.replay.took
        until = settlement.until
        if attempt.deadline is not None:
            until = attempt.deadline.or_before(until)
        settlement = replace(
            settlement,
            until=until,
            started_at=started_at,
            pause=PAUSE_FACTOR * replayed if replayed >= MIN_REPLAY_SECONDS else 0.0,
        )
        return unfinished(self._claim, settlement)

    async def _record_failures(self) -> None:
        """Record the failures that a resume of this attempt would repeat otherwise."""
        journal = self.attempt.journal
        failed = [
            each
            for step_id, each in self.attempt.unrecorded_failures.items()
            if journal.find(step_id) is None
        ]
        for start in range(0, len(failed), RECORDED_AT_ONCE):
            page = failed[start : start + RECORDED_AT_ONCE]
            await asyncio.gather(*map(journal.checkpoint, page))

    def _tell_of_cleanup(
        self, why: Interruption | None, error: BaseException | None
    ) -> None:
        """Log what the handler raised as it was interrupted: no outcome shows it."""
        if why is None or error is None or isinstance(error, Interrupted):
            return
        logger.warning(
            "execution %s (%s) raised %s as it was interrupted (%s)",
            self._claim.execution.id,
            self._function.id,
            type(error).__name__,
            why.value,
            exc_info=self._runtime.payloads.shown(error),
            extra=self.attempt.fields,
        )

    def _ended(self, handler: asyncio.Future[Any]) -> Outcome:
        if handler.cancelled():
            error = RuntimeError("the handler's task was cancelled")
            return failed_outcome(self.attempt, error)
        if (failure := handler.exception()) is not None:
            return failed_outcome(self.attempt, failure)
        return self._completed(handler.result())

    def _completed(self, value: Any) -> Outcome:
        execution, attempt = self._claim.execution, self.attempt
        try:
            payload, decoded = self._runtime.payloads.encode(
                value,
                self._function.result_type,
                kind="result",
                where=f"the result of {self._function.id}",
            )
        except InvalidInput as error:
            return failed_outcome(attempt, error, final=True)
        notice = ExecutionCompleted(
            execution_id=execution.id,
            event_name=execution.event_name,
            attempt=attempt.number,
            status=ExecutionStatus.COMPLETED,
            result=decoded,
        )
        return Outcome(settlement=Completed(result=payload), notice=notice)

    def _context(self) -> Context[Any] | SyncContext[Any]:
        execution, attempt = self._claim.execution, self.attempt
        data = self._runtime.payloads.decode(
            execution.event_data,
            self._function.data_type,
            where=f'the data of event "{execution.event_name}"',
        )
        kind: type[Context[Any] | SyncContext[Any]]
        kind = Context if self._function.is_async else SyncContext
        return kind(
            event=ReceivedEvent(
                name=execution.event_name,
                data=data,
                id=execution.id,
                timestamp=execution.created_at,
            ),
            runner=ContextCalls(attempt),
            attempt=attempt.number,
            token=self._claim.token,
            headers=MappingProxyType(dict(execution.headers)),
        )

    def _announce(self) -> None:
        """Tell that the attempt starts, or was suspended and continues."""
        self._runtime.store.claims.announce(self._claim)
        execution, emitter = self._claim.execution, self._runtime.emitter
        begins = execution.attempt_started_at is None
        began = ExecutionStarted if begins else ExecutionResumed
        for kind in (began, ExecutionUpdated):
            if emitter.listens_to(kind.name):
                emitter.emit(
                    kind(
                        execution_id=execution.id,
                        event_name=execution.event_name,
                        attempt=self.attempt.number,
                        status=ExecutionStatus.PROCESSING,
                    )
                )

    def _timeout(self) -> TimeoutError:
        error = TimeoutError(
            f"{self._function.id} ran longer than its timeout of "
            f"{format_duration(self._function.timeout or 0.0)}"
        )
        self.attempt.note_timeout(error)
        return error
