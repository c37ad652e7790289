"""`step.send`: start executions of their own, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ...foundations.errors import InvalidInput
from ...foundations.ids import derived_id
from ...model.step_kind import StepKind
from ..step_results import fatal, record_result, replay

if TYPE_CHECKING:
    from datetime import datetime

    from ...definitions.calls import SendCall
    from ...model.records import StoredStep
    from ..attempt import Attempt
    from ..sending import Prepared
    from ..threads import Executor


class Send:
    """One use of `step.send` in one attempt.

    The ids are derived from the execution and the step, so what a crash keeps from
    being recorded finds itself accepted.
    """

    __slots__ = ("_attempt", "call", "started_at", "step_id", "tries")
    kind: ClassVar[StepKind] = StepKind.SEND

    def __init__(
        self, attempt: Attempt, call: SendCall, step_id: str, _: Executor
    ) -> None:
        self.call = call
        self.step_id = step_id
        self.tries = 1
        self.started_at: datetime | None = None
        self._attempt = attempt

    def replay(self, recorded: StoredStep) -> Any:
        """The ids of what was sent."""
        return replay(self._attempt, self, recorded, lambda: self._type)

    async def do(self) -> Any:
        """Have all accepted, and record their ids."""
        attempt = self._attempt
        self.started_at = attempt.runtime.clock.now()
        await attempt.claim_held()
        try:
            prepared = [self._prepared(*each) for each in enumerate(self.call.messages)]
        except InvalidInput as error:
            raise fatal(attempt, error) from error.__cause__
        await attempt.journal.send(prepared, self.call.title)
        ids = [each.execution.id for each in prepared]
        value = ids[0] if self.call.is_one else ids
        return await record_result(attempt, self, value, self._type)

    def _prepared(self, number: int, message: object) -> Prepared:
        execution = self._attempt.claim.execution
        return self._attempt.runtime.sender.prepare(
            message,
            id=derived_id(execution.nonce or execution.id, self.step_id, number),
            headers=execution.headers,
        )

    @property
    def _type(self) -> Any:
        return str if self.call.is_one else list[str]
