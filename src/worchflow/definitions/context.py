"""What a handler gets: the event, its steps and facts about this attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from typing_extensions import override

from ..foundations.errors import InvalidInput
from ..foundations.limits import check_key, check_name
from ..foundations.types import D_co, T
from .step_call import MISSING, UNSET, StepCall, StepRunner

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from uuid import UUID

    from typing_extensions import TypeForm, Unpack

    from ..foundations.types import Duration, P
    from .step_call import StepOptions, StepSettings

__all__ = [
    "MISSING",
    "BaseContext",
    "Context",
    "ReceivedEvent",
    "Step",
    "StepCall",
    "StepRunner",
    "SyncContext",
    "SyncStep",
    "SyncTypedStep",
    "TypedStep",
]


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent(Generic[D_co]):
    """The event that started this execution; `id` is the execution's."""

    name: str
    data: D_co = field(repr=False)
    id: str
    timestamp: datetime


class _Facade:
    """A step runner and the options for what is run through it."""

    __slots__ = ("_runner", "_settings")

    def __init__(self, runner: StepRunner, settings: StepSettings = UNSET) -> None:
        self._runner = runner
        self._settings = settings


class TypedStep(_Facade, Generic[T]):
    """`step.options(as_type=…)`: the result has the named type."""

    __slots__ = ()

    def run(
        self, title: str, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, None, T]:
        """As `Step.run`; the result is decoded to the named type."""
        return self._runner.run(self._settings.call(title, fn, args, kwargs))

    def options(self, **options: Unpack[StepOptions]) -> TypedStep[T]:
        """The same with these options, other ones kept."""
        return TypedStep(self._runner, self._settings.merged(options))


# `Coroutine[object, None, T]`: with an explicit Any in its place, mypy takes the
# results of `asyncio.gather(step.run(…), …)` for Any.


class Step(_Facade):
    """Runs pieces of an `async def` handler and records their results."""

    __slots__ = ()

    @overload
    def run(
        self,
        title: str,
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[object, None, T]: ...
    @overload
    def run(
        self,
        title: str,
        fn: Callable[P, T | Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[object, None, T]: ...
    def run(
        self, title: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """Run `fn(*args, **kwargs)` once and return its recorded result.

        A plain function runs in a thread. Once awaited, the result is durable; on a
        later attempt the recorded value is returned and `fn` is not called. The
        step's identity is taken now, by this call.

        Raises `InvalidInput` for a bad title or function, `SerializationError` for
        a result that JSON cannot carry unchanged, `DuplicateStep`, `NestedStep`,
        `StepFailed` once retries of the step's own are used up, and else what `fn`
        raises.
        """
        return self._runner.run(self._settings.call(title, fn, args, kwargs))

    @overload
    def options(
        self, *, as_type: type[T], **options: Unpack[StepOptions]
    ) -> TypedStep[T]: ...
    @overload
    def options(
        self, *, as_type: TypeForm[T], **options: Unpack[StepOptions]
    ) -> TypedStep[T]: ...
    @overload
    def options(self, **options: Unpack[StepOptions]) -> Step: ...
    def options(self, **options: Any) -> Step | TypedStep[Any]:
        """The same steps with these options, earlier ones kept.

        Raises `ConfigurationError` or `InvalidInput` naming the option and its value.
        """
        settings = self._settings.merged(options)
        kind = Step if settings.as_type is MISSING else TypedStep[Any]
        return kind(self._runner, settings)

    def sleep(self, title: str, duration: Duration, /) -> Coroutine[object, None, None]:
        """Sleep for so long, counted from the first time that this is awaited.

        `duration` is a `timedelta`, seconds as a number, or text such as "2h". The
        sleep survives crashes and deploys, and for longer ones the execution leaves
        its worker: all of its code up to here runs again when it is due, and recorded
        steps give their results.

        Raises `InvalidInput` for a bad title or duration, `ConfigurationError` for an
        option other than `key`, and `DuplicateStep`.
        """
        return self._runner.run(self._settings.sleep(title, duration))

    def sleep_until(
        self, title: str, moment: datetime, /
    ) -> Coroutine[object, None, None]:
        """As `sleep`, until an aware datetime; one that has passed ends at once."""
        return self._runner.run(self._settings.sleep_until(title, moment))


class SyncTypedStep(_Facade, Generic[T]):
    """`TypedStep` for plain handlers: `run` blocks."""

    __slots__ = ()

    def run(
        self, title: str, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `SyncStep.run`; the result is decoded to the named type."""
        result: T = self._runner.run_blocking(
            self._settings.call(title, fn, args, kwargs)
        )
        return result

    def options(self, **options: Unpack[StepOptions]) -> SyncTypedStep[T]:
        """The same with these options, other ones kept."""
        return SyncTypedStep(self._runner, self._settings.merged(options))


class SyncStep(_Facade):
    """`Step` for plain handlers: `run` blocks the handler's thread."""

    __slots__ = ()

    @overload
    def run(
        self,
        title: str,
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...
    @overload
    def run(
        self,
        title: str,
        fn: Callable[P, T | Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...
    def run(
        self, title: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """As `Step.run`, but blocks until the result is durable and returns it."""
        return self._runner.run_blocking(self._settings.call(title, fn, args, kwargs))

    @overload
    def options(
        self, *, as_type: type[T], **options: Unpack[StepOptions]
    ) -> SyncTypedStep[T]: ...
    @overload
    def options(
        self, *, as_type: TypeForm[T], **options: Unpack[StepOptions]
    ) -> SyncTypedStep[T]: ...
    @overload
    def options(self, **options: Unpack[StepOptions]) -> SyncStep: ...
    def options(self, **options: Any) -> SyncStep | SyncTypedStep[Any]:
        """As `Step.options`."""
        settings = self._settings.merged(options)
        kind = SyncStep if settings.as_type is MISSING else SyncTypedStep[Any]
        return kind(self._runner, settings)

    def sleep(self, title: str, duration: Duration, /) -> None:
        """As `Step.sleep`, but blocks until the time is over."""
        self._runner.run_blocking(self._settings.sleep(title, duration))

    def sleep_until(self, title: str, moment: datetime, /) -> None:
        """As `Step.sleep_until`, but blocks until the time has come."""
        self._runner.run_blocking(self._settings.sleep_until(title, moment))


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
