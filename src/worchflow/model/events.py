"""Events of the log: accepted for whoever waits for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..foundations.types import value

if TYPE_CHECKING:
    from datetime import datetime

    from ..foundations.types import Payload
    from .records import NewExecution


@value
class NewEvent:
    """An event to append to the log."""

    id: str
    name: str
    data: Payload
    key: str | None = None
    """Its correlation key; None is a key too, of events without one."""


def sent_id(execution_id: str) -> str:
    """The id in the log of the event that an execution is as well."""
    return f"execution:{execution_id}"


def event_of(execution: NewExecution) -> NewEvent:
    """The event that an execution with an `event_key` is as well."""
    return NewEvent(
        id=sent_id(execution.id),
        name=execution.event_name,
        data=execution.event_data,
        key=execution.event_key,
    )


@value
class StoredEvent:
    """An event as a store holds it."""

    id: str
    name: str
    data: Payload
    key: str | None
    at: datetime
    """When it was accepted, by the store's clock."""
    is_new: bool = field(default=False, compare=False)
    """Whether the call that returned it has stored it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLook:
    """What the log has for a wait."""

    event: StoredEvent | None
    """The oldest that the wait may take."""
    left: float | None
    """Seconds that were left until the wait's deadline before the log was read; 0 once
    it had passed: nothing that is accepted later ends the wait. None without one."""
