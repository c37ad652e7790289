"""One attempt: everything that runs on behalf of a handler, and its end.

Nothing may settle while code of the attempt still runs, so an attempt knows the
tasks, threads and saves it has in the air and can end them all.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import os
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from ..foundations.errors import NestedStep, StepError
from ..foundations.ids import step_id
from ..serialization.exception_text import leading_to
from .execution_log import ExecutionLog, Replay
from .in_flight import MOST, InFlight
from .ownership import Interrupted, Interruption
from .running_step import CURRENT_STEP
from .step import StepExecution
from .step_ids import StepIdAllocator
from .threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..definitions.context import StepCall
    from ..definitions.function import AnyFunction
    from ..model.records import Claim
    from .ownership import Ownership
    from .running_step import Pending
    from .threads import Threads
    from .worker_runtime import WorkerRuntime

logger = logging.getLogger("worchflow.engine")

MOST_FAILURES = 32
"""So many errors of steps are told apart; a handler may catch any number."""


class Attempt:
    """The run of one handler under one claim."""

    __slots__ = (
        "_failures",
        "_handler",
        "_in_flight",
        "_issued",
        "_joined_error",
        "_joining",
        "_log",
        "_loop_thread",
        "_process",
        "_running",
        "_step_ids",
        "_timed_out_in",
        "claim",
        "ctx",
        "ended",
        "fatal",
        "function",
        "interruption",
        "is_over",
        "loop",
        "number",
        "ownership",
        "pending",
        "recorded",
        "replay",
        "runtime",
    )

    def __init__(
        self,
        runtime: WorkerRuntime,
        ownership: Ownership,
        claim: Claim,
        function: AnyFunction,
    ) -> None:
        self.runtime = runtime
        self.ownership = ownership
        self.claim = claim
        self.function = function
        self.number = claim.execution.attempt_count + 1
        self.recorded = dict(claim.steps)
        self.pending: dict[str, Pending] = {}
        self.loop = asyncio.get_running_loop()
        self.interruption: Interruption | None = None
        self.ended: asyncio.Future[None] = self.loop.create_future()
        """Done once the handler is, or once the attempt is interrupted."""
        self.fatal: Exception | None = None
        """A result that cannot be stored or decoded: fails the execution at once."""
        self.ctx: Any = None
        self._handler: asyncio.Task[Any] | None = None
        self._step_ids = StepIdAllocator(
            reuse=function.repeat_titles == "reuse",
            execution_id=claim.execution.id,
        )
        self._issued: dict[StepExecution, None] = {}
        self._running: set[StepExecution] = set()
        self._in_flight = InFlight()
        self.is_over = False
        """Whether no step may start any more."""
        self._failures: deque[tuple[BaseException, StepCall]] = deque(
            maxlen=MOST_FAILURES
        )
        """The newest errors that came out of a step, and which."""
        self._timed_out_in: list[StepCall] = []
        self._joining: asyncio.Event | None = None
        self._joined_error: BaseException | None = None
        self._loop_thread = threading.get_ident()
        self._process = os.getpid()
        self.replay = Replay(claim.steps, told=function.log_replays)
        self._log: ExecutionLog | None = None

    # What the context's step facade calls (see context.StepRunner).

    def run(self, call: StepCall) -> Coroutine[Any, Any, Any]:
        """Take the step's identity now; the returned coroutine runs it."""
        self._refuse_here(call)
        task = self._calling_task(call)
        if self.is_over:
            return _never_starts()
        self._refuse_too_many(call)
        identity = self._step_ids.identify(call.title, call.key, task)
        self.replay.ask_for(identity)
        step = StepExecution(self, call, identity)
        if task is not self._handler:
            self._in_flight.add_task(task)
        step.coroutine = coroutine = step.run()
        self._issued[step] = None
        return coroutine

    def run_blocking(self, call: StepCall) -> Any:
        """Run a step from a sync handler's thread and wait for it."""
        self._refuse_here(call)
        thread = threading.current_thread()
        if thread.ident == self._loop_thread:
            raise self._misplaced(
                call,
                "from the event loop, which it would block forever: in an async "
                "handler annotate the parameter as Context[...]",
            )
        if self.is_over:
            raise Interrupted
        self._refuse_too_many(call)
        identity = self._step_ids.identify(call.title, call.key, thread)
        self.replay.ask_for(identity)
        step = StepExecution(self, call, identity)
        future = asyncio.run_coroutine_threadsafe(step.run(), self.loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Interrupted from None
        finally:
            del future  # It holds an error that holds this frame.

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
    def fields(self) -> dict[str, object]:
        """What every log line about the attempt carries."""
        return {
            "execution_id": self.claim.execution.id,
            "function": self.function.id,
            "attempt": self.number,
        }

    @property
    def log(self) -> ExecutionLog:
        """The logger of the handler."""
        if self._log is None:
            self._log = ExecutionLog(self.fields, self.replay)
        return self._log

    @property
    def cancelled(self) -> bool:
        """Whether the running code should end: threads cannot be stopped otherwise."""
        step = CURRENT_STEP.get()
        if step is not None and step.attempt is self:
            return step.should_end()
        return self.is_over

    # What the steps call.

    def begin_step(self, step: StepExecution) -> None:
        """Count a step as running from now on; `Interrupted` when it is too late."""
        self._issued.pop(step, None)
        if self.is_over:
            raise Interrupted
        self._running.add(step)
        task = asyncio.current_task(self.loop)
        if task is not None and task is not self._handler:
            self._in_flight.add_task(task)

    def note_failure(self, error: BaseException, call: StepCall) -> None:
        """Remember which step an error came out of."""
        self._failures.append((error, call))
        if self._joining is not None and self._joined_error is None:
            self._joined_error = error

    def end_step(self, step: StepExecution) -> None:
        """Count a step as running no more."""
        self._running.discard(step)
        if self._joining is not None:
            self._joining.set()

    # What the runner calls.

    def step_of(self, error: BaseException) -> StepCall | None:
        """The step that an error, or what led to it, came out of."""
        for cause in leading_to(error):
            for failure, call in self._failures:
                if failure is cause:
                    return call
        return None

    def begin(self, handler: asyncio.Task[Any]) -> None:
        """Name the task that runs the handler."""
        self._handler = handler
        self._in_flight.add_task(handler)
        handler.add_done_callback(self._end)

    def interrupt(self, why: Interruption) -> None:
        """End the attempt early: async code is cancelled, threads are told."""
        if self.interruption is None:
            self.interruption = why
        self.is_over = True
        self._end()
        self._in_flight.cancel()

    def time_out(self) -> None:
        """End the attempt because of the function's timeout, if it is not over."""
        # The handler may have ended in this very turn of the loop.
        if not self.ended.done() and not (self._handler and self._handler.done()):
            self._timed_out_in = [step.call for step in self._running]
            self.interrupt(Interruption.TIMEOUT)

    def note_timeout(self, error: TimeoutError) -> None:
        """Take an error for that of the steps that ran when the time was up."""
        self._failures.extend((error, call) for call in self._timed_out_in[:1])

    async def join(self) -> None:
        """Finish steps the handler started and did not await; raise their failure.

        Called in the handler's task, as the last thing it does.
        """
        if not (self._issued or self._running):
            return
        self._joining = asyncio.Event()
        # Tasks made for a step in the handler's last moment begin in this turn.
        await asyncio.sleep(0)
        while self._start_forgotten() or self._running:
            self._joining.clear()
            await self._joining.wait()
        if self._joined_error is not None:
            raise self._joined_error

    async def close(self) -> None:
        """Let no further step start, and wait until nothing of it runs any more."""
        self.is_over = True
        for step in self._issued:
            if step.can_begin and step.coroutine is not None:
                step.coroutine.close()
        self._issued.clear()
        await self._in_flight.end(self._report_late)

    def forget(self) -> None:
        """Drop what leads back here, once the attempt has its outcome.

        An exception holds the frames it came through, and they hold the attempt: in
        a cycle with it they and all their variables, the user's too, would wait for
        the garbage collector.
        """
        self.ctx = self.fatal = self._handler = self._joined_error = None
        self._failures.clear()
        self._step_ids.forget()

    def in_thread(self, threads: Threads, function: Callable[[], Any]) -> ThreadCall:
        """Run `function` in a thread with this context; tracked until it ends."""
        context = contextvars.copy_context()
        call = ThreadCall(threads, partial(context.run, function))
        self._in_flight.add_future(call.future)
        return call

    def keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Let `work` go on although its caller was cancelled; `close` awaits it."""
        future = asyncio.ensure_future(work)
        self._in_flight.add_future(future)
        return future

    # Inside.

    def _end(self, _: object = None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _start_forgotten(self) -> bool:
        """Run what was never awaited; whether there was anything."""
        forgotten = [step for step in self._issued if step.can_begin]
        self._issued.clear()
        for step in forgotten:
            logger.warning(
                'step "%s" of execution %s was never awaited; it runs now, before the '
                "execution completes",
                step.call.title,
                self.claim.execution.id,
                extra=self.fields,
            )
            if step.coroutine is not None:
                self._running.add(step)
                self._in_flight.add_future(asyncio.ensure_future(step.coroutine))
        return bool(forgotten)

    def _refuse_here(self, call: StepCall) -> None:
        if os.getpid() != self._process:
            raise self._misplaced(
                call,
                "in a forked child: steps start in the worker's own process, and a "
                "child may do the work of one",
            )
        outer = CURRENT_STEP.get()
        if outer is not None and outer.attempt is self:
            raise NestedStep(
                f'step "{call.title}" was started inside step "{outer.call.title}" of '
                f"execution {self.claim.execution.id}: a step is one unit that is "
                "recorded or repeated as a whole. Start it from the handler instead",
                title=call.title,
                execution_id=self.claim.execution.id,
            )

    def _refuse_too_many(self, call: StepCall) -> None:
        steps = len(self._issued) + len(self._running)
        if steps >= MOST or self._in_flight.is_full:
            raise StepError(
                f'step "{call.title}" is one too many: {MOST:,} steps or tasks of this '
                "attempt are unfinished. Start them in batches, and await each batch "
                "before the next",
                title=call.title,
                execution_id=self.claim.execution.id,
            )

    def _calling_task(self, call: StepCall) -> asyncio.Task[Any]:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        if task is not None and task.get_loop() is self.loop:
            return task
        raise self._misplaced(
            call,
            "outside the handler's event loop: in a thread use a sync handler, "
            "def handler(ctx: SyncContext[...])",
        )

    def _misplaced(self, call: StepCall, where: str) -> StepError:
        return StepError(
            f'step "{call.title}" was started {where}',
            title=call.title,
            execution_id=self.claim.execution.id,
        )

    def _report_late(self, count: int) -> None:
        logger.warning(
            "execution %s waits for %d task(s) or thread(s) of its attempt %d that do "
            "not end; it is not settled before",
            self.claim.execution.id,
            count,
            self.number,
            extra=self.fields,
        )


async def _never_starts() -> Any:
    # A turn for others first: code that swallows it and tries again stops nobody.
    await asyncio.sleep(0)
    raise Interrupted
