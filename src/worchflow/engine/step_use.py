"""What the operations have in common that are tried once in an attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ..definitions.calls import NamedCall
    from ..model.records import StoredStep
    from ..model.step_kind import StepKind
    from .attempt import Attempt
    from .threads import Executor

CallT = TypeVar("CallT", bound="NamedCall")


class StepUse(Generic[CallT]):
    """One use of an operation in one attempt."""

    __slots__ = ("_attempt", "call", "started_at", "step_id", "tries")
    kind: ClassVar[StepKind]
    started_at: datetime | None

    def __init__(
        self, attempt: Attempt, call: CallT, step_id: str, _: Executor
    ) -> None:
        self.call = call
        self.step_id = step_id
        self.tries = 1
        self.started_at = None
        self._attempt = attempt

    async def begin(self) -> None:
        """Note when it began, once it is certain that the claim holds."""
        self.started_at = self._attempt.runtime.clock.now()
        await self._attempt.claim_held()

    def recorded(self) -> StoredStep | None:
        """Its record."""
        return self._attempt.journal.find(self.step_id)

    def records(self) -> Sequence[StoredStep]:
        """Its record, if there is one."""
        found = self.recorded()
        return () if found is None else (found,)

    def withdraw(self) -> None:
        """Nothing: it gives no value once it is cancelled."""

    def given_up(self) -> Sequence[str]:
        """Its own identity."""
        return (self.step_id,)

    async def abandon(self, reason: str) -> None:
        """Nothing: only its own code does something for it."""
