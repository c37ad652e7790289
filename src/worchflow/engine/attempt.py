"""One attempt: the facts that its parts share, its journal and its scope."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from ..foundations.errors import PayloadTooLarge
from ..serialization.exception_text import leading_to
from .journal import Journal
from .open_children import OpenChildren
from .open_waits import OpenWaits
from .ownership import Interrupted, Interruption
from .parking import Parking
from .running_time import RunningTime
from .scope import Scope
from .store_calls import StoreCalls
from .wakeups import Wakeups

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ..definitions.calls import NamedCall, Since
    from ..definitions.function import AnyFunction
    from ..foundations.errors import DeadlineExceeded
    from ..model.records import Claim, StoredStep
    from .execution_deadline import ExecutionDeadline
    from .operation import Operation
    from .ownership import Ownership
    from .slot import Slot
    from .worker_runtime import WorkerRuntime

MAX_FAILURES = 32
"""So many errors of steps are told apart; a handler may catch any number."""


class Attempt:
    """The run of one handler under one claim."""

    __slots__ = (
        "_failures",
        "_open_children",
        "_open_waits",
        "_parking",
        "_slot",
        "_timed_out_in",
        "began",
        "calls",
        "claim",
        "ctx",
        "deadline",
        "fatal",
        "fields",
        "function",
        "handler_thread",
        "journal",
        "loop",
        "number",
        "ownership",
        "running_time",
        "runtime",
        "scope",
        "unrecorded_bytes",
        "unrecorded_failures",
    )

    def __init__(
        self,
        runtime: WorkerRuntime,
        ownership: Ownership,
        claim: Claim,
        function: AnyFunction,
        slot: Slot,
        deadline: ExecutionDeadline | None = None,
    ) -> None:
        self.runtime = runtime
        self.ownership = ownership
        self.claim = claim
        self.function = function
        self.number = claim.execution.attempt_count + 1
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.fields: dict[str, object] = {
            "execution_id": claim.execution.id,
            "function": function.id,
            "attempt": self.number,
        }
        """What every log line about the attempt carries."""
        self.scope = Scope(self.fields)
        self.calls = StoreCalls(runtime, claim, self.scope, self.fields)
        self.journal = Journal(runtime, claim, function, self.scope, self.calls)
        self.running_time: RunningTime | None = None
        """None for a function without a timeout."""
        if function.timeout is not None:
            seconds = function.timeout
            self.running_time = RunningTime(self.loop, seconds, self.time_out)
        self.deadline = deadline
        """None for an execution that may take as long as it wants."""
        self._slot = slot
        self._parking: Parking | None = None
        self.handler_thread: int | None = None
        """The thread of a plain handler."""
        self.ctx: Any = None
        """What the handler was given."""
        self.fatal: Exception | None = None
        """A result that cannot be stored or decoded: fails the execution at once."""
        self._failures: deque[tuple[BaseException, NamedCall]] = deque(
            maxlen=MAX_FAILURES
        )
        """The newest errors that came out of a step, and which."""
        self.unrecorded_failures: dict[str, StoredStep] = {}
        """Failures that no record tells of: a resume of this attempt would repeat the
        steps, so they are recorded before it is suspended."""
        self.unrecorded_bytes = 0
        """About how many bytes these take."""
        self._timed_out_in: NamedCall | None = None
        self._open_children: OpenChildren | None = None
        self._open_waits: dict[tuple[str, str | None], OpenWaits] = {}

    async def perform(self, operation: Operation) -> Any:
        """The operation's value, from its record or done and recorded now."""
        self.scope.begin(operation)
        self.journal.ask_for(operation.step_id)
        failure: BaseException | None = None
        try:
            if operation.recorded() is None:
                self.refuse_more(1, operation.call)
            return await self.journal.once(operation)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            failure = error
            self._failures.append((error, operation.call))
            raise
        finally:
            self.scope.end(operation, failure)
            failure = None  # It holds this frame.
            if (parking := self._parking) is not None:
                parking.look_soon()
                if parking.is_parked:
                    await parking.resume()

    def refuse_more(self, count: int, call: NamedCall) -> None:
        """Fail the execution if it cannot have so many more steps, before any runs."""
        try:
            self.journal.refuse(count, call.name)
        except PayloadTooLarge as error:
            error.execution_id = self.claim.execution.id
            self.fatal = error
            raise

    async def claim_held(self) -> None:
        """Return while its claim holds; `Interrupted` once the attempt is over."""
        if not self.ownership.holds():
            await self.ownership.regain()
        if self.scope.is_over:
            raise Interrupted

    @property
    def parking(self) -> Parking:
        """Its waits; made for the first, for most attempts have none."""
        if self._parking is None:
            self._parking = Parking(
                self.scope,
                self._slot,
                self.runtime.parking,
                self.fields,
                self._pause_time,
                self.journal.size,
                Wakeups(self.scope, self.claim.execution.wakeups, self.calls.wakeups),
            )
        return self._parking

    def woken(self) -> None:
        """Look again for what the code waits for: somebody has woken the execution."""
        if not self.scope.is_over:
            self.parking.wakeups.woken()

    @property
    def open_children(self) -> OpenChildren:
        """The children that it waits for."""
        if self._open_children is None:
            store = self.runtime.store.children
            self._open_children = OpenChildren(self.scope, self.parking, store)
        return self._open_children

    def open_waits(self, event_name: str, key: str | None) -> OpenWaits:
        """Its open waits for the events of a name and a correlation key."""
        found = self._open_waits.get((event_name, key))
        if found is None:
            found = self._open_waits[event_name, key] = OpenWaits()
        return found

    def forget_failures(self, step_ids: Sequence[str]) -> None:
        """Let a resume not know of failures: they are not those that counted."""
        for each in step_ids:
            self.unrecorded_failures.pop(each, None)

    def leave_out(self, step_ids: Sequence[str]) -> None:
        """Give up steps that have lost a race, in the calling thread."""
        self.journal.leave_out(step_ids)
        if any(self._open_waits.values()):
            self.loop.call_soon_threadsafe(self._look_for_events)

    def _look_for_events(self) -> None:
        """Let every wait look again: what another has taken may be free now."""
        for open_waits in self._open_waits.values():
            for each in open_waits:
                each.reconsider()
        # Not only those that wait now: one may be about to, and has looked before.
        self.parking.wakeups.begin_round()

    def since(self, since: Since) -> datetime | None:
        """The moment from which on events count; None: from now on."""
        if since == "now":
            return None
        if since != "execution":
            return since
        execution = self.claim.execution
        accepted = execution.accepted_at or execution.created_at
        return accepted - self.runtime.store.events.clocks_apart

    def has_time_for(self, delay: float) -> bool:
        """Whether what comes after so many seconds could begin before the deadline."""
        deadline = self.deadline
        return deadline is None or not deadline.has_passed(self.loop.time() + delay)

    def _pause_time(self, paused: bool) -> None:  # noqa: FBT001
        if self.running_time is not None:
            self.running_time.pause(paused)

    def replay(self, operation: Operation, recorded: StoredStep) -> Any:
        """The value of an operation's record, in the calling thread."""
        self.journal.ask_for(operation.step_id)
        try:
            return operation.replay(recorded)
        except Exception as error:
            self._failures.append((error, operation.call))
            raise

    def step_of(self, error: BaseException) -> NamedCall | None:
        """The step that an error, or what led to it, came out of."""
        # A copy: threads that the handler started may still add to it.
        failures = tuple(self._failures)
        for cause in leading_to(error):
            for failure, call in failures:
                if failure is cause:
                    return call
        return None

    def time_out(self, why: Interruption = Interruption.TIMEOUT) -> None:
        """End the attempt because its time is up, if it is not over."""
        if self.scope.handler_runs:
            running = self.scope.first_running
            self._timed_out_in = running.call if running else None
            self.scope.interrupt(why)

    def note_timeout(self, error: TimeoutError | DeadlineExceeded) -> None:
        """Take an error for that of the step that ran when the time was up."""
        if self._timed_out_in is not None:
            self._failures.append((error, self._timed_out_in))

    def forget(self) -> None:
        """Drop what leads back here, once the attempt has its outcome.

        An exception holds the frames it came through, and they hold the attempt: in
        a cycle with it they and all their variables, the user's too, would wait for
        the garbage collector.
        """
        self.ctx = self.fatal = None
        self._failures.clear()
        self.unrecorded_failures.clear()
        self._open_waits.clear()
        self._open_children = None
        if self._parking is not None:
            self._parking.close()
            self._parking = None
        self.scope.forget()
        self.journal.forget()
