"""Operations that another one consists of: done in tasks of their own.

Meanwhile they count as running, and it does not: an attempt of whose code all waits is
parked, whatever it is made of.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..foundations.types import value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .attempt import Attempt
    from .operation import Operation


STARTED_AT_ONCE = 100
"""Parts that begin in one turn of the event loop."""


@value
class PartOutcome:
    """How a part ended: with a value, or with an error."""

    value: Any = None
    error: Exception | None = None

    def unwrap(self) -> Any:
        """The value, or the error raised."""
        error = self.error
        if error is None:
            return self.value
        try:
            raise error
        finally:
            del self, error  # Its traceback holds this frame.


class Parts:
    """Does the parts of one operation, whose code it is called by."""

    __slots__ = ("_attempt", "_is_ending", "_unfinished", "_whole")

    # An outcome may hold an error, whose frames hold these objects: it is kept in
    # variables of the callers only, so that nothing waits for the garbage collector.

    def __init__(self, attempt: Attempt, whole: Operation) -> None:
        self._attempt = attempt
        self._whole = whole
        self._unfinished = 0
        self._is_ending = False
        """Whether those that run are being cancelled."""

    async def all(
        self,
        parts: Sequence[int],
        make: Callable[[int], Operation],
        concurrency: int,
    ) -> dict[int, PartOutcome]:
        """Do parts, by their numbers, so many at once; how each ended.

        Raises at once what fails the execution at once.
        """
        outcomes: dict[int, PartOutcome] = {}
        if not parts:
            return outcomes
        numbers, count = iter(parts), min(concurrency, len(parts))
        self._unfinished = count
        tasks: list[asyncio.Task[None]] = []
        try:
            while len(tasks) < count:
                work = self._work(numbers, make, outcomes)
                tasks.append(self._attempt.loop.create_task(work))
                if len(tasks) % STARTED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            await self._wait(tasks, asyncio.ALL_COMPLETED)
        finally:
            await self._end(tasks)
        for task in tasks:
            task.result()
        if self._attempt.fatal is not None:
            raise self._attempt.fatal
        return outcomes

    async def first(self, parts: Sequence[Operation]) -> dict[int, PartOutcome]:
        """Do all parts at once until one has ended, and cancel the others.

        How those ended that have, by their numbers; what others make of their
        cancellation does not count.
        """
        self._unfinished = 1
        tasks = [self._attempt.loop.create_task(self._do(part)) for part in parts]
        try:
            await self._wait(tasks, asyncio.FIRST_COMPLETED)
            ended = {
                number: task.result()
                for number, task in enumerate(tasks)
                if task.done() and not task.cancelled()
            }
            for number, part in enumerate(parts):
                if number not in ended:
                    part.withdraw()
        finally:
            await self._end(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
        if self._attempt.fatal is not None:
            raise self._attempt.fatal
        return ended

    async def _wait(self, tasks: Sequence[asyncio.Task[Any]], until: str) -> None:
        scope = self._attempt.scope
        if self._unfinished:
            scope.delegate(self._whole, len(tasks))
        try:
            await asyncio.wait(tasks, return_when=until)
        finally:
            scope.take_back(self._whole)

    async def _work(
        self,
        numbers: Iterator[int],
        make: Callable[[int], Operation],
        outcomes: dict[int, PartOutcome],
    ) -> None:
        """Do one part after the other, until none is left."""
        try:
            for number in numbers:
                outcomes[number] = await self._outcome_of(make(number))
                if self._attempt.fatal is not None:
                    return
        finally:
            self._has_ended()

    async def _do(self, part: Operation) -> PartOutcome:
        try:
            return await self._outcome_of(part)
        finally:
            self._has_ended()

    async def _outcome_of(self, part: Operation) -> PartOutcome:
        try:
            return PartOutcome(await self._attempt.perform(part))
        except Exception as error:  # noqa: BLE001 - whatever code of the user's raises
            return PartOutcome(error=error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_ending or self._attempt.scope.is_over or task is None:
                raise
            # By its own code: nobody else knows the task.
            while task.cancelling():
                task.uncancel()
            what = f"step {part.call.name} was cancelled from inside"
            return PartOutcome(error=RuntimeError(what))

    def _has_ended(self) -> None:
        # In the same turn of the loop: the attempt is not taken for one that waits.
        self._unfinished -= 1
        if self._unfinished == 0:
            self._attempt.scope.take_back(self._whole)

    async def _end(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Cancel what runs on, and wait for its end."""
        self._is_ending = True
        rest = [task for task in tasks if not task.done()]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)
