"""Settlements as guarded updates of one execution's document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...model.records import ExecutionStatus
from ...model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    attempts_after,
    claim_mark,
)
from .fields import attempt_fields, error_fields
from .outbox import follow_ups
from .scripts import BACK, FRONT, NOWHERE
from .statements import MergeKey, Update
from .values import due_time, weight

if TYPE_CHECKING:
    from ...model.records import Claim
    from ...model.settlement import EndOfAttempt
    from .documents import Document, Documents
    from .scripts import Argument

Place: TypeAlias = str | int

STATUS = {
    kind: (status, status.value, status.is_terminal)
    for kind, status in (
        (Completed, ExecutionStatus.COMPLETED),
        (Failed, ExecutionStatus.FAILED),
        (RetryAt, ExecutionStatus.RETRYING),
        (Released, ExecutionStatus.QUEUED),
        (Cancelled, ExecutionStatus.CANCELLED),
    )
}
"""What each makes of an execution; asking an enumeration is slow."""

UNSET_OWNERSHIP = {"owner": "", "claim": ""}
UNSET_COMPLETED = ("owner", "claim", "cancelRequested", "cancelReason")
"""What a completed execution does not have."""
MAX_MERGEABLE_BYTES = 2048
"""Characters of a result; a thousand of them share a statement of at most 16 MiB."""
UNSET_ERROR = dict.fromkeys(("error", "errorStack", "errorType", "errorStep"), "")


class SettlementUpdate:
    """What the end of an attempt, or a release, writes to both stores.

    A non-terminal one only applies to an execution that nobody cancelled, so that
    its outcome is known without reading it back.
    """

    def __init__(
        self,
        documents: Documents,
        claim: Claim,
        settlement: EndOfAttempt | Released,
        now: int,
        *,
        failed_attempts: int | None = None,
        has_waits: bool = False,
        has_children: bool = False,
    ) -> None:
        """`failed_attempts` counts what a settlement that became another one says.

        `has_waits`: waits of the execution may be stored, `has_children`: it may have
        children.
        """
        self.mark = claim_mark(claim)
        self.status, self._word, self.is_terminal = STATUS[type(settlement)]
        self.due: int | None = None
        self._documents = documents
        self._claim = claim
        self._settlement = settlement
        self._attempts = attempts_after(claim, settlement)
        self._now = now
        self.follow_ups: Document = {}
        """What has still to be done once it is applied."""
        if self.is_terminal:
            self.follow_ups = follow_ups(
                claim, has_waits=has_waits, has_children=has_children
            )
        self.failed_attempts = (
            _failed_attempts(settlement) if failed_attempts is None else failed_attempts
        )
        if isinstance(settlement, RetryAt) or (
            isinstance(settlement, Released) and settlement.delay > 0
        ):
            self.due = due_time(now, settlement.delay)

    @property
    def size(self) -> int:
        """At most this many bytes."""
        settlement = self._settlement
        if isinstance(settlement, Completed):
            own = weight(settlement.result)
        elif isinstance(settlement, Failed | RetryAt):
            own = weight(settlement.error.message, settlement.error.traceback)
        else:
            own = weight(settlement.reason or "")
        return own + self._attempts_size

    @property
    def _attempts_size(self) -> int:
        """At most so many bytes take the records of attempts."""
        if self._attempts is None:
            return 0
        errors = [attempt.error for attempt in self._attempts]
        return sum(
            weight("") if error is None else weight(error.message, error.traceback)
            for error in errors
        )

    @property
    def update(self) -> Update:
        """What it changes in the execution that this claim still owns."""
        execution_id, settlement = self._claim.execution.id, self._settlement
        if not isinstance(settlement, Completed):
            return Update(execution_id, self.change, self.query)
        values: Document = {
            "status": self._word,
            "updatedAt": Int64(self._now),
            "doneBy": self.mark,
            "finishedAt": DatetimeMS(self._now),
            **self.follow_ups,
        }
        self._add_attempts(values)
        self._documents.set_result(values, settlement.result)
        removed: tuple[str, ...] = UNSET_COMPLETED
        if self._claim.execution.error is not None:
            removed += tuple(UNSET_ERROR)
        if self._claim.execution.attempt_started_at is not None:
            removed += ("attemptStartedAt",)
        return Update(
            execution_id,
            values,
            merge_key=MergeKey(
                self._claim.worker_id,
                Int64(self._claim.token),
                removed,
                is_shared=self._documents.is_shared,
            ),
            separate=len(settlement.result) > MAX_MERGEABLE_BYTES
            or len(self._attempts or ()) > 1,
        )

    @property
    def query(self) -> Document:
        """Who may be changed: the execution this claim still owns."""
        claim = self._claim
        query: Document = {
            self._documents.id_field: claim.execution.id,
            "owner": claim.worker_id,
            "token": Int64(claim.token),
        } | self._documents.live
        if not self.is_terminal:
            query["cancelRequested"] = {"$ne": True}
        return query

    @property
    def change(self) -> Any:
        """The update."""
        settlement = self._settlement
        if isinstance(settlement, Released) and self.due is None:
            return self._to_the_front(settlement)
        values: Document = {
            "status": self._word,
            "updatedAt": Int64(self._now),
            "doneBy": self.mark,
        }
        unset: Document = dict(UNSET_OWNERSHIP)
        if not isinstance(settlement, Released):
            unset["attemptStartedAt"] = ""
        if self.is_terminal:
            values["finishedAt"] = DatetimeMS(self._now)
            values |= self.follow_ups
            unset["cancelRequested"] = ""
            if self.status is not ExecutionStatus.CANCELLED:
                unset["cancelReason"] = ""
        self._add_attempts(values)
        if self.due is not None:
            due = DatetimeMS(self.due)
            values |= dict.fromkeys(("enqueuedAt", "dueAt", "runAt"), due)
        change: Document = {"$set": self._with_outcome(values), "$unset": unset}
        if self.failed_attempts:
            change["$inc"] = {"attemptCount": self.failed_attempts}
        return change

    def _add_attempts(self, values: Document) -> None:
        if self._attempts is not None:
            values["attempts"] = attempt_fields(self._attempts)

    def _with_outcome(self, values: Document) -> Document:
        match self._settlement:
            case Failed(error=error) | RetryAt(error=error):
                values |= error_fields(error)
            case Released(reason=str(reason)):
                values["reason"] = reason
            case Cancelled(reason=str(reason)):
                values["cancelReason"] = reason
            case _:
                pass
        return values

    def _to_the_front(self, settlement: Released) -> list[Document]:
        """A pipeline, for its place in the queue stands in the document."""
        values: Document = {
            "status": "queued",
            "updatedAt": Int64(self._now),
            "doneBy": self.mark,
            "dueAt": {"$ifNull": ["$enqueuedAt", "$$NOW"]},
        }
        if settlement.reason is not None:
            values["reason"] = {"$literal": settlement.reason}
        return [{"$set": values}, {"$unset": list(UNSET_OWNERSHIP)}]

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
        if self.is_terminal:
            return NOWHERE
        if self.due is None:
            return FRONT
        return BACK if self.due <= self._now else self.due

    @property
    def hash_fields(self) -> dict[str, Argument]:
        """What this changes in the execution's hash."""
        before, settlement = self._claim.execution, self._settlement
        fields: dict[str, Argument] = {
            "status": self._word,
            "attemptCount": before.attempt_count + self.failed_attempts,
            "updatedAt": self._now,
            "token": self._claim.token,
        }
        if before.nonce:
            fields["nonce"] = before.nonce
        if isinstance(settlement, Completed):
            fields["result"] = settlement.result
        elif isinstance(settlement, Failed | RetryAt):
            fields["error"] = settlement.error.message
        elif before.error is not None:
            fields["error"] = before.error.message
        return fields


def _failed_attempts(settlement: EndOfAttempt | Released) -> int:
    if isinstance(settlement, Failed):
        return int(settlement.attempted)
    return int(isinstance(settlement, RetryAt))
