"""A step whose function runs now: on the loop or in a thread, within its timeout."""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from ..context import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..context import StepCall
    from ..function import AnyFunction
    from ..records import Claim, StoredStep
    from .environment import Environment
    from .ownership import Ownership
    from .threads import Threads

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

    environment: Environment
    ownership: Ownership
    claim: Claim
    function: AnyFunction
    number: int
    ctx: Any
    recorded: dict[str, StoredStep]
    pending: dict[str, Pending]
    fatal: Exception | None

    async def in_thread(self, threads: Threads, function: Callable[[], Any]) -> Any:
        """Run `function` in a thread, tracked until it ends."""
        ...

    def keep(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let `work` go on although its caller was cancelled."""
        ...


class Untrusted(Exception):
    """The lease was not certain at the very moment a thread was to call a step."""


class RunningStep:
    """Calls a step's function.

    `record_late` records what a thread returns after its caller was cancelled.
    """

    def __init__(
        self,
        attempt: Host,
        call: StepCall,
        step_id: str,
        record_late: Callable[[asyncio.Future[Any]], Coroutine[Any, Any, None]],
    ) -> None:
        self.attempt = attempt
        self.call = call
        self.step_id = step_id
        self.timed_out = False
        self._record_late = record_late

    async def call_function(self) -> Any:
        """What the function returns; it starts only under a certain lease."""
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
        attempt, threads = self.attempt, self.attempt.environment.step_threads
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
            if inspect.isawaitable(value):
                return await self._within_timeout(value)
            return value

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

    def _timeout(self) -> TimeoutError:
        return TimeoutError(
            f'step "{self.call.title}" took longer than its timeout of '
            f"{self.call.timeout} s"
        )
