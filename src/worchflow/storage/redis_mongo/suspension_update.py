"""A suspension as a guarded update of one execution's document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...model.records import ExecutionStatus
from ...model.settlement import claim_mark
from .outbox import AWAITS_CHILDREN
from .scripts import BACK, NOWHERE
from .statements import Update
from .values import due_time, weight

if TYPE_CHECKING:
    from ...model.records import Claim
    from ...model.settlement import Suspended
    from .documents import Document, Documents
    from .scripts import Argument
    from .settlement_updates import Place

UNSET = dict.fromkeys(("owner", "claim", "deaths"), "")


class SuspensionUpdate:
    """What one suspension writes to both stores.

    It only applies to an execution that nobody cancelled, and that was not woken since
    its worker looked, so that its outcome is known without reading it back. With
    `was_woken` it is for one that was: that is queued.
    """

    is_terminal = False
    failed_attempts = 0

    def __init__(
        self,
        documents: Documents,
        claim: Claim,
        settlement: Suspended,
        now: int,
        *,
        was_woken: bool,
    ) -> None:
        self.mark = claim_mark(claim)
        self.status = settlement.status
        self.due: int | None = None
        """When it may be claimed although nothing wakes it."""
        self._documents = documents
        self._claim = claim
        self._settlement = settlement
        self._now = now
        self._was_woken = was_woken
        self._pause_ends = due_time(now, settlement.pause) if settlement.pause else None
        if was_woken:
            self.status = ExecutionStatus.QUEUED
            self.due = self._pause_ends or now
        elif settlement.until is not None:
            deadline = due_time(now, None, settlement.until)
            self.due = max(deadline, self._pause_ends or 0)

    @property
    def size(self) -> int:
        """At most this many bytes."""
        return weight(self._settlement.reason or "")

    @property
    def update(self) -> Update:
        """What it changes in the execution that this claim still owns."""
        return Update(self._claim.execution.id, self._change, self._query)

    @property
    def _query(self) -> Document:
        claim, seen = self._claim, self._settlement.wakeups
        query: Document = {
            self._documents.id_field: claim.execution.id,
            "owner": claim.worker_id,
            "token": Int64(claim.token),
            "cancelRequested": {"$ne": True},
        } | self._documents.live
        if not self._was_woken:
            query["wakeups"] = seen or {"$in": [0, None]}
        return query

    @property
    def _change(self) -> Document:
        values: Document = {
            "status": self.status.value,
            "updatedAt": Int64(self._now),
            "doneBy": self.mark,
        }
        if (started_at := self._settlement.started_at) is not None:
            values["attemptStartedAt"] = started_at
        if self.due is not None:
            due = DatetimeMS(self.due)
            values |= {"enqueuedAt": due, "dueAt": due}
            if self.due > self._now or not self._was_woken:
                values["runAt"] = due
        if not self._was_woken:
            if self._settlement.reason is not None:
                values["reason"] = self._settlement.reason
            if self._settlement.awaits_children:
                values[AWAITS_CHILDREN] = True
            if self._pause_ends is not None:
                values["notBefore"] = DatetimeMS(self._pause_ends)
        return {"$set": values, "$unset": UNSET}

    def is_shown_by(self, document: Document) -> bool:
        """Whether a document is as this update left it."""
        return (
            document.get("doneBy") == self.mark
            and document.get("status") == self.status
            and document.get("token") == self._claim.token
        )

    @property
    def place(self) -> Place:
        """Where the id belongs in Redis."""
        if self.due is None:
            return NOWHERE
        return BACK if self.due <= self._now else self.due

    @property
    def hash_fields(self) -> dict[str, Argument]:
        """What this changes in the execution's hash."""
        fields: dict[str, Argument] = {
            "status": self.status.value,
            "updatedAt": self._now,
            "token": self._claim.token,
        }
        if self._claim.execution.nonce:
            fields["nonce"] = self._claim.execution.nonce
        return fields
