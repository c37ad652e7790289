"""What a claim writes down in its execution's document before it stores something.

Whatever ends the execution then knows that there may be something to remove.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bson.int64 import Int64

from ...foundations.errors import StoreUnavailable
from ...model.settlement import ClaimKey
from .documents import EXECUTIONS, LIFE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...model.records import Claim, StoredExecution
    from .stores import Stores


class Announcements:
    """That executions may have waits, or children: a field of their documents."""

    def __init__(
        self, stores: Stores, field: str, is_known: Callable[[StoredExecution], bool]
    ) -> None:
        """`is_known` says of a claimed execution whether the field was set before."""
        self._stores = stores
        self._field = field
        self._is_known = is_known
        self._made: dict[ClaimKey, asyncio.Task[bool] | None] = {}
        """What writes it down under each claim; None: nobody knows whether it is."""

    def may_have(self, claim: Claim) -> bool:
        """Whether it is written down for a claim's execution, as far as is known."""
        return self._is_known(claim.execution) or (
            bool(self._made) and ClaimKey.of(claim) in self._made
        )

    async def make(self, claim: Claim) -> bool:
        """Have it written down; False: the claim is lost."""
        if self._is_known(claim.execution):
            return True
        key = ClaimKey.of(claim)
        # Before it is known to be written: it may be.
        making = self._made.get(key)
        if making is None:
            making = asyncio.create_task(self._write(claim))
            making.add_done_callback(_seen)
            self._made[key] = making
        try:
            is_held = await asyncio.shield(making)
        except StoreUnavailable:
            if self._made.get(key) is making:
                # It may be written, and is written again for who asks again.
                self._made[key] = None
            raise
        if not is_held:
            self.forget(claim)
        return is_held

    async def _write(self, claim: Claim) -> bool:
        stores = self._stores
        query = stores.documents.by_id(claim.execution.id)
        held = {
            "owner": claim.worker_id,
            "token": Int64(claim.token),
            LIFE: claim.execution.nonce or None,
        }
        change = {"$set": {self._field: True}}
        statement = {"q": query | held, "u": change}
        return (await stores.mongo.update(EXECUTIONS, [statement])).count == 1

    def forget(self, claim: Claim) -> None:
        """A claim was settled, or is lost."""
        if self._made:
            self._made.pop(ClaimKey.of(claim), None)

    def forget_worker(self, worker_id: str) -> None:
        """A worker is gone."""
        if self._made:
            self._made = {
                key: making
                for key, making in self._made.items()
                if key.worker_id != worker_id
            }


def _seen(task: asyncio.Task[bool]) -> None:
    """Whoever waited for it may have been cancelled: what has lost a race is."""
    if not task.cancelled():
        task.exception()
