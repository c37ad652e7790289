"""`step.map` and `step.invoke_many`: one operation of many, each recorded by itself."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from typing_extensions import override

from ...definitions.calls import InvokeCall, InvokeManyCall, MapCall, StepCall
from ...definitions.retry import Retry
from ...foundations.errors import StepResultChanged
from ...foundations.ids import item_name, part_id
from ...foundations.steps_failed import StepsFailed
from ...model.step_kind import StepKind
from ..parts import PartOutcome, Parts
from ..step_results import fatal, record_own, refuse_other_kind, replay_result
from ..step_use import StepUse
from .invoke import Invoke, id_of_child
from .run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import StoredStep
    from ..attempt import Attempt
    from ..operation import Operation
    from ..threads import Executor

PAGE = 1000
"""Parts that are replayed in one turn of the event loop."""
MAX_NAMED = 5
"""Failed items that the message of a `StepsFailed` names."""
ONCE = Retry(max_retries=0)

CallT = TypeVar("CallT", bound=MapCall | InvokeManyCall)


class Several(StepUse[CallT], ABC):
    """One use of an operation of many parts, in one attempt.

    Its own record, the first, is how many there are. Each part is recorded under an
    identity of its own, so whatever comes again does the rest.
    """

    __slots__ = ("_part_ids",)

    def __init__(
        self, attempt: Attempt, call: CallT, step_id: str, threads: Executor
    ) -> None:
        super().__init__(attempt, call, step_id, threads)
        names = call.keys or [f"[{n}]" for n in range(self._count)]
        mark = "" if call.keys is None else ":"
        self._part_ids = [part_id(step_id, f"{mark}{name}") for name in names]

    @property
    @abstractmethod
    def _count(self) -> int: ...

    @abstractmethod
    def _part(self, number: int) -> Operation: ...

    @override
    def recorded(self) -> StoredStep | None:
        """Its record, if all parts have theirs: a `retry` takes back what failed."""
        find = self._attempt.journal.find
        found = find(self.step_id)
        if found is None or any(find(each) is None for each in self._part_ids):
            return None
        return found

    @override
    def records(self) -> Sequence[StoredStep]:
        """Its record and those of its parts, if all have theirs."""
        if (own := self.recorded()) is None:
            return ()
        found = map(self._attempt.journal.find, self._part_ids)
        return (own, *(each for each in found if each is not None))

    @override
    def given_up(self) -> Sequence[str]:
        """Its own identity and those of its parts."""
        return (self.step_id, *self._part_ids)

    def replay(self, recorded: StoredStep) -> Any:
        """The values of all parts as the types that the code names now."""
        self._refuse_other_count(recorded)
        return self._values(self._replayed(range(self._count)))

    async def do(self) -> Any:
        """Do what is not recorded of it; the values of all parts in order."""
        attempt, find = self._attempt, self._attempt.journal.find
        await self.begin()
        await self._fix_count()
        outcomes: dict[int, PartOutcome] = {}
        missing: list[int] = []
        for start in range(0, self._count, PAGE):
            page = range(start, min(start + PAGE, self._count))
            there = [n for n in page if find(self._part_ids[n]) is not None]
            missing += set(page).difference(there)
            if there:
                with attempt.journal.replay.counted():
                    outcomes |= self._replayed(there)
                await asyncio.sleep(0)
        missing.sort()
        parts = Parts(attempt, self)
        outcomes |= await parts.all(missing, self._part, self.call.concurrency)
        return self._values(outcomes)

    async def _fix_count(self) -> None:
        """Record how many parts there are, or compare it with what is recorded."""
        if (own := self._attempt.journal.find(self.step_id)) is not None:
            self._refuse_other_count(own)
        else:
            count = self._count
            # Its own record is among those that are being done.
            self._attempt.refuse_more(count, self.call)
            own = await record_own(self._attempt, self, count, int)
            self._refuse_other_count(own)

    def _replayed(self, numbers: Sequence[int]) -> dict[int, PartOutcome]:
        """How recorded parts ended."""
        attempt, outcomes = self._attempt, dict[int, PartOutcome]()
        for number in numbers:
            part = self._part(number)
            recorded = attempt.journal.find(part.step_id)
            if recorded is None:
                continue
            attempt.journal.ask_for(part.step_id)
            try:
                outcomes[number] = PartOutcome(part.replay(recorded))
            except Exception as error:
                if attempt.fatal is not None:
                    raise
                outcomes[number] = PartOutcome(error=error)
        return outcomes

    def _values(self, outcomes: dict[int, PartOutcome]) -> list[Any]:
        ended = [outcomes[number] for number in range(self._count)]
        if self.call.return_exceptions:
            return [each.value if each.error is None else each.error for each in ended]
        failed = [n for n, each in enumerate(ended) if each.error is not None]
        if failed:
            raise self._failure(failed, ended)
        return [each.value for each in ended]

    def _failure(self, failed: list[int], ended: list[PartOutcome]) -> StepsFailed:
        names = [str(self._name(number)) for number in failed[:MAX_NAMED]]
        more = f" and {len(failed) - MAX_NAMED} more" if failed[MAX_NAMED:] else ""
        execution_id = self._attempt.claim.execution.id
        return StepsFailed(
            f"{len(failed)} of {self._count} items of step {self.call.name} of "
            f"execution {execution_id} have failed: {', '.join(names)}{more}",
            [error for each in ended if (error := each.error) is not None],
            places=failed,
            title=self.call.title,
            execution_id=execution_id,
        )

    def _name(self, number: int) -> str:
        """What a part is called, beside the title that all have."""
        keys = self.call.keys
        return item_name(self.call.key, number, None if keys is None else keys[number])

    def _refuse_other_count(self, recorded: StoredStep) -> None:
        """Fail the execution if another number of items is recorded."""
        refuse_other_kind(self._attempt, self, recorded.kind)
        count = replay_result(self._attempt, self, recorded, int)
        if count != self._count:
            changed = StepResultChanged(
                f"step {self.call.name} is recorded with {count} items, and the code "
                f"gives {self._count} now: what it gives must not change, so take it "
                "from the event's data or from a step",
                field="items",
            )
            raise fatal(self._attempt, changed)


class Map(Several[MapCall]):
    """`step.map`: a step for each item."""

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.MAP

    @property
    @override
    def _count(self) -> int:
        return len(self.call.items)

    @override
    def _part(self, number: int) -> Run:
        call = self.call
        retries = call.retries
        if retries is None and call.return_exceptions:
            # Its failure is recorded, or a replay would give something else.
            retries = ONCE
        item = StepCall(
            call.title,
            call.function,
            (call.items[number],),
            {},
            self._name(number),
            retries,
            call.timeout,
        )
        # Not in the thread of a plain handler, which is one alone.
        threads = self._attempt.runtime.step_threads
        return Run(self._attempt, item, self._part_ids[number], threads)


class InvokeMany(Several[InvokeManyCall]):
    """`step.invoke_many`: a child for each message."""

    __slots__ = ()
    kind: ClassVar[StepKind] = StepKind.INVOKE_MANY

    @property
    @override
    def _count(self) -> int:
        return len(self.call.messages)

    @override
    def _part(self, number: int) -> Invoke:
        call = self.call
        child = InvokeCall(
            call.title,
            call.result_types[number],
            call.timeout,
            call.messages[number],
            self._name(number),
        )
        threads = self._attempt.runtime.step_threads
        return Invoke(self._attempt, child, self._part_ids[number], threads)

    @override
    async def abandon(self, reason: str) -> None:
        """Cancel the children that run."""
        attempt, title = self._attempt, self.call.title
        open_ = [each for each in self._part_ids if attempt.journal.find(each) is None]
        await attempt.calls.cancel_children(
            [id_of_child(attempt, each) for each in open_], reason, title
        )
