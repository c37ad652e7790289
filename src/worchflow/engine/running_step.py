"""A step whose function runs now: on the loop or in a thread, within its timeout."""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from contextvars import ContextVar
from functools import partial
from inspect import CO_COROUTINE
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol

from ..foundations.durations import format_duration
from .ownership import Interrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ..definitions.context import StepCall
    from ..definitions.function import AnyFunction
    from ..model.records import Claim, StoredStep
    from .ownership import Ownership
    from .threads import ThreadCall, Threads
    from .worker_runtime import WorkerRuntime

logger = logging.getLogger("worchflow.engine")

CURRENT_STEP: ContextVar[RunningStep | None] = ContextVar(
    "worchflow_current_step", default=None
)
"""The step whose function runs in this task or thread."""


class Pending(Protocol):
    """The first use of a step, while it is not recorded yet."""

    async def ended(self) -> None:
        """Wait until it is recorded; raises its failure."""
        ...


class Host(Protocol):
    """The attempt, as far as one of its steps needs it."""

    runtime: WorkerRuntime
    ownership: Ownership
    claim: Claim
    function: AnyFunction
    ctx: Any
    recorded: dict[str, StoredStep]
    pending: dict[str, Pending]
    fatal: Exception | None
    is_over: bool

    @property
    def fields(self) -> dict[str, object]:
        """What every log line about the attempt carries."""
        ...

    def begin_step(self, step: Any) -> None:
        """Count a step as running from now on; `Interrupted` when it is too late."""
        ...

    def note_failure(self, error: BaseException, call: StepCall) -> None:
        """Remember which step an error came out of."""
        ...

    def end_step(self, step: Any) -> None:
        """Count a step as running no more."""
        ...

    def in_thread(self, threads: Threads, function: Callable[[], Any]) -> ThreadCall:
        """Run `function` in a thread, tracked until it ends."""
        ...

    def keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Let `work` go on although its caller was cancelled."""
        ...


class Untrusted(Exception):
    """The lease was not certain at the very moment a thread was to call a step."""


class RunningStep(ABC):
    """Calls a step's function."""

    __slots__ = ("_timed_out", "attempt", "call", "knows_its_end", "step_id")

    def __init__(self, attempt: Host, call: StepCall, step_id: str) -> None:
        self.attempt = attempt
        self.call = call
        self.step_id = step_id
        self.knows_its_end = False
        """Its code asked whether it should end, and was told so."""
        self._timed_out = False

    @abstractmethod
    def keep_thread(self, call: ThreadCall) -> None:
        """See to a thread whose caller was cancelled while it runs."""

    def should_end(self) -> bool:
        """Whether its code should end early; what it returns then is no result."""
        if self._timed_out or self.attempt.is_over:
            self.knows_its_end = True
            return True
        return False

    async def call_function(self) -> Any:
        """What the function returns; it starts only under a certain lease."""
        if self.attempt.is_over or not self.attempt.ownership.holds():
            await self._may_start()
        call = self.call
        token = CURRENT_STEP.set(self)
        try:
            if not is_coroutine_function(call.function):
                return await self._call_in_thread()
            value = call.function(*call.args, **call.kwargs)
            if call.timeout is None:
                return await value
            return await self._within(call.timeout, value)
        finally:
            CURRENT_STEP.reset(token)

    async def _may_start(self) -> None:
        if self.attempt.is_over:
            raise Interrupted
        if not self.attempt.ownership.holds():
            await self.attempt.ownership.regain()

    async def _within(self, timeout: float, value: Awaitable[Any]) -> Any:
        """Await what the function returned, on the loop.

        What it makes of its cancellation, a value or another error, is no outcome.
        """
        scope = asyncio.timeout(timeout)
        try:
            async with scope:
                result = await value
        except Exception as error:
            if scope.expired():
                raise self._timeout() from error
            raise
        if scope.expired():
            discard(result)
            raise self._timeout()
        return result

    async def _call_in_thread(self) -> Any:
        while True:
            try:
                value = await self._thread_result()
            except Untrusted:
                await self._may_start()
                continue
            if not inspect.isawaitable(value):
                return value
            try:
                await self._may_start()
            except BaseException:
                discard(value)
                raise
            if self.call.timeout is None:
                return await value
            return await self._within(self.call.timeout, value)

    async def _thread_result(self) -> Any:
        timeout = self.call.timeout
        started = asyncio.Event() if timeout is not None else None
        call = self.attempt.in_thread(
            self.attempt.runtime.step_threads,
            partial(self._guarded, asyncio.get_running_loop(), started),
        )
        try:
            if started is not None:
                # Waiting for a free thread is not the step's own time.
                call.future.add_done_callback(lambda _: started.set())
                await started.wait()
            await asyncio.wait({call.future}, timeout=timeout)
            if not call.future.done():
                await self._outlast(call.future)
        except asyncio.CancelledError:
            # A thread that has begun goes on, so its effect happens.
            call.call_off()
            self.keep_thread(call)
            raise
        try:
            return call.future.result()
        finally:
            del call  # It holds an error that holds this frame.

    def _guarded(
        self, loop: asyncio.AbstractEventLoop, started: asyncio.Event | None
    ) -> Any:
        if self.attempt.is_over or not self.attempt.ownership.holds():
            raise Untrusted
        if started is not None:
            loop.call_soon_threadsafe(started.set)
        return self.call.function(*self.call.args, **self.call.kwargs)

    async def _outlast(self, thread: asyncio.Future[Any]) -> None:
        """Tell a thread that its time is up, wait for its end, raise `TimeoutError`.

        A step still running is never retried or settled, and a thread cannot be
        stopped from outside; `ctx.cancelled` tells it.
        """
        self._timed_out = True
        logger.warning(
            'step "%s" of execution %s is over its timeout of %s; it runs in a '
            "thread, so its end is awaited (ctx.cancelled is True in it now)",
            self.call.title,
            self.attempt.claim.execution.id,
            format_duration(self.call.timeout or 0.0),
            extra={**self.attempt.fields, "step": self.call.title},
        )
        await asyncio.wait({thread})
        self._timed_out = False
        if not thread.cancelled() and thread.exception() is None:
            discard(thread.result())
        raise self._timeout()

    def _timeout(self) -> TimeoutError:
        return TimeoutError(
            f'step "{self.call.title}" took longer than its timeout of '
            f"{format_duration(self.call.timeout or 0.0)}"
        )


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether it is an `async def` itself, so that calling it runs nothing."""
    # Most step functions are plain `async def`, which the flag alone tells.
    if type(function) is FunctionType and function.__code__.co_flags & CO_COROUTINE:
        return True
    return inspect.iscoroutinefunction(function)


def is_being_cancelled() -> bool:
    """Whether somebody has asked to cancel the task that this runs in."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def discard(value: object) -> None:
    """Close what nobody will await; Python would warn of a forgotten await."""
    if inspect.iscoroutine(value):
        value.close()
