"""What executions wait for, and the wake-ups that end a suspension."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Claim
    from ...model.tokens import StoredToken
    from ...model.waits import NewWait, StoredWait


class WaitStore(ABC):
    """Waits, each under its execution and step; gone once their execution has ended.

    Only those of tokens stay for as long as their execution does, so that whoever
    answers late is told what became of it, and a retry finds what was asked.

    Only the code that waits records how a wait ended, as a step. Whoever causes that
    end stores its cause first, and then wakes: whoever waits has stored the wait before
    it looks for the cause, so that one of them sees the other.
    """

    @abstractmethod
    async def add(self, claim: Claim, waits: Sequence[NewWait]) -> list[StoredWait]:
        """Store waits durably; what is stored of each, in their order.

        To be called on the backend by which the claim will be settled. First write
        wins: what was stored under an earlier claim is returned unchanged, unless it
        was stored after fewer `tries`: then it is replaced.
        Nothing is stored under a claim that is known to hold no more, or with
        `durability="fast"` after a step that turns out to be recorded otherwise; then
        what is returned is what would be stored, and the claim cannot settle with what
        it makes of it.
        """

    @abstractmethod
    async def all(self, execution_id: str) -> list[StoredWait]:
        """What is stored of an execution, the earliest deadline first."""

    @abstractmethod
    async def remove(self, claim: Claim, step_ids: Sequence[str]) -> None:
        """Remove waits of the claim's execution, except those of a later claim."""

    @abstractmethod
    async def token(self, token_id: str) -> StoredToken | None:
        """The wait for an answer to a token; None if no stored execution has it."""

    @abstractmethod
    async def wake(self, execution_ids: Sequence[str]) -> int:
        """Wake executions; how many of them were suspended.

        Each in one change: `wakeups` + 1 and, if it is suspended, `queued` and due now,
        or when the pause of its suspension ends. What has ended stays as it is. Waking
        one twice harms nobody.
        """

    @abstractmethod
    async def wakeups(self, execution_id: str) -> int:
        """How often an execution was woken; 0 if there is none.

        Whoever looks again at all that it waits for reads this before it.
        """
