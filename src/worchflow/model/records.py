"""What the library keeps about executions and steps, as values.

`Execution` and `StepRecord` are what users see, decoded. `StoredExecution` and
`StoredStep` are the same facts as a store keeps them, payloads still encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic

from typing_extensions import TypeVar

from ..foundations.types import Payload, value
from .step_kind import StepKind
from .waits import StoredWait

Item = TypeVar("Item")


class ExecutionStatus(StrEnum):
    """Where an execution stands. The words are also what the stores hold."""

    QUEUED = "queued"
    PROCESSING = "processing"
    RETRYING = "retrying"
    SLEEPING = "sleeping"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing happens any more, an explicit retry aside."""
        return self in TERMINAL

    @property
    def is_suspended(self) -> bool:
        """Whether it left its worker until it is woken or its earliest deadline."""
        return self in SUSPENDED


TERMINAL = frozenset(
    {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}
)
SUSPENDED = frozenset({ExecutionStatus.SLEEPING, ExecutionStatus.WAITING})
"""Sleeping is what waits for time alone."""


class StepStatus(StrEnum):
    """A recorded step either gave a result or has failed for good."""

    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorInfo:
    """An exception as text: its class name, message and traceback.

    `step` is the title of the step that it came out of, followed by ` (key …)` if it
    has a key; None for one that came from elsewhere in the handler.
    """

    type: str
    message: str
    traceback: str
    step: str | None = None


class AttemptOutcome(StrEnum):
    """How the code of an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@value
class AttemptRecord:
    """An attempt that has ended.

    Its times are by the clock of the worker that made it; if the first attempt of an
    execution completed it, they are the times of the execution. An attempt that a dead
    worker or a stopping one did not end leaves no record.
    """

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime
    outcome: AttemptOutcome
    error: ErrorInfo | None = None
    """What it failed with; `error.step` is the step that it failed in."""


MAX_ATTEMPT_RECORDS = 10
"""The newest attempts of an execution that are kept."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One execution. All times are aware datetimes in UTC.

    `attempt_count` counts failed attempts, `recoveries` the worker deaths it
    survived, `reason` says why it waits or was cancelled, `worker` who owns it now.
    `cancel_requested` means that it will end as cancelled once its worker releases it.
    `attempts` are the newest ten that have ended, the oldest of them first. `headers`
    and `tags` are those that it was sent with.
    """

    id: str
    event_name: str
    function_id: str | None
    data: Any
    status: ExecutionStatus
    result: Any
    error: ErrorInfo | None
    attempt_count: int
    recoveries: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    run_at: datetime | None
    worker: str | None
    reason: str | None
    cancel_requested: bool
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: tuple[str, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    parent: str | None = None
    """The id of the execution of which a step has started it."""
    depth: int = 0
    """How many parents it has, one above the other."""
    deadline_at: datetime | None = None
    """When it fails unless it has ended, by the store's clock. None: its function has
    no deadline, or it was not started yet."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One recorded step of an execution.

    `key` is what `step.options(key=...)` tells the uses of one title apart by, as text.
    """

    execution_id: str
    step_id: str
    title: str
    key: str | None
    status: StepStatus
    result: Any
    error: ErrorInfo | None
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    kind: StepKind = StepKind.RUN


@dataclass(frozen=True, kw_only=True)
class WaitRecord:
    """Something that an execution waits for, and that has not ended."""

    execution_id: str
    step_id: str
    title: str
    kind: StepKind
    deadline: datetime | None
    """When it ends by itself, by the store's clock."""
    event: str | None
    """The name of the event that ends it."""
    key: str | None
    """The event's correlation key."""
    token: str | None
    """The id of the token whose answer ends it."""
    tries: int = 0
    """How often a step was tried that waits for its next try."""


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Item]):
    """A part of a listing; pass `cursor` on to get the next, None ends it."""

    items: list[Item]
    cursor: str | None


@value
class Parent:
    """The execution of which a step has started another one."""

    id: str
    nonce: str
    """Tells it from an earlier execution of its id; empty where that has none."""
    step_id: str
    token: int
    """That of its claim under which the child was started, or retried, last."""
    leaves: bool = False
    """Whether the child goes on when its parent ends."""


@value
class NewExecution:
    """An execution to insert. At most one of `delay` and `run_at` is set."""

    id: str
    event_name: str
    event_data: Payload
    nonce: str
    created_at: datetime
    delay: float | None = None
    """Seconds from the store's now until it may run."""
    run_at: datetime | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: tuple[str, ...] = ()
    event_key: str | None = None
    """The correlation key of an event that those who wait for it are told of too."""
    parent: Parent | None = None
    depth: int = 0
    """How many parents it has, one above the other."""


