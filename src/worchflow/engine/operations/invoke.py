"""`step.invoke` and `step.start`: executions that are children of this one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from typing_extensions import override

from ...definitions.calls import CancelCall, ChildCall, InvokeCall, StartCall
from ...foundations.durations import format_duration
from ...foundations.errors import ExecutionNotFound, InvalidInput
from ...foundations.ids import derived_id, part_id
from ...model.children import MAX_DEPTH
from ...model.records import ExecutionStatus, Parent
from ...model.step_kind import StepKind
from ...model.waits import NewWait
from ..child_outcomes import record_outcome, record_timeout, replay_outcome
from ..parking import Waiting
from ..step_results import fatal, record_result, refuse_other_kind, replay
from ..step_use import StepUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.children import Child
    from ...model.records import StoredStep
    from ...model.waits import StoredWait
    from ..attempt import Attempt
    from ..sending import Prepared

RESULT, CANCELLATION = "=", "x"
"""What tells the records of a child that was started from that of its start."""


CallT = TypeVar("CallT", bound=InvokeCall | ChildCall)


class AwaitsChild(StepUse[CallT], ABC):
    """One use of an operation that waits for a child, in one attempt."""

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.INVOKE

    @property
    @abstractmethod
    def _child_id(self) -> str: ...

    @abstractmethod
    def _prepared(self) -> Prepared | None:
        """What the child is started with; None for one that was started."""

    @property
    def _is_cancelled(self) -> bool:
        """Whether the handler has cancelled it itself, which is recorded."""
        return False

    def replay(self, recorded: StoredStep) -> Any:
        """The child's result as the type that the code names now, or its failure."""
        result_type = self.call.result_type
        return replay_outcome(
            self._attempt, self, recorded, self._child_id, result_type
        )

    async def do(self) -> Any:
        """Wait for the child's end, and record it, or that the time was over."""
        attempt, children = self._attempt, self._attempt.open_children
        await self.begin()
        child_id, timeout = self._child_id, self.call.timeout
        prepared = self._prepared()
        # The first timeout counts for every use.
        wait = attempt.journal.waits.get(self.step_id)
        if wait is not None:
            refuse_other_kind(attempt, self, wait.kind)
        elif timeout is not None:
            wait = await self._stored_wait(timeout)
        at = None if wait is None else self._time_of(wait)
        round_ = attempt.parking.wakeups.round
        child = await self._started(child_id, prepared)
        children.add(child_id, self)
        try:
            while child is None or not child.status.is_terminal:
                if at is not None and at <= attempt.loop.time():
                    return await self._time_over(child_id, timeout)
                await attempt.parking.wait(self._waiting(child_id, at, wait, round_))
                await attempt.claim_held()
                # Before it is looked at: what ended before the deadline counts.
                round_ = attempt.parking.wakeups.round
                child = await self._found(child_id)
        finally:
            children.remove(child_id)
        return await record_outcome(attempt, self, child, self.call.result_type)

    async def _started(self, child_id: str, prepared: Prepared | None) -> Child | None:
        """The child, started if there is none; None for one that was started now."""
        attempt = self._attempt
        if prepared is None:
            return await self._found(child_id)
        if attempt.claim.execution.has_children:
            # An earlier claim may have started it.
            child = await self._find(child_id)
            if child is not None:
                return child
        if await start_child(attempt, prepared, self.call.title):
            return await self._found(child_id)
        return None

    async def _found(self, child_id: str) -> Child:
        """The child; `ExecutionNotFound` if it was removed."""
        child = await self._find(child_id)
        if child is None:
            raise ExecutionNotFound(
                f"child {child_id} of step {self.call.name} was removed, or cannot be "
                "read: see the log",
                execution_id=child_id,
            )
        return child

    async def _find(self, child_id: str) -> Child | None:
        """How the child stands; one of an earlier life is taken into this one first."""
        attempt, title = self._attempt, self.call.title
        child = await attempt.calls.find_child(attempt.open_children, child_id, title)
        if child is None or child.status is ExecutionStatus.COMPLETED:
            return child
        if child.token >= attempt.claim.execution.retry_token or self._is_cancelled:
            return child
        await attempt.calls.retry_child(child_id, title)
        return await attempt.calls.find_child(attempt.open_children, child_id, title)

    def _waiting(
        self, child_id: str, at: float | None, wait: StoredWait | None, round_: int
    ) -> Waiting:
        return Waiting(
            self,
            self.kind,
            f"the result of child {child_id} at {self.call.name}",
            at,
            None if wait is None else wait.deadline,
            is_told=True,
            round=round_,
            together=self._attempt.open_children,
        )

    async def _stored_wait(self, timeout: float) -> StoredWait:
        return await self._attempt.journal.add_wait(
            NewWait(
                step_id=self.step_id,
                kind=self.kind,
                title=self.call.title,
                timeout=timeout,
            )
        )

    def _time_of(self, wait: StoredWait) -> float:
        """The deadline on the clock of the event loop."""
        attempt = self._attempt
        since = attempt.journal.told_at.get(self.step_id, attempt.began)
        return since + (wait.left or 0.0)

    async def _time_over(self, child_id: str, timeout: float | None) -> Any:
        """Cancel the child, and then record that its time is over.

        In this order: what is recorded is not done again.
        """
        attempt, title = self._attempt, self.call.title
        long = None if timeout is None else format_duration(timeout)
        reason = f"its parent waited no longer{f' than {long}' if long else ''}"
        await attempt.calls.cancel_child(child_id, reason, title)
        child = await self._found(child_id)
        if child.status is ExecutionStatus.COMPLETED:
            return await record_outcome(attempt, self, child, self.call.result_type)
        late = TimeoutError(
            f"child {child_id} of step {self.call.name} has not ended "
            f"{f'within {long}' if long else 'in time'}"
        )
        return await record_timeout(attempt, self, late)


