"""Executions as senders and readers see them: accepted, read, cancelled, retried."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ...foundations.types import value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import NewExecution, StoredExecution


@value
class Inserted:
    """The outcome of inserting one execution.

    `existing` is None when it was accepted now (also when a repeated call finds
    its own write by the nonce); else it is the execution that has the id, and
    nothing was written. So it is where the id `is_foreign`: it belongs to an execution
    of another queue prefix, of which nothing is told.
    """

    id: str
    existing: StoredExecution | None = None
    is_foreign: bool = False


class ExecutionStore(ABC):
    """Executions, each under its id."""

    @abstractmethod
    async def insert(self, executions: Sequence[NewExecution]) -> list[Inserted]:
        """Accept executions durably, in one round trip per store; one outcome each.

        Accepted means: it survives the loss of this process and of Redis. Becoming
        visible to workers may lag, but never needs this process. What becomes of one
        has no bearing on the others.

        One with an `event_key` is an event of the log as well, accepted with it (see
        `model.events.event_of`). `EventStore.publish` tells those who wait for that; a
        sweep does what nobody has done.
        """

    @abstractmethod
    async def get(self, execution_id: str) -> StoredExecution | None:
        """The execution, or None. Reads what was last acknowledged."""

    @abstractmethod
    async def cancel(
        self, execution_id: str, reason: str | None
    ) -> tuple[StoredExecution | None, bool]:
        """Cancel it: un-owned at once, owned by a flag its worker obeys.

        The flag is sticky: every later non-terminal settlement, reap and sweep of
        it ends as `cancelled`. Returns the execution as it stands now (None: no
        such id) and whether this call changed anything: a terminal execution and
        one already flagged stay as they are.
        """

    @abstractmethod
    async def retry(self, execution_id: str) -> tuple[StoredExecution | None, bool]:
        """Queue a failed or cancelled execution again.

        Keeps completed steps, removes recorded step failures, resets attempt count,
        recoveries, error, reason and the cancel flag, counts the token on. Any other
        status stays as it is. A child whose parent has ended `leaves` it from then on.
        Returns the execution as it stands now (None: no such id) and whether this call
        queued it.
        """
