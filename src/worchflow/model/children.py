"""Executions that steps of others have started: parents and children."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..foundations.types import value
from .records import ExecutionStatus

if TYPE_CHECKING:
    from ..foundations.types import Payload
    from .records import ErrorInfo

MAX_DEPTH = 50
"""So many parents an execution has at most, one above the other."""


def parent_ended_reason(parent_id: str) -> str:
    """Why a child is cancelled that is not to outlive its parent."""
    return f"its parent {parent_id} has ended"


@value
class Child:
    """A child as its parent sees it.

    `result` and `error` are those of one that has ended.
    """

    id: str
    status: ExecutionStatus
    token: int
    """That of the parent's claim under which it was started, or retried, last."""
    result: Payload | None = None
    error: ErrorInfo | None = None
    """With a codec, `message` and `traceback` are encoded payloads."""
    cancel_reason: str | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a result."""
        return self.status in (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)
