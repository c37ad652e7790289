"""What an execution waits for: one row for each wait, found again by a resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from .step_kind import StepKind


@dataclass(frozen=True, kw_only=True, slots=True)
class AwaitedEvent:
    """Which events of the log end a wait: those of this name with an equal key."""

    name: str
    key: str | None
    since: datetime | None = None
    """They were accepted at this moment or later. In a `NewWait` None: at the moment
    when the wait is stored, or later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewWait:
    """A wait to write down. At most one of `timeout` and `until` is set.

    Without either it has no deadline.
    """

    step_id: str
    kind: StepKind
    title: str
    timeout: float | None = None
    """Seconds from the store's now until its deadline."""
    until: datetime | None = None
    """Its deadline."""
    event: AwaitedEvent | None = None
    answer_schema: str | None = None
    """Of a token: what an answer has to look like, as JSON Schema."""
    tries: int = 0
    """Of a step that is tried again: how often it was tried. A wait after more tries
    takes the place of one after fewer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredWait:
    """A wait as a store holds it: its deadline moves only with the count of tries."""

    step_id: str
    kind: StepKind
    title: str
    token: int
    """That of the claim under which it was written down."""
    deadline: datetime | None = None
    """By the store's clock."""
    left: float | None = None
    """Seconds that were left until the deadline when the store gave this answer; 0 once
    it has passed. None without a deadline."""
    event: AwaitedEvent | None = None
    """What ends it; None for a wait that only time ends."""
    tries: int = 0
    """How often a step was tried that waits for its next try."""
