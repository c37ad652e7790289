"""What a handler gets: the event, its steps and facts about this attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from typing_extensions import override

from ..foundations.errors import InvalidInput
from ..foundations.limits import check_key, check_name
from ..foundations.types import D_co
from .calls import StepRunner
from .steps import Step
from .sync_steps import SyncStep

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping
    from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent(Generic[D_co]):
    """The event that started this execution; `id` is the execution's."""

    name: str
    data: D_co = field(repr=False)
    id: str
    timestamp: datetime


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class BaseContext(Generic[D_co]):
    """What both kinds of context have.

    `event` is what was received, `attempt` counts from 1 (failed attempts + 1), and
    `token` grows with every claim of the execution, for fencing outside systems.
    `headers` are those that it was sent with; what its code sends gets them too.
    """

    def __init__(
        self,
        *,
        event: ReceivedEvent[D_co],
        runner: StepRunner,
        attempt: int,
        token: int,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self.event: Final = event
        self.headers: Final = headers
        self.attempt: Final = attempt
        self.token: Final = token
        self._runner = runner

    @property
    def data(self) -> D_co:
        """The event's data."""
        return self.event.data

    @property
    def execution_id(self) -> str:
        """The id of this execution, and of its event."""
        return self.event.id

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the execution, function, attempt and step."""
        return self._runner.log

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should stop; a long loop may look at it."""
        return self._runner.cancelled

    def idempotency_key(
        self, title: str | None = None, *, key: str | int | UUID | None = None
    ) -> str:
        """A key for outside systems, the same on every attempt.

        Without a title: the running step's own. With one: that of the step of this
        title (and key). Raises `InvalidInput` for a bad title or key.
        """
        if title is not None:
            check_name(title, "title")
        elif key is not None:
            raise InvalidInput(
                "idempotency_key(key=…) needs the step's title too", field="title"
            )
        return self._runner.idempotency_key(
            title, None if key is None else check_key(key)
        )

    @override
    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(event={self.event.name!r}, "
            f"execution_id={self.execution_id!r}, attempt={self.attempt})"
        )


BaseContextT = TypeVar("BaseContextT", bound=BaseContext[Any])


class Context(BaseContext[D_co]):
    """The argument of an `async def` handler: `ctx: Context[ProcessPayment]`."""

    @property
    def step(self) -> Step:
        """Runs the steps of this execution."""
        return Step(self._runner)


class SyncContext(BaseContext[D_co]):
    """The argument of a plain `def` handler, which runs in a thread."""

    @property
    def step(self) -> SyncStep:
        """Runs the steps of this execution, blocking."""
        return SyncStep(self._runner)


def through(
    ctx: BaseContextT, wrap: Callable[[StepRunner], StepRunner]
) -> BaseContextT:
    """The same context with its steps run through what `wrap` puts around them."""
    kind: type[Any] = type(ctx)
    runner = wrap(ctx._runner)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    told: BaseContextT = kind(
        event=ctx.event,
        runner=runner,
        attempt=ctx.attempt,
        token=ctx.token,
        headers=ctx.headers,
    )
    return told
