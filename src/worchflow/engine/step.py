"""One step: replay it if it is recorded, else run it and checkpoint before return."""

from __future__ import annotations

import asyncio
import inspect
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..annotations import MISSING as UNANNOTATED
from ..annotations import return_type
from ..context import MISSING
from ..errors import InvalidInput, StepFailed, StoreUnavailable
from ..middleware import nest_step
from ..notices import StepCompleted
from ..records import ErrorInfo, ExecutionStatus, StepStatus, StoredStep
from ..retry import decide_retry
from .running_step import RunningStep

if TYPE_CHECKING:
    from datetime import datetime

    from ..context import StepCall
    from .running_step import Host

logger = logging.getLogger("worchflow.engine")


class StepExecution:
    """One use of `step.run` in one attempt."""

    def __init__(self, attempt: Host, call: StepCall, step_id: str) -> None:
        self.attempt = attempt
        self.call = call
        self.step_id = step_id
        self._others: asyncio.Future[None] | None = None
        self._running = RunningStep(attempt, call, step_id, self._record_late)
        self._environment = attempt.environment
        self._where = f'step "{call.title}"'

    async def run(self) -> Any:
        """The step's result, recorded before this returns."""
        attempt = self.attempt
        if (recorded := attempt.recorded.get(self.step_id)) is not None:
            return self._replay(recorded)
        if (first := attempt.pending.get(self.step_id)) is not None:
            await first.ended()
            return self._replay(attempt.recorded[self.step_id])
        attempt.pending[self.step_id] = self
        try:
            value = await self._run_to_record()
        except BaseException as error:
            self._tell_others(error)
            raise
        finally:
            del attempt.pending[self.step_id]
        self._tell_others(None)
        return value

    async def ended(self) -> None:
        """Wait until this first use of the step is recorded; raises its failure."""
        if self._others is None:
            self._others = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._others)

    def _tell_others(self, error: BaseException | None) -> None:
        others = self._others
        if others is None:
            return
        if error is None:
            others.set_result(None)
        elif isinstance(error, Exception):
            others.set_exception(error)
            others.exception()  # seen here, whether or not somebody waits
        else:
            others.cancel()

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
        # Before the function runs: an annotation that cannot be read has no effect.
        result_type = self._type()
        started_at = environment.clock.now()
        value, tries, failure = await self._try()
        if failure is not None:
            return await self._record_failure(failure, tries, started_at)
        try:
            payload, decoded = environment.payloads.encode(
                value, result_type, kind="step", where=self._where
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
            self._environment.middleware,
            self.attempt.ctx,
            self.call.title,
            self._running.call_function,
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

    async def _record_late(self, work: asyncio.Future[Any]) -> None:
        try:
            value = await work
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - nothing to record
            return
        if inspect.isawaitable(value):
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


def _exited(error: BaseException) -> RuntimeError:
    failure = RuntimeError(f"the step called sys.exit({error})")
    failure.__cause__ = error
    return failure
