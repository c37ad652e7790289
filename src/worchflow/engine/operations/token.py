"""`step.token`: ask somebody outside, and wait for the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Optional

from typing_extensions import override

from ...definitions.calls import AnswerCall, TokenCall
from ...definitions.event_fields import has_no_other_keys
from ...foundations.errors import SerializationError
from ...model.events import NewEvent
from ...model.step_kind import StepKind
from ...model.tokens import ANSWER_EVENT, NO_ANSWER, answer_id
from ...model.waits import AwaitedEvent, NewWait
from ..parking import Waiting
from ..step_results import fatal, record_result, refuse_other_kind, replay
from ..step_use import StepUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.events import StoredEvent
    from ...model.records import StoredStep
    from ...model.waits import StoredWait


class MakeToken(StepUse[TokenCall]):
    """One use of `step.token` in one attempt.

    What is durable of it is its wait: first write wins, so a later attempt finds the
    same token. What is recorded under its identity is the answer.
    """

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.TOKEN

    def replay(self, recorded: StoredStep) -> Any:
        """The token, which has its answer already."""
        refuse_other_kind(self._attempt, self, recorded.kind)
        wait = self._attempt.journal.waits.get(self.step_id)
        if wait is None:
            raise fatal(
                self._attempt,
                SerializationError(f"the token {self.call.name} is stored no more"),
            )
        return self._made(wait)

    async def do(self) -> Any:
        """Have the store know the token before anybody else does."""
        attempt, call = self._attempt, self.call
        await attempt.claim_held()
        stored = attempt.journal.waits.get(self.step_id)
        if stored is None:
            runtime = attempt.runtime
            wait = NewWait(
                step_id=self.step_id,
                kind=self.kind,
                title=call.title,
                timeout=call.timeout,
                event=AwaitedEvent(
                    name=ANSWER_EVENT,
                    key=runtime.store.options.runtime.uuid().hex,
                    since=attempt.since("execution"),
                ),
                answer_schema=runtime.payloads.schema_of(
                    call.data_type, closed=has_no_other_keys(call.data_type)
                ),
            )
            stored = await attempt.journal.add_wait(wait)
        refuse_other_kind(attempt, self, stored.kind)
        return self._made(stored)

    def _made(self, wait: StoredWait) -> Any:
        call = self.call
        data_type = call.data_type
        if call.timeout is not None:
            data_type = Optional[data_type]  # noqa: UP045 - of a value
        answer = AnswerCall(call.title, data_type, call.key, self.step_id)
        return call.make(token_of(wait), answer)


class AwaitAnswer(StepUse[AnswerCall]):
    """One use of a token in one attempt: its answer, or None when its time is over."""

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.TOKEN

    def replay(self, recorded: StoredStep) -> Any:
        """The answer as the type that the code names now, or None."""
        return replay(self._attempt, self, recorded, lambda: self.call.data_type)

    @override
    def given_up(self) -> Sequence[str]:
        """Nothing: the handler has the token."""
        return ()

    async def do(self) -> Any:
        """Wait for the answer, and record it, or that the time was over."""
        attempt = self._attempt
        await self.begin()
        wait = attempt.journal.waits[self.step_id]
        while True:
            await attempt.claim_held()
            round_ = attempt.parking.wakeups.round
            look = await attempt.calls.find_event(wait, (), ())
            answer = look.event
            if answer is None and look.left == 0:
                answer = await self._refuse_answers(wait)
                if answer is None:
                    return await self._record(None)
            if answer is not None:
                return await self._record(self._decoded(answer))
            await attempt.parking.wait(self._waiting(wait, look.left, round_))

    async def _refuse_answers(self, wait: StoredWait) -> StoredEvent | None:
        """Take the place of the answer in the log; an answer that was in time first.

        Its stamp alone would not do: the next server's clock may be behind.
        """
        token = token_of(wait)
        event = NewEvent(id=answer_id(token), name=NO_ANSWER, key=token, data="null")
        stored = await self._attempt.calls.append_event(event, self.call.title)
        is_in_time = wait.deadline is None or stored.at < wait.deadline
        return stored if stored.name == ANSWER_EVENT and is_in_time else None

    def _decoded(self, answer: StoredEvent) -> Any:
        attempt = self._attempt
        where = f"the answer to the token {self.call.name}"
        try:
            return attempt.runtime.payloads.decode(
                answer.data, self.call.data_type, where=where
            )
        except SerializationError as error:
            raise fatal(attempt, error) from error.__cause__

    async def _record(self, value: Any) -> Any:
        return await record_result(self._attempt, self, value, self.call.data_type)

    def _waiting(self, wait: StoredWait, left: float | None, round_: int) -> Waiting:
        return Waiting(
            self,
            self.kind,
            f"the answer to token {self.call.name}",
            None if left is None else self._attempt.loop.time() + left,
            wait.deadline,
            is_told=True,
            round=round_,
        )


def token_of(wait: StoredWait) -> str:
    """The id of the token whose answer ends a wait."""
    return (wait.event and wait.event.key) or ""
