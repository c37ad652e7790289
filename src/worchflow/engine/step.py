"""One step: replay it if it is recorded, else run it and checkpoint before return."""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ..annotations import MISSING as UNANNOTATED
from ..annotations import return_type
from ..context import MISSING
from ..errors import InvalidInput, StepFailed, StoreUnavailable
from ..middleware import nest_step
from ..notices import StepCompleted
from ..records import ErrorInfo, ExecutionStatus, StepStatus, StoredStep
from ..retry import decide_retry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from ..context import StepCall
    from ..function import AnyFunction
    from ..records import Claim
    from .environment import Environment
    from .ownership import Ownership
    from .threads import Threads

logger = logging.getLogger("worchflow.engine")

CURRENT_STEP: ContextVar[StepExecution | None] = ContextVar(
    "worchflow_current_step", default=None
)
"""The step whose function runs in this task or thread."""


class Host(Protocol):
    """The attempt, as far as one of its steps needs it."""

    environment: Environment
    ownership: Ownership
    claim: Claim
    function: AnyFunction
    number: int
    ctx: Any
    recorded: dict[str, StoredStep]
    pending: dict[str, asyncio.Future[Any]]
    fatal: Exception | None

    async def in_thread(self, threads: Threads, function: Callable[[], Any]) -> Any:
        """Run `function` in a thread, tracked until it ends."""
        ...

    def keep(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let `work` go on although its caller was cancelled."""
        ...


class Untrusted(Exception):
    """The lease was not certain at the very moment a thread was to call a step."""


class StepExecution:
    """One use of `step.run` in one attempt."""

    def __init__(self, attempt: Host, call: StepCall, step_id: str) -> None:
        self.attempt = attempt
        self.call = call
        self.step_id = step_id
        self.timed_out = False
        self._environment = attempt.environment
        self._where = f'step "{call.title}"'

    async def run(self) -> Any:
        """The step's result, recorded before this returns."""
        attempt = self.attempt
        if (recorded := attempt.recorded.get(self.step_id)) is not None:
            return self._replay(recorded)
        if (pending := attempt.pending.get(self.step_id)) is not None:
            await asyncio.shield(pending)
            return self._replay(attempt.recorded[self.step_id])
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        attempt.pending[self.step_id] = future
        try:
            value = await self._run_to_record()
        except BaseException as error:
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()
            else:
                future.cancel()
            raise
        else:
            future.set_result(None)
            return value
        finally:
            del attempt.pending[self.step_id]

    def _replay(self, recorded: StoredStep) -> Any:
        if recorded.status is StepStatus.FAILED:
            raise self._failure(self._plain(recorded.error))
        try:
            return self._environment.payloads.decode_step(
                recorded.result, self._type(), where=self._where
            )
        except InvalidInput as error:
            raise self._fatal(error) from error.__cause__

    async def _run_to_record(self) -> Any:
        environment, call = self._environment, self.call
        started_at = environment.clock.now()
        value, tries, failure = await self._try()
        if failure is not None:
            return await self._record_failure(failure, tries, started_at)
        try:
            payload, decoded = environment.payloads.encode(
                value, self._type(), kind="step", where=self._where
            )
        except InvalidInput as error:
            raise self._fatal(error) from error.__cause__
        step = StoredStep(
            step_id=self.step_id,
            title=call.title,
            status=StepStatus.COMPLETED,
            result=payload,
            attempts=tries,
            started_at=started_at,
            finished_at=environment.clock.now(),
        )
        stored = await self._checkpoint(step)
        if stored.status is StepStatus.FAILED or stored.result != payload:
            return self._replay(stored)
        self._announce(decoded)
        return decoded

    async def _try(self) -> tuple[Any, int, Exception | None]:
        """Call the function, with the step's own retries if it has any."""
        policy, tries = self.call.retries, 0
        call = nest_step(
            self._environment.middleware, self.attempt.ctx, self.call.title, self._call
        )
        while True:
            tries += 1
            try:
                return await call(), tries, None
            except (SystemExit, Exception) as error:  # noqa: BLE001 - decided below
                failure = error if isinstance(error, Exception) else _exited(error)
                if policy is None:
                    raise failure from failure.__cause__
                delay = decide_retry(failure, tries, policy, self._environment.random)
                if delay is None:
                    return None, tries, failure
                self._log_retry(failure, tries, delay)
            await asyncio.sleep(delay)

    async def _call(self) -> Any:
        ownership = self.attempt.ownership
        if not ownership.holds():
            await ownership.regain()
        token = CURRENT_STEP.set(self)
        try:
            if inspect.iscoroutinefunction(self.call.function):
                return await self._within_timeout()
            return await self._call_in_thread()
        finally:
            CURRENT_STEP.reset(token)

    async def _within_timeout(self, value: Any = MISSING) -> Any:
        """Await the function, or an awaitable that it returned, on the loop."""
        call = self.call
        if value is MISSING:
            value = call.function(*call.args, **call.kwargs)
        if call.timeout is None:
            return await value
        scope = asyncio.timeout(call.timeout)
        try:
            async with scope:
                return await value
        except TimeoutError as error:
            if scope.expired():
                raise self._timeout() from error
            raise

    async def _call_in_thread(self) -> Any:
        attempt, threads = self.attempt, self._environment.step_threads
        while True:
            work = asyncio.ensure_future(attempt.in_thread(threads, self._guarded))
            try:
                done, _ = await asyncio.wait({work}, timeout=self.call.timeout)
            except asyncio.CancelledError:
                # The thread goes on, so its effect happens: record what it returns.
                attempt.keep(self._record_late(work))
                raise
            if not done:
                await self._outlast(work)
            try:
                value = await work
            except Untrusted:
                await attempt.ownership.regain()
                continue
            return await self._within_timeout(value) if _awaits(value) else value

    def _guarded(self) -> Any:
        if not self.attempt.ownership.holds():
            raise Untrusted
        return self.call.function(*self.call.args, **self.call.kwargs)

    async def _outlast(self, work: asyncio.Future[Any]) -> None:
        """Tell a thread that its time is up, wait for its end, raise `TimeoutError`.

        A step still running is never retried or settled, and a thread cannot be
        stopped from outside; `ctx.cancelled` tells it.
        """
        self.timed_out = True
        logger.warning(
            'step "%s" of execution %s is over its timeout of %s s; it runs in a '
            "thread, so its end is awaited (ctx.cancelled is True in it now)",
            self.call.title,
            self.attempt.claim.execution.id,
            self.call.timeout,
        )
        try:
            await asyncio.wait({work})
        finally:
            self.timed_out = False
        if not work.cancelled() and isinstance(work.exception(), Untrusted):
            return
        raise self._timeout()

    async def _record_late(self, work: asyncio.Future[Any]) -> None:
        try:
            value = await work
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - nothing to record
            return
        if _awaits(value):
            return
        try:
            payload, _ = self._environment.payloads.encode(
                value, self._type(), kind="step", where=self._where
            )
        except InvalidInput as error:
            self.attempt.fatal = error
            return
        now = self._environment.clock.now()
        await self._save(
            StoredStep(
                step_id=self.step_id,
                title=self.call.title,
                status=StepStatus.COMPLETED,
                result=payload,
                started_at=now,
                finished_at=now,
            )
        )

    async def _record_failure(
        self, failure: Exception, tries: int, started_at: datetime
    ) -> Any:
        info = self._environment.payloads.encode_error(failure)
        step = StoredStep(
            step_id=self.step_id,
            title=self.call.title,
            status=StepStatus.FAILED,
            error=info,
            attempts=tries,
            started_at=started_at,
            finished_at=self._environment.clock.now(),
        )
        stored = await self._checkpoint(step)
        if stored.status is StepStatus.COMPLETED:
            return self._replay(stored)
        raise self._failure(self._plain(stored.error)) from failure

    async def _checkpoint(self, step: StoredStep) -> StoredStep:
        try:
            stored = await self._save(step)
        except asyncio.CancelledError:
            # The step has happened: it is recorded although nobody waits any more.
            self.attempt.keep(self._save(step))
            raise
        self.attempt.recorded[self.step_id] = stored
        return stored

    async def _save(self, step: StoredStep) -> StoredStep:
        execution = self.attempt.claim.execution
        notice = self._notice() if step.status is StepStatus.COMPLETED else None
        pause = 0.1
        while True:
            try:
                return await self._environment.store.checkpoint(
                    self.attempt.claim, step, notice
                )
            except StoreUnavailable as error:
                logger.warning(
                    '%s; step "%s" of execution %s is done and waits to be recorded, '
                    "next try in %.1f s",
                    error,
                    self.call.title,
                    execution.id,
                    pause,
                )
            await asyncio.sleep(pause * (0.5 + self._environment.random()))
            pause = min(pause * 2, 5.0)

    def _announce(self, result: Any) -> None:
        emitter = self._environment.emitter
        if emitter.listens_to(StepCompleted.name):
            emitter.emit(replace(self._notice(), result=result))

    def _notice(self) -> StepCompleted:
        execution = self.attempt.claim.execution
        return StepCompleted(
            execution_id=execution.id,
            event_name=execution.event_name,
            attempt=self.attempt.number,
            status=ExecutionStatus.PROCESSING,
            step_id=self.step_id,
            title=self.call.title,
        )

    def _type(self) -> Any:
        if self.call.as_type is not MISSING:
            return self.call.as_type
        named = return_type(self.call.function)
        return Any if named is UNANNOTATED else named

    def _fatal(self, error: InvalidInput) -> InvalidInput:
        error.execution_id = self.attempt.claim.execution.id
        self.attempt.fatal = error
        return error

    def _timeout(self) -> TimeoutError:
        return TimeoutError(
            f"{self._where} took longer than its timeout of {self.call.timeout} s"
        )

    def _plain(self, error: ErrorInfo | None) -> ErrorInfo:
        if error is None:
            return ErrorInfo(type="unknown", message="", traceback="")
        return self._environment.payloads.decode_error(error)

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

    def _log_retry(self, failure: Exception, tries: int, delay: float) -> None:
        logger.warning(
            'step "%s" of execution %s failed on try %d (%s); its next try starts in '
            "%.3g s",
            self.call.title,
            self.attempt.claim.execution.id,
            tries,
            type(failure).__name__,
            delay,
        )


def _awaits(value: object) -> bool:
    return inspect.isawaitable(value)


def _exited(error: BaseException) -> RuntimeError:
    failure = RuntimeError(f"the step called sys.exit({error})")
    failure.__cause__ = error
    return failure
