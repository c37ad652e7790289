"""Where the calls of a context arrive: checked, identified, and made operations."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..definitions.calls import (
    AnswerCall,
    CancelCall,
    ChildCall,
    InvokeCall,
    InvokeManyCall,
    MapCall,
    NamedCall,
    RaceCall,
    SendCall,
    SleepCall,
    StartCall,
    StepCall,
    TokenCall,
    WaitCall,
)
from ..foundations.errors import NestedStep, StepError
from ..foundations.ids import step_id
from .calling_thread import CallingThread, runs_a_loop
from .execution_log import ExecutionLog
from .operations.invoke import AwaitChild, CancelChild, Invoke, Start
from .operations.race import Race
from .operations.run import Run
from .operations.send import Send
from .operations.several import InvokeMany, Map
from .operations.sleep import Sleep
from .operations.token import AwaitAnswer, MakeToken
from .operations.wait_for_event import WaitForEvent
from .ownership import Interrupted
from .parts import PartOutcome
from .race_arms import CURRENT_ARM, BlockingArm, asked_arms, issued_arms
from .scope import MAX_UNFINISHED
from .step_function import CURRENT_STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from .attempt import Attempt
    from .operation import Operation
    from .threads import Executor

OPERATIONS: Mapping[
    type[NamedCall], Callable[[Attempt, Any, str, Executor], Operation]
] = {
    StepCall: Run,
    SleepCall: Sleep,
    WaitCall: WaitForEvent,
    SendCall: Send,
    InvokeCall: Invoke,
    StartCall: Start,
    ChildCall: AwaitChild,
    CancelCall: CancelChild,
    MapCall: Map,
    InvokeManyCall: InvokeMany,
    RaceCall: Race,
    TokenCall: MakeToken,
    AnswerCall: AwaitAnswer,
}
"""The operation for each kind of call that a context makes."""


class ContextCalls:
    """The `StepRunner` of one attempt."""

    __slots__ = ("_attempt", "_log", "_loop_thread", "_process")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._loop_thread = threading.get_ident()
        self._process = os.getpid()
        self._log: ExecutionLog | None = None

    def run(self, call: NamedCall) -> Coroutine[Any, Any, Any]:
        """Take the step's identity now; the returned coroutine runs it."""
        self._refuse_here(call)
        attempt, scope = self._attempt, self._attempt.scope
        task = self._calling_task(call)
        if scope.is_over:
            return _never_starts()
        if isinstance(call, RaceCall):
            call = replace(call, arms=tuple(issued_arms(scope, call)))
        if scope.is_full:
            raise self._one_too_many(call)
        identity = attempt.journal.identify(call, task)
        threads = attempt.runtime.step_threads
        operation = OPERATIONS[type(call)](attempt, call, identity, threads)
        return scope.issue(operation, attempt.perform(operation), task)

    def run_blocking(self, call: NamedCall) -> Any:
        """Run a step for the calling thread, which waits, and runs plain functions."""
        self._refuse_here(call)
        attempt = self._attempt
        thread = threading.current_thread()
        if thread.ident == self._loop_thread:
            raise self._misplaced(
                call,
                "from the event loop, which it would block forever: in an async "
                "handler annotate the parameter as Context[...]",
            )
        if attempt.scope.is_over:
            raise Interrupted
        if attempt.scope.is_full:
            raise self._one_too_many(call)
        if (arm := CURRENT_ARM.get()) is not None:
            if (outcome := arm.take_outcome()) is not None:
                try:
                    return outcome.unwrap()
                finally:
                    del outcome  # It may hold an error that holds this frame.
            arm.note(self._made(call, thread, attempt.runtime.step_threads))
        if isinstance(call, RaceCall):
            return self._race(call, thread)
        return self._blocking_result(call, thread)

    def _made(
        self, call: NamedCall, thread: threading.Thread, threads: Executor
    ) -> Operation:
        attempt = self._attempt
        identity = attempt.journal.identify(call, thread)
        return OPERATIONS[type(call)](attempt, call, identity, threads)

    def _blocking_result(self, call: NamedCall, thread: threading.Thread) -> Any:
        caller = CallingThread(self._attempt.loop)
        # A function could not start a loop where one runs already.
        pool = self._attempt.runtime.step_threads
        operation = self._made(call, thread, pool if runs_a_loop() else caller)
        return self._value(operation, caller, thread)

    def _race(self, call: RaceCall, thread: threading.Thread) -> Any:
        """The first arm, and what its function makes of its value."""
        attempt, arms = self._attempt, [BlockingArm(each) for each in call.arms]
        call = replace(call, arms=tuple(asked_arms(call, arms)))
        caller = CallingThread(attempt.loop)
        identity = attempt.journal.identify(call, thread)
        race = Race(attempt, call, identity, attempt.runtime.step_threads)
        try:
            outcome = PartOutcome(self._value(race, caller, thread)[1])
        except Exception as error:  # noqa: BLE001 - it is raised where it belongs
            outcome = PartOutcome(error=error)
        try:
            if race.winner is None:
                return outcome.unwrap()
            return race.name_of(race.winner), arms[race.winner].result(outcome)
        finally:
            del outcome  # It may hold an error that holds this frame.

    def _value(
        self, operation: Operation, caller: CallingThread, thread: threading.Thread
    ) -> Any:
        attempt = self._attempt
        if (recorded := operation.recorded()) is not None:
            return attempt.replay(operation, recorded)
        if thread.ident == attempt.handler_thread:
            attempt.scope.of_handler_thread = operation
        return caller.result_of(attempt.perform(operation))

    def idempotency_key(self, title: str | None, key: str | None) -> str:
        """The stable key of a step: of the running one, or of the one named."""
        execution_id = self._attempt.claim.execution.id
        if title is not None:
            identity = step_id(title, key=key)
        elif (step := CURRENT_STEP.get()) is not None and step.attempt is self._attempt:
            identity = step.step_id
        else:
            raise StepError(
                "ctx.idempotency_key() without a title names the running step, and "
                "no step is running: pass the title of the step that is meant",
                execution_id=execution_id,
            )
        return f"{execution_id}:{identity}"

    @property
    def cancelled(self) -> bool:
        """Whether the running code should end: threads cannot be stopped otherwise."""
        step = CURRENT_STEP.get()
        if step is not None and step.attempt is self._attempt:
            return step.should_end()
        return self._attempt.scope.is_over

    @property
    def log(self) -> ExecutionLog:
        """The logger of the handler."""
        if self._log is None:
            attempt = self._attempt
            self._log = ExecutionLog(attempt.fields, attempt.journal.replay)
        return self._log

    def _refuse_here(self, call: NamedCall) -> None:
        if os.getpid() != self._process:
            raise self._misplaced(
                call,
                "in a forked child: steps start in the worker's own process, and a "
                "child may do the work of one",
            )
        outer = CURRENT_STEP.get()
        if outer is not None and outer.attempt is self._attempt:
            execution_id = self._attempt.claim.execution.id
            raise NestedStep(
                f'step "{call.title}" was started inside step "{outer.call.title}" of '
                f"execution {execution_id}: a step is one unit that is "
                "recorded or repeated as a whole. Start it from the handler instead",
                title=call.title,
                execution_id=execution_id,
            )

    def _one_too_many(self, call: NamedCall) -> StepError:
        return StepError(
            f'step "{call.title}" is one too many: {MAX_UNFINISHED:,} steps or tasks '
            "of this attempt are unfinished. Start them in batches, and await each "
            "batch before the next",
            title=call.title,
            execution_id=self._attempt.claim.execution.id,
        )

    def _calling_task(self, call: NamedCall) -> asyncio.Task[Any]:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        if task is not None and task.get_loop() is self._attempt.loop:
            return task
        raise self._misplaced(
            call,
            "outside the handler's event loop: in a thread use a sync handler, "
            "def handler(ctx: SyncContext[...])",
        )

    def _misplaced(self, call: NamedCall, where: str) -> StepError:
        return StepError(
            f'step "{call.title}" was started {where}',
            title=call.title,
            execution_id=self._attempt.claim.execution.id,
        )


async def _never_starts() -> Any:
    # A turn for others first: code that swallows it and tries again stops nobody.
    await asyncio.sleep(0)
    raise Interrupted
