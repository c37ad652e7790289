"""One attempt: everything that runs on behalf of a handler, and its end.

Nothing may settle while code of the attempt still runs, so an attempt knows the
tasks, threads and saves it has in the air and can end them all.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import NestedStep, StepError
from ..ids import step_id
from .ownership import Interrupted, Interruption
from .running_step import CURRENT_STEP
from .step import StepExecution
from .titles import Titles

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..context import StepCall
    from ..function import AnyFunction
    from ..records import Claim
    from .environment import Environment
    from .ownership import Ownership
    from .running_step import Pending
    from .threads import Threads

logger = logging.getLogger("worchflow.engine")

PATIENCE = 10.0
"""Seconds between two log lines about code that does not end."""


class StepUse:
    """One call of `step.run`: its coroutine, until somebody awaits it."""

    __slots__ = ("call", "coroutine", "step_id")

    def __init__(self, call: StepCall, identity: str) -> None:
        self.call = call
        self.step_id = identity
        self.coroutine: Coroutine[Any, Any, Any] | None = None


class Attempt:
    """The run of one handler under one claim."""

    def __init__(
        self,
        environment: Environment,
        ownership: Ownership,
        claim: Claim,
        function: AnyFunction,
    ) -> None:
        self.environment = environment
        self.ownership = ownership
        self.claim = claim
        self.function = function
        self.number = claim.execution.attempt_count + 1
        self.recorded = dict(claim.steps)
        self.pending: dict[str, Pending] = {}
        self.interruption: Interruption | None = None
        self.fatal: Exception | None = None
        """A result that cannot be stored or decoded: fails the execution at once."""
        self.ctx: Any = None
        self._handler: asyncio.Task[Any] | None = None
        self._titles = Titles(
            reuse=function.repeat_titles == "reuse",
            execution_id=claim.execution.id,
        )
        self._issued: dict[StepUse, None] = {}
        self._running: dict[StepUse, asyncio.Task[Any] | None] = {}
        self._callers: set[asyncio.Task[Any]] = set()
        self._background: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._joining = False
        self._joined_error: Exception | None = None
        self._loop = asyncio.get_running_loop()

    # What the context's step facade calls (see context.StepRunner).

    def run(self, call: StepCall) -> Coroutine[Any, Any, Any]:
        """Take the step's identity now; the returned coroutine runs it."""
        task = self._calling_task(call)
        use = StepUse(call, self._identify(call, task))
        if task is not self._handler:
            self._callers.add(task)
        use.coroutine = self._run(use)
        self._issued[use] = None
        return use.coroutine

    def run_blocking(self, call: StepCall) -> Any:
        """Run a step from a sync handler's thread and wait for it."""
        use = StepUse(call, self._identify(call, threading.current_thread()))
        future = asyncio.run_coroutine_threadsafe(self._run(use), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Interrupted from None

    def idempotency_key(self, title: str | None, key: str | None) -> str:
        """The stable key of a step: of the running one, or of the one named."""
        if title is not None:
            identity = step_id(title, key=key)
        elif (step := CURRENT_STEP.get()) is not None and step.attempt is self:
            identity = step.step_id
        else:
            raise StepError(
                "ctx.idempotency_key() without a title names the running step, and "
                "no step is running: pass the title of the step that is meant",
                execution_id=self.claim.execution.id,
            )
        return f"{self.claim.execution.id}:{identity}"

    @property
    def cancelled(self) -> bool:
        """Whether the running code should end: threads cannot be stopped otherwise."""
        step = CURRENT_STEP.get()
        if step is not None and step.attempt is self and step.timed_out:
            return True
        return self._closed or self.interruption is not None

    # What the runner does.

    def begin(self, handler: asyncio.Task[Any]) -> None:
        """Name the task that runs the handler."""
        self._handler = handler

    def interrupt(self, why: Interruption) -> None:
        """End the attempt early: async code is cancelled, threads are told."""
        if self.interruption is None:
            self.interruption = why
        self._cancel_tasks()

    async def join(self) -> None:
        """Finish steps the handler started and did not await; raise their failure."""
        if not self._issued and not self._running:
            return
        self._joining = True
        # Tasks made for a step in the handler's last moment begin in this turn.
        await asyncio.sleep(0)
        for use in list(self._issued):
            logger.warning(
                'step "%s" of execution %s was never awaited; it runs now, before the '
                "execution completes",
                use.call.title,
                self.claim.execution.id,
            )
            self._keep(asyncio.ensure_future(self._awaited(use)))
        while self._running or self._issued:
            tasks = {task for task in self._running.values() if task is not None}
            await asyncio.wait(tasks or self._background, timeout=0.05)
        if self._joined_error is not None:
            raise self._joined_error

    async def close(self) -> None:
        """Let no further step start, and wait until nothing of it runs any more."""
        self._closed = True
        if self._issued:
            self._drop_issued()
        if not (self._running or self._callers or self._background):
            return
        while unfinished := self._cancel_tasks() | self._live_background():
            _, late = await asyncio.wait(unfinished, timeout=PATIENCE)
            if late:
                logger.warning(
                    "execution %s waits for %d task(s) or thread(s) of its attempt "
                    "%d that do not end; it is not settled before",
                    self.claim.execution.id,
                    len(late),
                    self.number,
                )

    async def in_thread(self, threads: Threads, function: Callable[[], Any]) -> Any:
        """Run `function` in a thread with this context; tracked until it ends."""
        context = contextvars.copy_context()
        future = asyncio.wrap_future(threads.submit(lambda: context.run(function)))
        self._keep(future)
        return await asyncio.shield(future)

    def keep(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let `work` go on although its caller was cancelled; `close` awaits it."""
        self._keep(asyncio.ensure_future(work))

    # Inside.

    async def _run(self, use: StepUse) -> Any:
        self._issued.pop(use, None)
        if self._closed or self.interruption is not None:
            raise Interrupted
        self._running[use] = asyncio.current_task()
        try:
            return await StepExecution(self, use.call, use.step_id).run()
        except Exception as error:
            if self._joining and self._joined_error is None:
                self._joined_error = error
            raise
        finally:
            del self._running[use]

    async def _awaited(self, use: StepUse) -> None:
        if use.coroutine is not None and use in self._issued:
            await use.coroutine

    def _identify(self, call: StepCall, user: object) -> str:
        outer = CURRENT_STEP.get()
        if outer is not None and outer.attempt is self:
            raise NestedStep(
                f'step "{call.title}" was started inside step "{outer.call.title}" of '
                f"execution {self.claim.execution.id}: a step is one unit that is "
                "recorded or repeated as a whole. Start it from the handler instead",
                title=call.title,
                execution_id=self.claim.execution.id,
            )
        if self._closed or self.interruption is not None:
            raise Interrupted
        return self._titles.identify(call.title, call.key, user)

    def _calling_task(self, call: StepCall) -> asyncio.Task[Any]:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        return task if task is not None else self._no_task(call)

    def _no_task(self, call: StepCall) -> NoReturn:
        raise StepError(
            f'step "{call.title}" was started outside the event loop; in a thread use '
            "a sync handler (def handler(ctx: SyncContext[...]))",
            title=call.title,
            execution_id=self.claim.execution.id,
        )

    def _cancel_tasks(self) -> set[asyncio.Future[Any]]:
        me = asyncio.current_task()
        tasks: set[asyncio.Future[Any]] = {
            task
            for task in (self._handler, *self._running.values(), *self._callers)
            if task is not None and task is not me and not task.done()
        }
        for task in tasks:
            task.cancel()
        return tasks

    def _live_background(self) -> set[asyncio.Future[Any]]:
        return {future for future in self._background if not future.done()}

    def _keep(self, future: asyncio.Future[Any]) -> None:
        self._background.add(future)
        future.add_done_callback(self._forget)

    def _forget(self, future: asyncio.Future[Any]) -> None:
        self._background.discard(future)
        if not future.cancelled():
            # Whoever awaited it has the exception; asyncio need not report it.
            future.exception()

    def _drop_issued(self) -> None:
        for use in self._issued:
            if use.coroutine is not None:
                use.coroutine.close()
        self._issued.clear()
