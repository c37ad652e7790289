"""Executions that others have started, as these see them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.children import Child
    from ...model.records import Claim

CHILDREN_PAGE = 1000
"""Children that are asked for, or cancelled, at once."""


class ChildStore(ABC):
    """Children, each an execution that has a `parent`.

    They are inserted like any execution. When one ends, for whatever reason, its parent
    is woken: that counts in `wakeups`, and one that is suspended is queued if its
    suspension `awaits_children`. When a parent ends, its children are cancelled, except
    those with `leaves` and those of a later claim than ended it. What a crash leaves
    of either, a sweep does.
    """

    @abstractmethod
    async def announce(self, claim: Claim) -> bool:
        """Write down that a claim's execution may have children.

        To be called before the first of them is inserted, on the backend by which the
        claim will be settled. False when the claim is not held any more: then none may
        be inserted.
        """

    @abstractmethod
    async def find(
        self, ids: Sequence[str], *, only_ended: bool = False
    ) -> dict[str, Child]:
        """How children stand now, by their ids.

        Without those that do not exist, those that cannot be read, which are logged,
        and if asked for without those that live.
        """

    @abstractmethod
    async def retry(self, claim: Claim, child_id: str) -> bool:
        """Take a child of an earlier life of its parent into the present one.

        It was started under a token below the `retry_token` of the claim's execution;
        from now on it counts as started under this claim. An explicit retry of the
        parent repeats one that failed or was cancelled, once, with its completed
        steps: it is queued again. One that lives, and is not to be cancelled, goes on,
        even if it leaves because it was retried by itself after its parent's end: then
        it does not any more. One that completed stays as it is. Whether this call
        queued it.
        """
