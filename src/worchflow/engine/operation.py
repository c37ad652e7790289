"""What every operation is: something a handler asks for and that is done once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ..definitions.calls import NamedCall
    from ..model.records import StoredStep
    from ..model.step_kind import StepKind


class Operation(Protocol):
    """One use of an operation in one attempt.

    Either its record is replayed, or it is done and then recorded. `Attempt.perform`
    decides which, and counts the operation as running meanwhile.
    """

    kind: ClassVar[StepKind]
    """What its record says it is."""
    step_id: str
    """The identity under which it is recorded."""
    tries: int
    """How often it was tried, as its record will say."""
    started_at: datetime | None
    """When its first try began since the last suspension; None until then."""

    @property
    def call(self) -> NamedCall:
        """What the handler asked for."""
        ...

    def recorded(self) -> StoredStep | None:
        """Its record, if no more is needed to know its value."""
        ...

    def records(self) -> Sequence[StoredStep]:
        """All that is recorded of it; nothing if that does not tell its value."""
        ...

    def replay(self, recorded: StoredStep) -> Any:
        """The value of its record, or the recorded failure raised.

        May be called in the thread of a plain handler.
        """
        ...

    async def do(self) -> Any:
        """Do it, record it with `Journal.checkpoint`, and return its value.

        Called on the event loop, for the first of several uses of the step only.
        """
        ...

    def withdraw(self) -> None:
        """Let no value of it count that its code still gives: it is being cancelled."""
        ...

    def given_up(self) -> Sequence[str]:
        """The identities that nobody asks for any more once it has lost a race.

        None if the handler holds what it may ask again with.
        """
        ...

    async def abandon(self, reason: str) -> None:
        """Undo what was begun of it and goes on elsewhere: it has lost a race.

        Its code has been cancelled. `reason` is for people.
        """
        ...
