"""A step's function while it runs: on the loop or in a thread, within its timeout.

What happens to a thread over its timeout, and to one whose caller was cancelled, is
decided here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from ..foundations.durations import format_duration
from .coroutines import discard, is_coroutine_function
from .ownership import Interrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..definitions.calls import StepCall
    from .attempt import Attempt
    from .threads import Executor, ThreadCall

logger = logging.getLogger("worchflow.engine")

CURRENT_STEP: ContextVar[StepFunction | None] = ContextVar(
    "worchflow_current_step", default=None
)
"""The step whose function runs in this task or thread."""


class Untrusted(Exception):
    """The lease was not certain at the very moment a thread was to call a step."""


class StepFunction:
    """Calls the function of one step, as often as the step tries; never twice at once.

    `threads` is where a plain function runs.
    """

    __slots__ = (
        "_must_end",
        "_threads",
        "attempt",
        "call",
        "knows_its_end",
        "left_behind",
        "step_id",
    )

    def __init__(
        self, attempt: Attempt, call: StepCall, step_id: str, threads: Executor
    ) -> None:
        self.attempt = attempt
        self.call = call
        self.step_id = step_id
        self.knows_its_end = False
        """Its code asked whether it should end, and was told so."""
        self.left_behind: ThreadCall | None = None
        """A thread that still runs although the caller was cancelled."""
        self._threads = threads
        self._must_end = False

    def should_end(self) -> bool:
        """Whether its code should end early; what it returns then is not recorded."""
        if self._must_end or self.attempt.scope.is_over:
            self.knows_its_end = True
            return True
        return False

    async def result(self) -> Any:
        """What the function returns; it starts only under a certain lease."""
        if self.attempt.scope.is_over or not self.attempt.ownership.holds():
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
        if self.attempt.scope.is_over:
            raise Interrupted
        if not self.attempt.ownership.holds():
            await self.attempt.ownership.regain()

    async def _within(self, timeout: float, value: Awaitable[Any]) -> Any:
        """Await what the function returned, on the loop.

        What it makes of its cancellation, a value or another error, does not count.
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
        call = self.attempt.scope.in_thread(
            self._threads, partial(self._guarded, self.attempt.loop, started)
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
            # A thread that has begun continues, so its effect happens.
            self._must_end = True
            call.call_off()
            self.left_behind = call
            raise
        try:
            return call.future.result()
        finally:
            del call  # It holds an error that holds this frame.

    def _guarded(
        self, loop: asyncio.AbstractEventLoop, started: asyncio.Event | None
    ) -> Any:
        if self.attempt.scope.is_over or not self.attempt.ownership.holds():
            raise Untrusted
        if started is not None:
            loop.call_soon_threadsafe(started.set)
        return self.call.function(*self.call.args, **self.call.kwargs)

    async def _outlast(self, thread: asyncio.Future[Any]) -> None:
        """Tell a thread that its time is up, wait for its end, raise `TimeoutError`.

        A step still running is never retried or settled, and a thread cannot be
        stopped from outside; `ctx.cancelled` tells it.
        """
        self._must_end = True
        logger.warning(
            'step "%s" of execution %s is over its timeout of %s; it runs in a '
            "thread, so its end is awaited (ctx.cancelled is True in it now)",
            self.call.title,
            self.attempt.claim.execution.id,
            format_duration(self.call.timeout or 0.0),
            extra={**self.attempt.fields, "step": self.call.title},
        )
        await asyncio.wait({thread})
        self._must_end = False
        if not thread.cancelled() and thread.exception() is None:
            discard(thread.result())
        raise self._timeout()

    def _timeout(self) -> TimeoutError:
        return TimeoutError(
            f'step "{self.call.title}" took longer than its timeout of '
            f"{format_duration(self.call.timeout or 0.0)}"
        )
