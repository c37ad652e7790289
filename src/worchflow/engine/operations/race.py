"""`step.race`: the first of several operations that ends, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from typing_extensions import override

from ...definitions.calls import RaceCall
from ...foundations.errors import StepResultChanged
from ...model.step_kind import StepKind
from ..parts import PartOutcome, Parts
from ..step_results import fatal, record_own, refuse_other_kind, replay_result
from ..step_use import StepUse

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ...model.records import ErrorInfo, StoredStep
    from ..attempt import Attempt
    from ..operation import Operation
    from ..threads import Executor


class Race(StepUse[RaceCall]):
    """One use of `step.race` in one attempt; its arms are operations.

    Its own record is the name or the place of the first, which is recorded itself; or
    the error that this has ended with, which names the arm as its step.
    Without that record the first is the arm that was recorded first.
    """

    __slots__ = ("_arms", "winner")
    kind: ClassVar[StepKind] = StepKind.RACE

    def __init__(
        self, attempt: Attempt, call: RaceCall, step_id: str, threads: Executor
    ) -> None:
        super().__init__(attempt, call, step_id, threads)
        self._arms: Sequence[Operation] = call.arms
        self.winner: int | None = None
        """The place of the arm that was first, once that is known."""

    @override
    def recorded(self) -> StoredStep | None:
        """Its record, if the first arm has its own.

        It has not after the loss of Redis with `durability="fast"`.
        """
        found = self._attempt.journal.find(self.step_id)
        if found is None or self._arms[self._recorded_winner(found)].recorded() is None:
            return None
        return found

    def replay(self, recorded: StoredStep) -> Any:
        """The first arm's name or place, and its value."""
        winner = self._recorded_winner(recorded)
        self._decide(winner)
        arm = self._arms[winner]
        self._attempt.journal.ask_for(arm.step_id)
        # `recorded` has found it.
        return self.name_of(winner), arm.replay(cast("StoredStep", arm.recorded()))

    async def do(self) -> Any:
        """Wait for the first arm, have the others undone, and record which it was.

        In this order: what is recorded is not done again.
        """
        attempt = self._attempt
        await self.begin()
        if (own := attempt.journal.find(self.step_id)) is not None:
            winner = self._recorded_winner(own)
            self._decide(winner)
            outcomes = await self._do([winner])
        else:
            winner, outcomes = await self._first()
            if self._is_recorded_for_good(winner):
                await self._end(winner, self._error_of(winner, outcomes))
            else:
                # A failure that the next attempt repeats decides for this one only.
                attempt.forget_failures(self._given_up(winner))
            self._decide(winner)
        try:
            return self.name_of(winner), outcomes[winner].unwrap()
        finally:
            del outcomes  # They may hold an error that holds this frame.

    async def _first(self) -> tuple[int, dict[int, PartOutcome]]:
        """Which arm is the first, and how it has ended, maybe with others."""
        first = self._failed_before()
        if first is None:
            first = self._first_recorded(range(len(self._arms)))
        if first is not None:
            return first, await self._do([first])
        outcomes = await Parts(self._attempt, self).first(self._arms)
        first = self._first_recorded(outcomes)
        return min(outcomes) if first is None else first, outcomes

    def _failed_before(self) -> int | None:
        """The arm whose failure ended the race in this attempt, before a suspension."""
        for number, arm in enumerate(self._arms):
            if any(each.attempt is not None for each in arm.records()):
                return number
        return None

    async def _do(self, numbers: Sequence[int]) -> dict[int, PartOutcome]:
        return await Parts(self._attempt, self).all(numbers, self._arms.__getitem__, 1)

    def _error_of(
        self, winner: int, outcomes: dict[int, PartOutcome]
    ) -> ErrorInfo | None:
        """The error that the first arm ended with, if it did; the arm as its step."""
        error = outcomes[winner].error
        if error is None:
            return None
        name = str(self.name_of(winner))
        return self._attempt.runtime.payloads.encode_error(error, name)

    async def _end(self, winner: int, error: ErrorInfo | None) -> None:
        """Undo what the others began, and record the first.

        As a failure if it has failed, so that a `retry` takes back both.
        """
        attempt, name = self._attempt, self.name_of(winner)
        await attempt.claim_held()
        losers = [each for number, each in enumerate(self._arms) if number != winner]
        why = f"another was first in race {self.call.name} of its parent"
        for each in losers:
            if each.recorded() is None and not self._is_in_use(each):
                await each.abandon(why)
        recorded = await record_own(attempt, self, name, Any, error)
        if self._recorded_winner(recorded) != winner:
            raise fatal(attempt, self._changed(recorded.result))
        await attempt.journal.forget_waits(self._given_up(winner))

    def _decide(self, winner: int) -> None:
        """Leave the others out: what they have taken is free for what comes now."""
        self.winner = winner
        self._attempt.leave_out(self._given_up(winner))

    def _given_up(self, winner: int) -> list[str]:
        """The identities that nobody asks for any more."""
        kept = self._arms[winner].given_up()
        return [
            step_id
            for number, each in enumerate(self._arms)
            if number != winner and not self._is_in_use(each)
            for step_id in each.given_up()
            if step_id not in kept
        ]

    def _is_in_use(self, arm: Operation) -> bool:
        """Whether other code waits for the same step: with `options(key=)` it may."""
        return self._attempt.journal.is_in_use(arm.step_id)

    def _first_recorded(self, numbers: Collection[int]) -> int | None:
        """The one of some arms that was recorded first; of equals, by place."""
        found = [
            (max(map(_moment, records)), number)
            for number in numbers
            if (records := self._arms[number].records())
        ]
        return min(found)[1] if found else None

    def _is_recorded_for_good(self, number: int) -> bool:
        records = self._arms[number].records()
        return bool(records) and all(each.attempt is None for each in records)

    def name_of(self, number: int) -> str | int:
        """What an arm is called."""
        names = self.call.names
        return number if names is None else names[number]

    def _recorded_winner(self, recorded: StoredStep) -> int:
        """The place of the arm that is recorded; fails the execution if none is it."""
        attempt = self._attempt
        refuse_other_kind(attempt, self, recorded.kind)
        if recorded.error is None:
            name = replay_result(attempt, self, recorded, Any)
        else:
            name = recorded.error.step
        for number in range(len(self._arms)):
            own = self.name_of(number)
            if name == (own if recorded.error is None else str(own)):
                return number
        raise fatal(attempt, self._changed(name))

    def _changed(self, name: object) -> StepResultChanged:
        return StepResultChanged(
            f"race {self.call.name} is recorded as won by {name!r}, and the code has "
            "no such arm now: keep the arms of a race that may be under way, or give "
            "it another title",
            field="arms",
        )


def _moment(recorded: StoredStep) -> float:
    """When something was recorded; what Redis alone had kept says nothing of that."""
    return recorded.finished_at.timestamp() if recorded.finished_at else 0.0
