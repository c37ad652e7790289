"""What the event emitters and `handle.updates()` tell, as frozen values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, Any, ClassVar

from .records import ErrorInfo, ExecutionStatus

if TYPE_CHECKING:
    from .records import Claim, StoredStep


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
class ExecutionSuspended(ExecutionUpdated):
    """`execution:suspended`: it leaves its worker while it waits."""

    name: ClassVar[str] = "execution:suspended"
    reason: str | None = None
    """What it waits for. Not told to other processes."""


@dataclass(frozen=True, kw_only=True)
class ExecutionResumed(ExecutionUpdated):
    """`execution:resumed`: an attempt that was suspended continues on a worker."""

    name: ClassVar[str] = "execution:resumed"


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
    key: str | None = None
    result: Any = None


Notice = ExecutionUpdated
"""What travels between processes: one of those above, without result and error."""

PROGRESS = (ExecutionStarted, ExecutionResumed, StepCompleted)
"""Which of them tell how far an execution has come: many, and few wait for them."""

KINDS: dict[str, type[ExecutionUpdated]] = {
    kind.name: kind
    for kind in (
        ExecutionUpdated,
        ExecutionStarted,
        ExecutionSuspended,
        ExecutionResumed,
        ExecutionCompleted,
        AttemptFailed,
        StepCompleted,
    )
}


def encode_notice(notice: Notice) -> str:
    """A notice as JSON, without payloads: the receiver reads these from the store."""
    # Several are made for every execution: this takes a fifth of `json.dumps`.
    text = (
        f'{{"name":"{notice.name}","execution_id":{_quoted(notice.execution_id)},'
        f'"event_name":{_quoted(notice.event_name)},"attempt":{notice.attempt},'
        f'"status":"{notice.status}"'
    )
    if isinstance(notice, StepCompleted):
        text += _step(notice)
    elif isinstance(notice, AttemptFailed):
        text += f',"will_retry":{"true" if notice.will_retry else "false"}'
    return text + "}"


def started(claim: Claim) -> ExecutionStarted | ExecutionResumed:
    """What a store publishes when the attempt of a claim starts, or continues."""
    execution = claim.execution
    begins = execution.attempt_started_at is None
    return (ExecutionStarted if begins else ExecutionResumed)(
        execution_id=execution.id,
        event_name=execution.event_name,
        attempt=execution.attempt_count + 1,
        status=ExecutionStatus.PROCESSING,
    )


def encode_started(claim: Claim) -> str:
    """The same as JSON at once: it is done for every attempt, heard or not."""
    execution = claim.execution
    name = "start" if execution.attempt_started_at is None else "resumed"
    return (
        f'{{"name":"execution:{name}","execution_id":{_quoted(execution.id)},'
        f'"event_name":{_quoted(execution.event_name)},'
        f'"attempt":{execution.attempt_count + 1},"status":"processing"}}'
    )


def step_completed(claim: Claim, step: StoredStep) -> StepCompleted:
    """What a store publishes with a completed step."""
    execution = claim.execution
    return StepCompleted(
        execution_id=execution.id,
        event_name=execution.event_name,
        attempt=execution.attempt_count + 1,
        status=ExecutionStatus.PROCESSING,
        step_id=step.step_id,
        title=step.title,
        key=step.key,
    )


def encode_step_completed(claim: Claim, step: StoredStep) -> str:
    """The same as JSON at once: it is done for every step, heard or not."""
    execution = claim.execution
    return (
        f'{{"name":"step:complete","execution_id":{_quoted(execution.id)},'
        f'"event_name":{_quoted(execution.event_name)},'
        f'"attempt":{execution.attempt_count + 1},"status":"processing"'
        f"{_step(step)}}}"
    )


def _step(one: StepCompleted | StoredStep) -> str:
    key = "" if one.key is None else f',"key":{_quoted(one.key)}'
    return f',"step_id":{_quoted(one.step_id)},"title":{_quoted(one.title)}{key}'


def decode_notice(text: str | bytes) -> Notice | None:
    """The notice in a message; None for anything that is not one."""
    try:
        fields: dict[str, Any] = json.loads(text)
        kind = KINDS[fields.pop("name")]
        fields["status"] = ExecutionStatus(fields["status"])
        known = kind.__dataclass_fields__
        return kind(**{name: each for name, each in fields.items() if name in known})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
