"""`step.wait_for_event`: take an event from the log, or record that none came."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Optional

from ...definitions.calls import WaitCall
from ...foundations.errors import SerializationError
from ...model.events import LogLook, sent_id
from ...model.step_kind import StepKind
from ...model.waits import AwaitedEvent, NewWait
from ..parking import Waiting
from ..step_results import record_result, refuse_other_kind, replay
from ..step_use import StepUse

if TYPE_CHECKING:
    from ...model.events import StoredEvent
    from ...model.records import StoredStep
    from ...model.waits import StoredWait
    from ..attempt import Attempt
    from ..threads import Executor

logger = logging.getLogger("worchflow.engine")


class WaitForEvent(StepUse[WaitCall]):
    """One use of `step.wait_for_event` in one attempt.

    The wait is stored before the log is looked at, so that whoever appends an event
    later finds it.
    """

    __slots__ = ("_open_waits", "_passed", "_taken", "_wait")
    kind: ClassVar[StepKind] = StepKind.WAIT

    def __init__(
        self, attempt: Attempt, call: WaitCall, step_id: str, threads: Executor
    ) -> None:
        super().__init__(attempt, call, step_id, threads)
        self._open_waits = attempt.open_waits(call.event_name, call.correlation_key)
        self._wait: StoredWait | None = None
        """None until the store knows of it."""
        self._passed = {sent_id(attempt.claim.execution.id)}
        """Events that do not fit its type, and the one that the execution itself is: it
        is not what it waits for."""
        self._taken: set[str] = set()
        """Events that other steps have taken."""

    def replay(self, recorded: StoredStep) -> Any:
        """The event's data as the type that the code names now, or None."""
        return replay(self._attempt, self, recorded, lambda: self._type)

    async def do(self) -> Any:
        """Wait for the event, and record it, or that its time was over."""
        attempt, open_waits = self._attempt, self._open_waits
        await self.begin()
        try:
            while True:
                async with open_waits.turn:
                    await attempt.claim_held()
                    if (wait := self._wait) is None:
                        wait = self._wait = await self._stored()
                        open_waits.add(self)
                    round_ = attempt.parking.wakeups.round
                    look = await self._look(wait)
                    if look.event is not None:
                        is_there, value = await self._take(wait, look.event)
                        if is_there:
                            return await self._end(value)
                        open_waits.forgo(self)
                        self._leave_to_others()
                        continue
                    if look.left == 0:
                        return await self._end(None)
                await attempt.parking.wait(self._waiting(wait, look.left, round_))
        finally:
            if open_waits.remove(self):
                self._leave_to_others()

    def may_take(self, event: StoredEvent) -> bool:
        """Whether an event of its name and key may end it."""
        wait = self._wait
        if wait is None or wait.event is None:
            return False
        if event.id in self._passed or event.id in self._taken:
            return False
        since, deadline = wait.event.since, wait.deadline
        return (since is None or since <= event.at) and (
            deadline is None or event.at < deadline
        )

    def reconsider(self) -> None:
        """Look again at what other steps had taken: it may be free now."""
        self._taken.clear()

    async def _stored(self) -> StoredWait:
        """The wait as the store knows it."""
        attempt, call = self._attempt, self.call
        stored = attempt.journal.waits.get(self.step_id)
        if stored is not None:
            refuse_other_kind(attempt, self, stored.kind)
            return stored
        event = AwaitedEvent(
            name=call.event_name,
            key=call.correlation_key,
            since=attempt.since(call.since),
        )
        wait = NewWait(
            step_id=self.step_id,
            kind=self.kind,
            title=call.title,
            timeout=call.timeout,
            event=event,
        )
        return await attempt.journal.add_wait(wait)

    async def _look(self, wait: StoredWait) -> LogLook:
        """What the log has for this wait, and not for one that was asked for before."""
        attempt, open_waits = self._attempt, self._open_waits
        if (event := open_waits.promised_to(self)) is not None:
            return LogLook(event=event, left=None)
        while True:
            not_these = self._passed.union(self._taken, open_waits.promised)
            left_out = attempt.journal.left_out
            look = await attempt.calls.find_event(wait, not_these, left_out)
            if look.event is None:
                return look
            first = open_waits.promise(look.event, self)
            if first is self:
                return look
            attempt.parking.look_again(first)

    def _leave_to_others(self) -> None:
        """Have the others look for what was promised to this one."""
        for other in self._open_waits:
            self._attempt.parking.look_again(other)

    async def _end(self, value: Any) -> Any:
        # Nothing is promised any more to a wait that is over.
        self._open_waits.remove(self)
        return await record_result(self._attempt, self, value, self._type)

    async def _take(self, wait: StoredWait, event: StoredEvent) -> tuple[bool, Any]:
        """Whether the event is this wait's, and its data."""
        attempt = self._attempt
        try:
            value = attempt.runtime.payloads.decode(
                event.data,
                self.call.data_type,
                where=f'the data of event "{event.name}" ({event.id})',
            )
        except SerializationError as error:
            self._passed.add(event.id)
            logger.error(  # noqa: TRY400 - of the sender's making
                "event %s is passed over by wait %s of execution %s: %s",
                event.id,
                self.call.name,
                attempt.claim.execution.id,
                error,
                extra={**attempt.fields, "step": self.call.title},
            )
            return False, None
        if await attempt.calls.take_event(wait, event, attempt.journal.left_out):
            return True, value
        self._taken.add(event.id)
        return False, None

    def _waiting(self, wait: StoredWait, left: float | None, round_: int) -> Waiting:
        event = wait.event
        name = event.name if event else self.call.event_name
        key = f" (key {event.key})" if event and event.key is not None else ""
        return Waiting(
            self,
            self.kind,
            f'event "{name}"{key} at {self.call.name}',
            None if left is None else self._attempt.loop.time() + left,
            wait.deadline,
            is_told=True,
            round=round_,
        )

    @property
    def _type(self) -> Any:
        data_type = self.call.data_type
        return data_type if self.call.timeout is None else Optional[data_type]  # noqa: UP045 - of a value
