"""An attempt that only waits gives its slot back, and leaves its worker in time.

While all of its code waits for operations that wait, an attempt is parked: it keeps
its coroutines and needs no slot. If nothing comes soon it is suspended: its code is
cancelled and its claim given up, until it is woken or due.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from ..foundations.types import value
from ..model.records import ExecutionStatus
from ..model.settlement import Released, Suspended
from ..model.step_kind import StepKind
from .awaited import awaits_only
from .ownership import Interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from .operation import Operation
    from .scope import Scope
    from .slot import ParkingCounts, Slot
    from .wakeups import Wakeups

logger = logging.getLogger("worchflow.engine")

MIN_LOOK_SECONDS, MAX_LOOK_SECONDS = 0.05, 1.0
"""Seconds between two looks at whether the other code of an attempt waits as well."""
REST_FACTOR = 10.0
"""So many times as long as a look took passes before the next: with thousands of tasks
that wait it takes a while."""
WARN_AFTER_SECONDS = 60.0
"""Seconds of other code beside a wait after which it is reported."""
TIMERS = frozenset({StepKind.SLEEP, StepKind.RUN})
"""What only waits for a moment: a sleep, and a step for its next try."""
MAX_NAMED = 3
"""Waits that the reason of a suspension names."""


@value
class Waiting:
    """An operation that waits, what people call it, and its deadline if it has one."""

    operation: Operation
    kind: StepKind
    name: str
    at: float | None = None
    """The deadline on the clock of the event loop."""
    deadline: datetime | None = None
    """The same by the store's clock; None if the store does not know of the wait."""
    is_told: bool = False
    """Whether somebody may end it who wakes the execution."""
    round: int = 0
    """Of the wake-ups, before it was last looked at."""
    together: LookedAtTogether | None = None
    """What looks for it, and for others, in each round; None: the operation does."""


class LookedAtTogether(Protocol):
    """Looks for what several operations wait for, and lets those look that have it."""

    round: int
    """Of the wake-ups, before the last look."""

    def look(self) -> None:
        """Begin to look, soon; meanwhile the attempt is not suspended."""
        ...


