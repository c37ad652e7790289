"""`step.send`: start executions of their own, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ...definitions.calls import SendCall
from ...foundations.errors import InvalidInput
from ...foundations.ids import derived_id
from ...model.step_kind import StepKind
from ..step_results import fatal, record_result, replay
from ..step_use import StepUse

if TYPE_CHECKING:
    from ...model.records import StoredStep
    from ..sending import Prepared


class Send(StepUse[SendCall]):
    """One use of `step.send` in one attempt.

    The ids are derived from the execution and the step, so what a crash keeps from
    being recorded finds itself accepted.
    """

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.SEND

    def replay(self, recorded: StoredStep) -> Any:
        """The ids of what was sent."""
        return replay(self._attempt, self, recorded, lambda: self._type)

    async def do(self) -> Any:
        """Have all accepted, and record their ids."""
        attempt = self._attempt
        await self.begin()
        try:
            prepared = [self._prepared(*each) for each in enumerate(self.call.messages)]
        except InvalidInput as error:
            raise fatal(attempt, error) from error.__cause__
        await attempt.calls.send(prepared, self.call.title)
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
