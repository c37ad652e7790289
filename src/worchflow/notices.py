"""What the event emitters and `handle.updates()` tell, as frozen values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from .records import ErrorInfo, ExecutionStatus


@dataclass(frozen=True, kw_only=True)
class Ready:
    """`ready`: the stores answered and work can begin."""

    name: ClassVar[str] = "ready"


@dataclass(frozen=True, kw_only=True)
class ErrorRaised:
    """`error`: something failed outside any execution."""

    name: ClassVar[str] = "error"
    error: BaseException


@dataclass(frozen=True, kw_only=True)
class ExecutionUpdated:
    """`execution:updated`: the execution changed its status."""

    name: ClassVar[str] = "execution:updated"
    execution_id: str
    event_name: str
    attempt: int
    status: ExecutionStatus


@dataclass(frozen=True, kw_only=True)
class ExecutionStarted(ExecutionUpdated):
    """`execution:start`: an attempt begins."""

    name: ClassVar[str] = "execution:start"


@dataclass(frozen=True, kw_only=True)
class ExecutionCompleted(ExecutionUpdated):
    """`execution:complete`: the result is final and stored."""

    name: ClassVar[str] = "execution:complete"
    result: Any = None


@dataclass(frozen=True, kw_only=True)
class AttemptFailed(ExecutionUpdated):
    """`execution:failed`: an attempt failed; `will_retry` says whether for good."""

    name: ClassVar[str] = "execution:failed"
    error: ErrorInfo | None = None
    will_retry: bool = False


@dataclass(frozen=True, kw_only=True)
class StepCompleted(ExecutionUpdated):
    """`step:complete`: a step's result is recorded."""

    name: ClassVar[str] = "step:complete"
    step_id: str
    title: str
    result: Any = None


Notice = ExecutionUpdated
"""What travels between processes: one of the five above, without result and error."""

KINDS: dict[str, type[ExecutionUpdated]] = {
    kind.name: kind
    for kind in (
        ExecutionUpdated,
        ExecutionStarted,
        ExecutionCompleted,
        AttemptFailed,
        StepCompleted,
    )
}


def encode_notice(notice: Notice) -> str:
    """A notice as JSON, without payloads: the receiver reads these from the store."""
    fields: dict[str, Any] = {
        "name": notice.name,
        "execution_id": notice.execution_id,
        "event_name": notice.event_name,
        "attempt": notice.attempt,
        "status": notice.status.value,
    }
    if isinstance(notice, StepCompleted):
        fields |= {"step_id": notice.step_id, "title": notice.title}
    elif isinstance(notice, AttemptFailed):
        fields["will_retry"] = notice.will_retry
    return json.dumps(fields)


def decode_notice(text: str | bytes) -> Notice | None:
    """The notice in a message; None for anything that is not one."""
    try:
        fields: dict[str, Any] = json.loads(text)
        kind = KINDS[fields.pop("name")]
        fields["status"] = ExecutionStatus(fields["status"])
        return kind(**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