class Parking:
    """The waits of one attempt, and where it is while they last.

    `fields` is what every log line about the attempt carries; `told` is called with
    True when it is parked and with False when it continues.
    """

    __slots__ = (
        "_asked",
        "_beside_since",
        "_counts",
        "_expiry",
        "_fields",
        "_look",
        "_look_at",
        "_look_due",
        "_loop",
        "_pause",
        "_scope",
        "_size",
        "_slot",
        "_told",
        "_waiting",
        "is_parked",
        "settlement",
        "waited_for",
        "wakeups",
    )

    def __init__(
        self,
        scope: Scope,
        slot: Slot,
        counts: ParkingCounts,
        fields: Mapping[str, object],
        told: Callable[[bool], None],
        size: Callable[[], int],
        wakeups: Wakeups,
    ) -> None:
        self._scope = scope
        self._slot = slot
        self._counts = counts
        self._fields = fields
        self._told = told
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Future[None], Waiting] = {}
        self._look: asyncio.TimerHandle | None = None
        self._look_due = 0.0
        """When it comes; not every loop's handle of a timer tells."""
        self._pause = MIN_LOOK_SECONDS
        self._look_at = 0.0
        """Before this moment there is no other look."""
        self._beside_since: float | None = None
        """When other code began to run beside a wait; None once that was reported."""
        self._expiry: asyncio.TimerHandle | None = None
        self._asked: asyncio.Future[None] | None = None
        """For a slot, by a parked attempt that can continue."""
        self.wakeups = wakeups
        wakeups.on_read = self._begin_round
        self.is_parked = False
        self.waited_for: frozenset[str] = frozenset()
        """The steps for which it was suspended, by their ids."""
        self.settlement: Suspended | Released | None = None
        """How its claim is to be given up, once it was ended by `suspend`."""

    # -- operations

    async def wait(self, waiting: Waiting) -> None:
        """Wait for the deadline of an operation, or until it is to look again."""
        if waiting.is_told and waiting.round != self.wakeups.round:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        timer: asyncio.TimerHandle | None = None
        if waiting.at is not None:
            timer = self._loop.call_at(waiting.at, _end, future)
        self._waiting[future] = waiting
        # It may have been woken, and not have found what it waits for.
        self._keep_anew()
        self._pause = MIN_LOOK_SECONDS
        self._beside_since = self._loop.time()
        self.look_soon()
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            del self._waiting[future]

    async def resume(self) -> None:
        """Return once the attempt has a slot: its code continues.

        Called by whatever ends an operation. It is suspended if none gets free.
        """
        while self.is_parked and not self._scope.is_over:
            if self._asked is None:
                self._asked = self._slot.ask()
                self._asked.add_done_callback(self._have_slot)
                self._expire_in(self._slot.park_for)
            await asyncio.wait({self._asked})

    def look_soon(self) -> None:
        """Look whether all code of the attempt waits, once it had its turn."""
        if self._waiting and not self.is_parked:
            # In the next turn: the caller's code may continue in this one.
            self._look_by(max(self._loop.time(), self._look_at))

    def look_again(self, *operations: object) -> None:
        """Let operations look again that wait: there is something for them."""
        these = set(operations)
        for future, waiting in self._waiting.items():
            if waiting.operation in these:
                _end(future)

    def _begin_round(self) -> None:
        """Let the operations look again that began to wait before this round."""
        round_ = self.wakeups.round
        lookers: set[LookedAtTogether] = set()
        for future, waiting in self._waiting.items():
            if waiting.together is not None:
                lookers.add(waiting.together)
            elif waiting.is_told and waiting.round != round_:
                _end(future)
        for each in lookers:
            if each.round != round_:
                each.look()
        self._keep_anew()
        self.look_soon()

    def _keep_anew(self) -> None:
        """Keep a parked attempt for as long as after it was parked."""
        if self.is_parked and self._asked is None:
            self._expire_in(self._seconds_to_keep())

    # -- the attempt

    def suspend(self) -> bool:
        """End a parked attempt, to be continued elsewhere; whether it could be."""
        if not self.is_parked or self._scope.is_over:
            return False
        if self._asked is not None:
            # It can continue; it leaves if it did not get a slot.
            return not self._asked.done() and self._leave(Released())
        if not self._all_waits():
            return False
        unfinished = self._unfinished
        if any(each.at is not None and each.deadline is None for each in unfinished):
            return False  # It ends soon, and nobody else knows when.
        deadlines = [each.deadline for each in unfinished if each.deadline is not None]
        kinds = {each.kind for each in unfinished}
        only_timers = kinds <= TIMERS
        return self._leave(
            Suspended(
                status=ExecutionStatus.SLEEPING
                if only_timers
                else ExecutionStatus.WAITING,
                wakeups=self.wakeups.count,
                until=min(deadlines, default=None),
                reason=self._reason(),
                awaits_children=StepKind.INVOKE in kinds,
            )
        )

    def close(self) -> None:
        """Look no more."""
        self._cancel_look()
        self.wakeups.close()
        self._cancel_expiry()
        if self._asked is not None:
            self._asked.cancel()

    @property
    def keeps_for(self) -> float:
        """Seconds for which it is parked before it is suspended."""
        return self._slot.park_for

    @property
    def _unfinished(self) -> list[Waiting]:
        """What it waits for still: not what ended, even if its code had no turn yet."""
        now = self._loop.time()
        return [
            each
            for future, each in self._waiting.items()
            if not (future.done() or (each.at is not None and each.at <= now))
        ]

    # -- looking

    def _look_now(self) -> None:
        self._look = None
        if not self._waiting or self.is_parked or self._scope.is_over:
            return
        began = self._loop.time()
        all_waits = self._all_waits()
        ended = self._loop.time()
        self._look_at = ended + min(MAX_LOOK_SECONDS, REST_FACTOR * (ended - began))
        if all_waits:
            if self._park():
                return
        else:
            self._warn_late()
        self.wakeups.check()
        self._look_by(self._loop.time() + self._pause)
        self._pause = min(MAX_LOOK_SECONDS, 2 * self._pause)

    def _look_by(self, at: float) -> None:
        if self._look is None or self._look_due > at:
            self._cancel_look()
            self._look, self._look_due = self._loop.call_at(at, self._look_now), at

    def _all_waits(self) -> bool:
        """Whether nothing of the attempt can continue but for one of its waits."""
        scope = self._scope
        if not scope.runs_only(each.operation for each in self._unfinished):
            return False
        if scope.joins:
            return True
        if scope.handler_call is not None:
            own = scope.of_handler_thread
            waits = any(each.operation is own for each in self._unfinished)
            return waits or own in scope.following.values() or own in scope.delegating
        futures: Collection[asyncio.Future[None]] = self._waiting
        if scope.following:
            futures = {*self._waiting, *scope.following}
        return scope.handler is not None and awaits_only(scope.handler, futures)

    def _warn_late(self) -> None:
        since, now = self._beside_since, self._loop.time()
        if since is None or now - since < WARN_AFTER_SECONDS:
            return
        self._beside_since = None
        logger.warning(
            "execution %s waits for %s, and other code of its handler runs beside it "
            "for more than %d s: it keeps its slot, and cannot be suspended. Put that "
            "code in a step",
            self._fields["execution_id"],
            self._reason(),
            WARN_AFTER_SECONDS,
            extra=self._fields,
        )

    # -- parked

    def _park(self) -> bool:
        """Give the slot back; False if that cannot be now."""
        # First: whoever has the slot may end the attempt at once.
        self.is_parked = True
        self._expire_in(self._seconds_to_keep())
        if not self._slot.park(self.suspend, self._size()):
            self.is_parked = False
            self._cancel_expiry()
            return False
        self._counts.parked += 1
        self._told(True)  # noqa: FBT003
        return True

    def _seconds_to_keep(self) -> float:
        """Seconds for which it is kept: none if nothing comes soon for certain."""
        keep = self._slot.park_for
        soon = self._loop.time() + keep
        if all(
            not each.is_told and each.at is not None and each.at > soon
            for each in self._unfinished
        ):
            return 0.0
        return keep

    def _expire_in(self, seconds: float) -> None:
        self._cancel_expiry()
        self._expiry = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        if not self.is_parked or self._scope.is_over or self.suspend():
            return
        if self._scope.runs_only(each.operation for each in self._unfinished):
            # Code runs without having told: it was woken by a timer of its own.
            self._slot.take()
            self._continue()
        else:
            # An operation has ended, and is being recorded.
            self._expire_in(MIN_LOOK_SECONDS)

    def _have_slot(self, asked: asyncio.Future[None]) -> None:
        if not asked.cancelled() and self.is_parked and not self._scope.is_over:
            self._counts.resumed += 1
            self._continue()

    def _continue(self) -> None:
        self.is_parked = False
        self._asked = None
        self._cancel_expiry()
        self._told(False)  # noqa: FBT003
        # The code that continues may do no more than wait for what it waited for.
        self.look_soon()

    def _leave(self, settlement: Suspended | Released) -> bool:
        self._counts.suspended += 1
        self.settlement = settlement
        self.waited_for = frozenset(each.operation.step_id for each in self._unfinished)
        self.close()
        self._scope.interrupt(Interruption.SUSPENDED)
        return True

    def _reason(self) -> str:
        names = [each.name for each in self._unfinished]
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        return ", ".join(names[:MAX_NAMED]) + more

    def _cancel_look(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


def _end(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
