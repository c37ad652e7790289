"""One step: replay it if it is recorded, else run it and checkpoint before return."""

from __future__ import annotations

import asyncio
import inspect
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..definitions.context import MISSING
from ..definitions.middleware import nest_step
from ..definitions.retry import decide_retry
from ..foundations.errors import InvalidInput, StepFailed, StoreUnavailable
from ..model.notices import StepCompleted, step_completed
from ..model.records import ErrorInfo, StepStatus, StoredStep
from ..serialization.annotations import MISSING as UNANNOTATED
from ..serialization.annotations import return_type
from .own_context import InOwnContext
from .ownership import Interrupted
from .running_step import RunningStep, discard, is_being_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import datetime

    from ..definitions.context import StepCall
    from .running_step import Host
    from .threads import ThreadCall

logger = logging.getLogger("worchflow.engine")


class StepExecution(RunningStep):
    """One use of `step.run` in one attempt."""

    __slots__ = (
        "_late",
        "_others",
        "_result_type",
        "_runtime",
        "_started_at",
        "_tries",
        "coroutine",
    )

    def __init__(self, attempt: Host, call: StepCall, step_id: str) -> None:
        super().__init__(attempt, call, step_id)
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        """What runs it, until it begins."""
        self._runtime = attempt.runtime
        self._others: asyncio.Future[None] | None = None
        self._late: asyncio.Future[Any] | None = None
        """What goes on although the caller was cancelled: a thread, a save."""
        self._result_type: Any = None
        self._started_at: datetime | None = None
        self._tries = 0

    @property
    def can_begin(self) -> bool:
        """Whether it was not begun; a cancelled task may have closed it."""
        return (
            self.coroutine is not None
            and inspect.getcoroutinestate(self.coroutine) == inspect.CORO_CREATED
        )

    async def run(self) -> Any:
        """The step's result, recorded before this returns."""
        attempt = self.attempt
        self.coroutine = None
        attempt.begin_step(self)
        try:
            while (recorded := attempt.recorded.get(self.step_id)) is None:
                first = attempt.pending.get(self.step_id)
                if first is None:
                    return await self._run_first()
                await first.ended()
            return self._replay(recorded)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            attempt.note_failure(error, self.call)
            raise
        finally:
            attempt.end_step(self)

    async def ended(self) -> None:
        """Wait until nothing of this first use goes on; raises its failure.

        A use that was cancelled leaves no record: the next one may run then.
        """
        if self._others is None:
            self._others = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._others)

    async def _run_first(self) -> Any:
        self.attempt.pending[self.step_id] = self
        failure: Exception | None = None
        failed: Exception | None = None
        try:
            # Before the function runs: an annotation that cannot be read has no effect.
            self._result_type = self._type()
            self._started_at = self._runtime.clock.now()
            value, failed = await InOwnContext(self._try())
            if failed is not None:
                return await self._record_failure(failed)
            return await self._record(value)
        except Exception as error:
            failure = error
            raise
        finally:
            if self._late is None:
                self._tell_others(failure)
            else:
                self._late.add_done_callback(lambda _: self._tell_others(None))
            failure = failed = None  # They hold this frame.

    def _tell_others(self, failure: Exception | None) -> None:
        del self.attempt.pending[self.step_id]
        if self._others is None:
            return
        if failure is None:
            self._others.set_result(None)
        else:
            self._others.set_exception(failure)
            self._others.exception()  # seen here, whether or not somebody waits
        self._others = None

    def _replay(self, recorded: StoredStep) -> Any:
        if recorded.status is StepStatus.FAILED:
            raise self._failure(self._plain(recorded.error))
        try:
            return self._runtime.payloads.decode_step(
                recorded.result, self._type(), where=self._where
            )
        except InvalidInput as error:
            raise self._fatal(error) from error.__cause__

    async def _try(self) -> tuple[Any, Exception | None]:
        """Call the function, with the step's own retries if it has any."""
        policy = self.call.retries
        call: Callable[[], Awaitable[Any]] = self.call_function
        if self._runtime.middleware:
            call = nest_step(
                self._runtime.middleware, self.attempt.ctx, self.call.title, call
            )
        failure: Exception | None = None
        while True:
            self._tries += 1
            try:
                value = await call()
            except BaseException as error:
                failure = self._as_failure(error)
                if failure is None or (policy is None and failure is error):
                    raise
                if policy is None:
                    raise failure from error
                delay = decide_retry(failure, self._tries, policy, self._runtime.random)
                if delay is None:
                    return None, failure
                self._log_retry(failure, delay)
            else:
                self._refuse_swallowed()
                return value, None
            finally:
                failure = None  # It holds this frame.
            await asyncio.sleep(delay)

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
        """What a function makes of its cancellation is no result and no failure."""
        if self.attempt.is_over:
            raise Interrupted

    @override
    def keep_thread(self, call: ThreadCall) -> None:
        self._late = self.attempt.keep(self._record_late(call))

    async def _record_late(self, call: ThreadCall) -> None:
        """Record what a thread returns after its caller was cancelled."""
        value = await call.future
        if inspect.isawaitable(value):
            discard(value)
        elif not self.knows_its_end:
            await self._record(value)

    async def _record(self, value: Any) -> Any:
        """Record a result; returns it as every later reader will see it."""
        try:
            payload, decoded = self._runtime.payloads.encode(
                value, self._result_type, kind="step", where=self._where
            )
            stored = await self._checkpoint(
                self._step(StepStatus.COMPLETED, result=payload)
            )
        except InvalidInput as error:
            raise self._fatal(error) from error.__cause__
        if stored.status is StepStatus.FAILED or stored.result != payload:
            return self._replay(stored)
        self._announce(stored, decoded)
        return decoded

    async def _record_failure(self, failure: Exception) -> Any:
        info = self._runtime.payloads.encode_error(failure)
        stored = await self._checkpoint(self._step(StepStatus.FAILED, error=info))
        if stored.status is StepStatus.COMPLETED:
            return self._replay(stored)
        self._log_failure(failure)
        raise self._failure(self._plain(stored.error)) from failure

    def _step(
        self,
        status: StepStatus,
        *,
        result: str | None = None,
        error: ErrorInfo | None = None,
    ) -> StoredStep:
        return StoredStep(
            self.step_id,
            self.call.title,
            status,
            result,
            error,
            self._tries,
            self._started_at,
            self._runtime.clock.now(),
            self.call.key,
        )

    async def _checkpoint(self, step: StoredStep) -> StoredStep:
        store, attempt = self._runtime.store, self.attempt
        try:
            try:
                stored = await store.steps.checkpoint(attempt.claim, step)
            except StoreUnavailable as error:
                return await self._save_again(step, error)
        except asyncio.CancelledError:
            # The step has happened: it is recorded although nobody waits any more.
            self._late = attempt.keep(self._save_again(step))
            raise
        attempt.recorded[self.step_id] = stored
        return stored

    async def _save_again(
        self, step: StoredStep, error: StoreUnavailable | None = None
    ) -> StoredStep:
        """Save until a store answers; `error` is what the last try raised."""
        pause = 0.1
        while True:
            if error is not None:
                self._runtime.repeated.warning(
                    logger,
                    "%s; step %s of execution %s is done and waits to be recorded, "
                    "next try in %.1f s",
                    error,
                    self.call.name,
                    self.attempt.claim.execution.id,
                    pause,
                    extra=self._fields,
                )
                await asyncio.sleep(pause * (0.5 + self._runtime.random()))
                pause = min(pause * 2, 5.0)
            try:
                stored = await self._runtime.store.steps.checkpoint(
                    self.attempt.claim, step
                )
            except StoreUnavailable as failure:
                error = failure
            else:
                self.attempt.recorded[self.step_id] = stored
                return stored

    def _announce(self, step: StoredStep, result: Any) -> None:
        emitter = self._runtime.emitter
        if emitter.listens_to(StepCompleted.name):
            notice = step_completed(self.attempt.claim, step)
            emitter.emit(replace(notice, result=result))

    @property
    def _where(self) -> str:
        return f"step {self.call.name}"

    def _type(self) -> Any:
        if self.call.as_type is not MISSING:
            return self.call.as_type
        try:
            named = return_type(self.call.function)
        except InvalidInput as error:
            raise self._fatal(error) from error.__cause__
        return Any if named is UNANNOTATED else named

    def _fatal(self, error: InvalidInput) -> InvalidInput:
        error.execution_id = self.attempt.claim.execution.id
        self.attempt.fatal = error
        return error

    def _plain(self, error: ErrorInfo | None) -> ErrorInfo:
        if error is None:
            return ErrorInfo(type="unknown", message="", traceback="")
        return self._runtime.payloads.decode_error(error)

    def _failure(self, error: ErrorInfo) -> StepFailed:
        return StepFailed(
            f"{self._where} of execution {self.attempt.claim.execution.id} has failed "
            f"for good: {error.type}: {error.message}",
            title=self.call.title,
            execution_id=self.attempt.claim.execution.id,
            error_type=error.type,
            error_message=error.message,
            traceback=error.traceback,
        )

    @property
    def _fields(self) -> dict[str, object]:
        return {**self.attempt.fields, "step": self.call.title}

    def _log_retry(self, failure: Exception, delay: float) -> None:
        logger.warning(
            "step %s of execution %s failed on try %d (%s); its next try starts in "
            "%.3g s",
            self.call.name,
            self.attempt.claim.execution.id,
            self._tries,
            type(failure).__name__,
            delay,
            extra=self._fields,
        )

    def _log_failure(self, failure: Exception) -> None:
        logger.warning(
            "step %s of execution %s failed for good on try %d (%s); the handler gets "
            "a StepFailed",
            self.call.name,
            self.attempt.claim.execution.id,
            self._tries,
            type(failure).__name__,
            exc_info=self._runtime.payloads.shown(failure),
            extra=self._fields,
        )


def _caused(what: str, error: BaseException) -> RuntimeError:
    failure = RuntimeError(f"{what} ({error})" if str(error) else what)
    failure.__cause__ = error
    return failure
