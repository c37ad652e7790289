"""What a handler asks its steps for: each call checked, and what carries it out."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from ..foundations.ids import step_name
from ..foundations.types import value

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import datetime

    from .retry import Retry

Since: TypeAlias = "Literal['execution', 'now'] | datetime"
"""From when on events count: from the execution's acceptance, from the beginning of
the wait, or from a moment."""


OnParentEnd: TypeAlias = "Literal['cancel', 'leave']"
"""What becomes of a child when its parent ends."""


class Missing(Enum):
    """The type of `MISSING`: no value given, where None would be one."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class NamedCall:
    """What every call of a step has: its title, and a key if it was given one."""

    __slots__ = ()
    title: str
    key: str | None
    step_id: str | None = None
    """The identity that it has from an earlier call; None: it takes its own."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return step_name(self.title, self.key)

    @property
    def label(self) -> str:
        """What `ErrorInfo.step` says: its title, with its key if it has one."""
        return self.title if self.key is None else f"{self.title} (key {self.key})"


@value
class StepCall(NamedCall):
    """One call of `step.run`, checked: what to run, under which options.

    `timeout` is in seconds; `retries` is None for a step without its own retries.
    """

    title: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    key: str | None = None
    retries: Retry | None = None
    timeout: float | None = None
    as_type: Any = MISSING


@value
class SleepCall(NamedCall):
    """One call of `step.sleep`, or with `until` of `step.sleep_until`, checked."""

    title: str
    seconds: float | None
    until: datetime | None
    key: str | None = None


@value
class WaitCall(NamedCall):
    """One call of `step.wait_for_event`, checked.

    `timeout` is in seconds; `correlation_key` is that of the event, as text.
    """

    title: str
    event_name: str
    data_type: Any
    correlation_key: str | None
    since: Since
    timeout: float | None
    key: str | None = None


@value
class SendCall(NamedCall):
    """One call of `step.send`, checked: what is sent, and whether as one message."""

    title: str
    is_one: bool
    messages: tuple[Any, ...] = field(default=(), repr=False)
    key: str | None = None


@value
class InvokeCall(NamedCall):
    """One call of `step.invoke`, checked. `timeout` is in seconds."""

    title: str
    result_type: Any
    timeout: float | None
    message: Any = field(default=None, repr=False)
    key: str | None = None


@value
class StartCall(NamedCall):
    """One call of `step.start`, checked."""

    title: str
    leaves: bool
    make: Callable[[str, ChildCall, CancelCall], Any]
    """Makes what the handler gets of the child's id, and the calls for its result and
    its cancellation."""
    result_type: Any = None
    message: Any = field(default=None, repr=False)
    key: str | None = None


@value
class ChildCall(NamedCall):
    """One call of a child that was started, for its result."""

    title: str
    child_id: str
    result_type: Any
    key: str | None
    step_id: str | None
    cancellation_id: str = ""
    """The identity of the step that cancels it."""
    timeout: float | None = None


@value
class CancelCall(NamedCall):
    """One call that cancels a child that was started."""

    title: str
    child_id: str
    key: str | None
    step_id: str | None
    reason: str | None = None


@value
class MapCall(NamedCall):
    """One call of `step.map`, checked: a step for each item.

    `keys` tell the items apart, as many as there are; None: their places do. `retries`
    and `timeout`, in seconds, are those of each item.
    """

    title: str
    function: Callable[..., Any]
    keys: tuple[str, ...] | None
    concurrency: int
    return_exceptions: bool
    items: tuple[Any, ...] = field(default=(), repr=False)
    key: str | None = None
    retries: Retry | None = None
    timeout: float | None = None


@value
class InvokeManyCall(NamedCall):
    """One call of `step.invoke_many`, checked: a child for each message.

    `keys` as in `MapCall`; `timeout`, in seconds, is that of each child.
    """

    title: str
    keys: tuple[str, ...] | None
    concurrency: int
    return_exceptions: bool
    timeout: float | None
    messages: tuple[Any, ...] = field(default=(), repr=False)
    result_types: tuple[Any, ...] = field(default=(), repr=False)
    key: str | None = None


@value
class RaceCall(NamedCall):
    """One call of `step.race`, checked.

    Each of `arms` is what a call of a step gave, or for plain handlers a function that
    makes one; `names` are theirs, None where their places tell them apart.
    """

    title: str
    names: tuple[str, ...] | None
    arms: tuple[Any, ...] = field(default=(), repr=False)
    key: str | None = None


@value
class TokenCall(NamedCall):
    """One call of `step.token`, checked. `timeout` is in seconds."""

    title: str
    data_type: Any
    timeout: float | None
    make: Callable[[str, AnswerCall], Any]
    """Makes what the handler gets of the token's id and the call for its answer."""
    key: str | None = None


@value
class AnswerCall(NamedCall):
    """One call for the answer to a token."""

    title: str
    data_type: Any
    """None in it where there is a timeout."""
    key: str | None
    step_id: str | None


class StepRunner(Protocol):
    """What carries out the steps of one attempt."""

    def run(self, call: NamedCall) -> Coroutine[Any, Any, Any]:
        """Take the step's identity now, in the calling task; run it when awaited."""
        ...

    def run_blocking(self, call: NamedCall) -> Any:
        """Run the step and block the calling thread until its result is durable."""
        ...

    def idempotency_key(self, title: str | None, key: str | None) -> str:
        """The stable key of the named step, or of the one that is running here."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should stop."""
        ...

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """What the handler logs with."""
        ...