@value
class StoredExecution:
    """An execution as a store holds it."""

    id: str
    event_name: str
    event_data: Payload
    status: ExecutionStatus
    created_at: datetime
    updated_at: datetime
    function_id: str | None = None
    result: Payload | None = None
    error: ErrorInfo | None = None
    """With a codec, `message` and `traceback` are encoded payloads."""
    attempt_count: int = 0
    recoveries: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    run_at: datetime | None = None
    worker: str | None = None
    reason: str | None = None
    token: int = 0
    cancel_requested: bool = False
    cancel_reason: str | None = None
    deaths: int = 0
    """Workers that died while its code ran, since it last recorded a step."""
    nonce: str = ""
    """Tells this execution from an earlier one of the same id that was deleted."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: tuple[str, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    """With a codec, `message` and `traceback` of errors are encoded payloads."""
    wakeups: int = 0
    """How often it was woken; never reset."""
    has_waits: bool = False
    """Whether waits of it may be stored."""
    has_children: bool = False
    """Whether it may have children."""
    is_published: bool = True
    """Whether those who wait for its event were told, if they are to be."""
    attempt_started_at: datetime | None = None
    """When the attempt began that was suspended and has not ended."""
    accepted_at: datetime | None = None
    """When it was accepted by the store's clock; None where that is the sender's."""
    parent: Parent | None = None
    depth: int = 0
    """How many parents it has, one above the other."""
    retry_token: int = 0
    """That of its last explicit retry; 0 before the first."""
    eligible_at: datetime | None = None
    """When it was due first, if that is not when it was accepted: its delay ended, or
    it was retried."""
    deadline_at: datetime | None = None
    """When it fails unless it has ended."""

    @property
    def may_begin_at(self) -> datetime:
        """When it could first begin, since it was accepted or retried."""
        accepted = self.accepted_at or self.created_at
        return accepted if self.eligible_at is None else max(accepted, self.eligible_at)


@value
class StoredStep:
    """A step to record, or as a store holds it."""

    step_id: str
    title: str
    status: StepStatus
    result: Payload | None = None
    error: ErrorInfo | None = None
    attempts: int = 1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    key: str | None = None
    kind: StepKind = StepKind.RUN
    attempt: int | None = None
    """The only attempt that a failure counts for; None: for all until a retry."""
    error_class: str | None = None
    """Of such a failure, and of that of a child, the class, as `module:name`."""


@value
class Claim:
    """One worker's ownership of one execution, fenced by `token`.

    `token` grows with every claim of the execution. `steps` holds everything
    recorded before this claim, and `waits` what is waited for, each by step id.
    """

    execution: StoredExecution
    worker_id: str
    token: int
    steps: Mapping[str, StoredStep] = field(default_factory=dict[str, StoredStep])
    waits: Mapping[str, StoredWait] = field(default_factory=dict[str, StoredWait])
    parent_has_ended: bool = False
    """Whether it is a child that has to be cancelled, for its parent has ended."""
    deadline_left: float | None = None
    """Seconds that were left until its deadline when the store gave this answer; 0 once
    it has passed. None if none is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """One start of a worker, as the stores know it."""

    id: str
    functions: Mapping[str, str]
    """The id of the function that serves each event, by event name."""
    concurrency: int
    host: str
    pid: int
    started_at: datetime
    quarantine_after: int = 2
    """Executions with so many `deaths` are claimed by `claim_quarantined` alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSeen:
    """A worker that did not leave, as the others see it."""

    id: str
    functions: Mapping[str, str]
    """The id of the function that serves each event, by event name."""
    silent_for: float | None
    """Seconds since it renewed its lease; None where no clock can tell."""
    is_alive: bool
    """Whether its lease holds and nothing says that its process is gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionQuery:
    """Which executions to list: newest first, `limit` at a time."""

    statuses: frozenset[ExecutionStatus] = frozenset()
    """Those of these; empty: of all."""
    function: str | None = None
    """A function id or an event name."""
    since: datetime | None = None
    until: datetime | None = None
    tag: str | None = None
    parent: str | None = None
    """The id of the execution whose children are listed."""
    id_prefix: str | None = None
    cursor: str | None = None
    limit: int = 50
    payloads: bool = True
    """Whether event data, results and attempts are read; without it they are null,
    None and empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPage:
    """A part of a listing as the store holds it."""

    items: Sequence[StoredExecution]
    cursor: str | None
