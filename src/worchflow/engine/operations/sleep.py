"""`step.sleep` and `step.sleep_until`: record that a time has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ...definitions.calls import SleepCall
from ...model.step_kind import StepKind
from ...model.waits import NewWait
from ..parking import Waiting
from ..step_results import record_result, refuse_other_kind, replay
from ..step_use import StepUse

if TYPE_CHECKING:
    from ...model.records import StoredStep


class Sleep(StepUse[SleepCall]):
    """One use of `step.sleep` or `step.sleep_until` in one attempt.

    The store knows of it unless it is shorter than an attempt is parked: then a crash
    lets it begin anew.
    """

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.SLEEP

    def replay(self, recorded: StoredStep) -> Any:
        """Nothing: it is over."""
        return replay(self._attempt, self, recorded, lambda: None)

    async def do(self) -> Any:
        """Wait until its time has come, and record it."""
        attempt = self._attempt
        await self.begin()
        await attempt.parking.wait(await self._begin())
        return await record_result(attempt, self, None, None)

    async def _begin(self) -> Waiting:
        attempt, call = self._attempt, self.call
        name = f"the end of sleep {call.name}"
        stored = attempt.journal.waits.get(self.step_id)
        since = attempt.journal.told_at.get(self.step_id, attempt.began)
        if stored is not None:
            refuse_other_kind(attempt, self, stored.kind)
        else:
            if call.seconds is not None and call.seconds <= attempt.parking.keeps_for:
                at = attempt.loop.time() + call.seconds
                return Waiting(self, self.kind, name, at)
            wait = NewWait(
                step_id=self.step_id,
                kind=self.kind,
                title=call.title,
                timeout=call.seconds,
                until=call.until,
            )
            stored = await attempt.journal.add_wait(wait)
            since = attempt.loop.time()
        at = since + (stored.left or 0.0)
        return Waiting(self, self.kind, name, at, stored.deadline)