class Invoke(AwaitsChild[InvokeCall]):
    """`step.invoke`.

    The child's id is derived from the execution and the step, so a later attempt finds
    the child that an earlier one has started.
    """

    __slots__ = ()

    @property
    @override
    def _child_id(self) -> str:
        return id_of_child(self._attempt, self.step_id)

    @override
    def _prepared(self) -> Prepared:
        message = self.call.message
        return prepare_child(self._attempt, self.step_id, message, leaves=False)

    @override
    async def abandon(self, reason: str) -> None:
        """Cancel the child: nobody can ask for its result any more."""
        calls, title = self._attempt.calls, self.call.title
        await calls.cancel_children([self._child_id], reason, title)


class AwaitChild(AwaitsChild[ChildCall]):
    """The result of a child that was started."""

    __slots__ = ()

    @property
    @override
    def _child_id(self) -> str:
        return self.call.child_id

    @override
    def _prepared(self) -> None:
        return None

    @override
    def given_up(self) -> Sequence[str]:
        """Nothing: the handler has the child."""
        return ()

    @property
    @override
    def _is_cancelled(self) -> bool:
        return self._attempt.journal.find(self.call.cancellation_id) is not None


class Start(StepUse[StartCall]):
    """One use of `step.start` in one attempt: its record is the child's id."""

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.START

    def replay(self, recorded: StoredStep) -> Any:
        """What gives the result of the child."""
        return self._made(replay(self._attempt, self, recorded, lambda: str))

    async def do(self) -> Any:
        """Start the child, and record its id."""
        attempt, call = self._attempt, self.call
        await self.begin()
        prepared = prepare_child(
            attempt, self.step_id, call.message, leaves=call.leaves
        )
        await start_child(attempt, prepared, call.title)
        return self._made(
            await record_result(attempt, self, prepared.execution.id, str)
        )

    def _made(self, child_id: str) -> Any:
        call = self.call
        cancellation_id = part_id(self.step_id, CANCELLATION)
        result = ChildCall(
            f"{call.title}: result",
            child_id,
            call.result_type,
            call.key,
            part_id(self.step_id, RESULT),
            cancellation_id,
        )
        cancellation = CancelCall(
            f"{call.title}: cancel", child_id, call.key, cancellation_id
        )
        return call.make(child_id, result, cancellation)


class CancelChild(StepUse[CancelCall]):
    """One cancellation of a child that was started."""

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.START

    def replay(self, recorded: StoredStep) -> Any:
        """Nothing: it is cancelled."""
        return replay(self._attempt, self, recorded, lambda: None)

    async def do(self) -> Any:
        """Cancel it, and record that."""
        await self.begin()
        call = self.call
        await self._attempt.calls.cancel_child(call.child_id, call.reason, call.title)
        return await record_result(self._attempt, self, None, None)


def id_of_child(attempt: Attempt, step_id: str) -> str:
    """The id of the child that a step starts."""
    execution = attempt.claim.execution
    return derived_id(execution.nonce or execution.id, step_id)


def prepare_child(
    attempt: Attempt, step_id: str, message: object, *, leaves: bool
) -> Prepared:
    """What a child is started with; what is wrong with it fails the execution."""
    own = attempt.claim.execution
    if own.depth >= MAX_DEPTH:
        raise fatal(
            attempt,
            InvalidInput(
                f"execution {own.id} has {own.depth} parents above it and cannot have "
                f"children: at most {MAX_DEPTH} are kept one below the other. If they "
                "start each other without end, let them; else send what is to run on "
                "its own, with step.send",
                field="message",
            ),
        )
    try:
        prepared = attempt.runtime.sender.prepare(
            message, id=id_of_child(attempt, step_id), headers=own.headers
        )
    except InvalidInput as error:
        raise fatal(attempt, error) from error.__cause__
    parent = Parent(own.id, own.nonce, step_id, attempt.claim.token, leaves)
    execution = replace(prepared.execution, parent=parent, depth=own.depth + 1)
    return replace(prepared, execution=execution)


async def start_child(attempt: Attempt, prepared: Prepared, title: str) -> bool:
    """Have a child accepted; whether there was one of its id before."""
    (accepted,) = await attempt.calls.start_children([prepared], title)
    return accepted.duplicate
