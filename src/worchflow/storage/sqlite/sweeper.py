"""What one worker looks after for all: work that waits without need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from ..contract.leadership import SweepStore
from .following import follow_left, is_left
from .times import WallClockWatch
from .unserved import requeue
from .writer import one_by_one

if TYPE_CHECKING:
    from ...foundations.runtime import Runtime
    from .events import Events
    from .loop_binding import Opened
    from .writer import Transaction

# What is due at once has no `run_at`.
_BRING_FORWARD = """
    UPDATE executions SET due_at = :now
    WHERE queue_prefix = :prefix AND due_at > :now AND run_at IS NULL
"""


def sweep(tx: Transaction, prefix: str, clock_may_be_back: bool) -> int:  # noqa: FBT001
    """Put off what nobody serves, and let nothing wait for a clock that was set back.

    Nothing else is ever out of the queue in one file: every change of an execution
    and its place in the queue are one transaction.
    """
    requeue(tx, prefix)
    if not clock_may_be_back:
        return 0
    values = {"prefix": prefix, "now": tx.now}
    return tx.connection.execute(_BRING_FORWARD, values).rowcount


_sweep = one_by_one(sweep)
_follow = one_by_one(follow_left)


class Sweeper(SweepStore):
    """Puts off what nobody serves; brings forward what a wrong clock put off.

    Also delivers the events whose delivery was cut off, and cancels the children that
    ends have left.
    """

    def __init__(self, opened: Opened, events: Events, runtime: Runtime) -> None:
        self._opened = opened
        self._events = events
        self._wall_clock = WallClockWatch(runtime)

    @override
    async def sweep(self, worker_id: str) -> int:
        await self._events.sweep()
        await self._follow()
        return await self._opened().write(_sweep, self._wall_clock.may_be_back())

    async def _follow(self) -> None:
        """Do what is left of ends, each page in a transaction of its own."""
        opened = self._opened()
        is_more = await opened.read(is_left, None)
        while is_more:
            is_more = await opened.write(_follow, None)
