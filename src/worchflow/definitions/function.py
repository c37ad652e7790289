"""Functions: a handler bound to an event, with its options."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypedDict, overload

from typing_extensions import TypeVar

from ..foundations.errors import ConfigurationError, EventValidationError
from ..foundations.limits import short
from ..foundations.suggestions import refuse_unknown
from ..foundations.types import D, D_any, R
from .context import Context, SyncContext
from .events import (
    Envelope,
    EventRef,
    as_ref,
    check_event_name,
    event_name,
    is_event_class,
    result_type,
)
from .handler import Handler, read_handler
from .retry import Retry
from .step_options import check_timeout

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..foundations.types import Duration, EventSource
    from .correlation_key import KeySource

AsyncHandler: TypeAlias = Callable[[Context[D]], Coroutine[Any, Any, R]]
SyncHandler: TypeAlias = Callable[[SyncContext[D]], R]
RepeatTitles: TypeAlias = Literal["count", "reuse"]
N = TypeVar("N")


class FunctionOptions(TypedDict, total=False):
    """The options of a function.

    `id` is the event's name if left out. `retries` and `retry_delay` say how failed
    attempts are tried again, `timeout` bounds one attempt's running time, `deadline`
    the whole execution from when it could first begin, its waits and retries included,
    and `start_timeout` the time from then until a worker starts it: what exceeds these
    two fails with `DeadlineExceeded`.
    `repeat_titles="reuse"` makes a title's second use return the first's result.
    `log_replays=True` lets `ctx.log` repeat, marked, what a replay goes over again.
    """

    id: str
    retries: int | Retry
    retry_delay: Duration
    timeout: Duration
    deadline: Duration
    start_timeout: Duration
    repeat_titles: RepeatTitles
    log_replays: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class AnyFunction:
    """What every function has, whatever its types; all that runs functions reads.

    `handler` is the user's own function, `timeout`, `deadline` and `start_timeout` are
    in seconds, and `is_async` says whether calling the handler gives an awaitable.
    """

    id: str
    event_name: str
    handler: Callable[[Any], Any] = field(repr=False)
    data_type: Any
    retry: Retry = field(repr=False)
    timeout: float | None = field(repr=False)
    deadline: float | None = field(repr=False)
    start_timeout: float | None = field(repr=False)
    repeat_titles: RepeatTitles = field(repr=False)
    log_replays: bool = field(repr=False)
    is_async: bool = field(repr=False)
    find_result_type: Callable[[], Any] = field(repr=False)
    event_key: KeySource | None = field(repr=False, default=None)
    """What of the event's data is its correlation key."""

    @cached_property
    def result_type(self) -> Any:
        """The event's result type; if that is `Any`, what the handler returns.

        Raises `ConfigurationError` for an event whose result type is given as text,
        as long as nothing of this name is there.
        """
        return self.find_result_type()


class WorchflowFunction(AnyFunction, Generic[D_any, R]):
    """A handler bound to an event; call it with the event's data to send it."""

    @overload
    def __call__(self: WorchflowFunction[None, R], /) -> Envelope[None, R]: ...
    @overload
    def __call__(self, data: D_any, /) -> Envelope[D_any, R]: ...
    def __call__(
        self: WorchflowFunction[Any, Any], /, *data: Any
    ) -> Envelope[Any, Any]:
        """The message to send; without an argument where the event has no data."""
        if len(data) != 1 and (data or self.data_type not in (type(None), Any)):
            raise EventValidationError(
                f'the event "{self.event_name}" has one value as its data, '
                f"{len(data)} were given: call function(data)",
                field="data",
            )
        given = data[0] if data else None
        return Envelope(
            self.event_name, given, self.data_type, self.result_type, self.event_key
        )

    if TYPE_CHECKING:

        def __worchflow_types__(self) -> tuple[D_any, R]: ...


def event_of(source: object) -> EventRef[Any, Any]:
    """Name and types of what an event class, an `EventRef` or a function names.

    Raises `ConfigurationError` for anything else.
    """
    if isinstance(source, AnyFunction):
        return EventRef(
            source.event_name, source.data_type, source.result_type, source.event_key
        )
    return as_ref(source)


class Binder(Generic[D, R]):
    """What `function(EventClass)` returns: the decorator."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    @overload
    def __call__(self, handler: AsyncHandler[D, R], /) -> WorchflowFunction[D, R]: ...
    @overload
    def __call__(self, handler: SyncHandler[D, R], /) -> WorchflowFunction[D, R]: ...
    def __call__(self, handler: Any, /) -> WorchflowFunction[Any, Any]:
        """Bind the handler; `ConfigurationError` for one that cannot work."""
        return self._plan.bind(handler)


class NameBinder:
    """What `function("name")` returns: the types come from the handler."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    @overload
    def __call__(self, handler: AsyncHandler[D, N], /) -> WorchflowFunction[D, N]: ...
    @overload
    def __call__(self, handler: SyncHandler[D, N], /) -> WorchflowFunction[D, N]: ...
    def __call__(self, handler: Any, /) -> WorchflowFunction[Any, Any]:
        """Bind the handler; `ConfigurationError` for one that cannot work."""
        return self._plan.bind(handler)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """An event and checked options, waiting for a handler."""

    source: Any
    event_name: str
    id: str
    retry: Retry
    timeout: float | None
    deadline: float | None
    start_timeout: float | None
    repeat_titles: RepeatTitles
    log_replays: bool
    done: Callable[[WorchflowFunction[Any, Any]], object]

    def bind(self, given: object) -> WorchflowFunction[Any, Any]:
        if isinstance(given, AnyFunction):
            raise ConfigurationError(
                f'{given!r} is a function already: bind its handler to "'
                f'{self.event_name}" with create_function(…, function.handler)'
            )
        handler = read_handler(given)
        is_async = handler.is_async()
        data_type, find_result_type = _event_types(self.source, handler)
        made: WorchflowFunction[Any, Any] = WorchflowFunction(
            id=self.id,
            event_name=self.event_name,
            handler=handler.function,
            data_type=data_type,
            retry=self.retry,
            timeout=self.timeout,
            deadline=self.deadline,
            start_timeout=self.start_timeout,
            repeat_titles=self.repeat_titles,
            log_replays=self.log_replays,
            is_async=is_async,
            find_result_type=find_result_type,
            event_key=_event_key(self.source),
        )
        self.done(made)
        return made


def _event_key(source: Any) -> KeySource | None:
    if isinstance(source, str):
        return None
    return source.__worchflow_key__ if is_event_class(source) else event_of(source).key


def _event_types(source: Any, handler: Handler) -> tuple[Any, Callable[[], Any]]:
    """The data type, and how to find the result type.

    `ConfigurationError` where the handler's annotations name other ones.
    """
    if isinstance(source, str):
        data_type, result = handler.data_type(), handler.result_type()
        return data_type, lambda: result
    if not is_event_class(source):
        found = event_of(source)
        handler.check_data(found.name, found.data_type)
        return found.data_type, _fixed(_result(found.name, found.result_type, handler))
    name = event_name(source)
    handler.check_data(name, source)
    try:
        declared = result_type(source, handler.names)
    except ConfigurationError:
        # Event["Receipt"] may name a class that is defined further down.
        return source, lambda: _result(name, result_type(source), handler)
    return source, _fixed(_result(name, declared, handler))


def _result(event: str, declared: Any, handler: Handler) -> Any:
    if declared is Any:
        return handler.result_type()
    handler.check_result(event, declared)
    return declared


def _fixed(value: Any) -> Callable[[], Any]:
    return lambda: value


def make_binder(
    event: Any,
    options: Mapping[str, Any],
    done: Callable[[WorchflowFunction[Any, Any]], object],
) -> Binder[Any, Any] | NameBinder:
    """Check event and options, and make the decorator that passes on to `done`.

    Raises `ConfigurationError` naming what is wrong.
    """
    if isinstance(event, str):
        name = check_event_name(event, "event")
    elif is_event_class(event):
        name = event_name(event)
    else:
        name = event_of(event).name
    refuse_unknown(options, FunctionOptions.__optional_keys__, f'function "{name}"')
    repeat_titles = options.get("repeat_titles", "count")
    if repeat_titles not in ("count", "reuse"):
        raise ConfigurationError(
            f'repeat_titles={short(repeat_titles)} must be "count" or "reuse"'
        )
    log_replays = options.get("log_replays", False)
    if not isinstance(log_replays, bool):
        raise ConfigurationError(
            f"log_replays={short(log_replays)} must be True or False"
        )
    try:
        timeout, deadline, start_timeout = (
            check_timeout(options[each], each) if each in options else None
            for each in ("timeout", "deadline", "start_timeout")
        )
    except ConfigurationError as error:
        raise ConfigurationError(f'function "{name}": {error.message}') from None
    if deadline is not None and start_timeout is not None and start_timeout >= deadline:
        raise ConfigurationError(
            f'start_timeout={short(options["start_timeout"])} of function "{name}" '
            f"must be shorter than its deadline={short(options['deadline'])}"
        )
    plan = _Plan(
        source=event,
        event_name=name,
        id=check_event_name(options.get("id", name), "id"),
        retry=Retry.of(options.get("retries"), options.get("retry_delay")),
        timeout=timeout,
        deadline=deadline,
        start_timeout=start_timeout,
        repeat_titles=repeat_titles,
        log_replays=log_replays,
        done=done,
    )
    return NameBinder(plan) if isinstance(event, str) else Binder(plan)


def _keep(_: object) -> None:
    """Nobody else needs to know of a function made without an app."""


@overload
def function(
    event: EventSource[D, R], /, **options: Unpack[FunctionOptions]
) -> Binder[D, R]: ...
@overload
def function(event: str, /, **options: Unpack[FunctionOptions]) -> NameBinder: ...
def function(event: Any, /, **options: Unpack[FunctionOptions]) -> Any:
    """Bind a handler to an event without an app: `@function(ProcessPayment)`.

    `event` is an event class, what `event()` returns, or a name; with a name the
    types come from the handler's annotations. Raises `ConfigurationError` for an
    event, an option or a handler that cannot work.
    """
    return make_binder(event, options, _keep)


@overload
def create_function(
    event: EventSource[D, R],
    handler: AsyncHandler[D, R],
    /,
    **options: Unpack[FunctionOptions],
) -> WorchflowFunction[D, R]: ...
@overload
def create_function(
    event: EventSource[D, R],
    handler: SyncHandler[D, R],
    /,
    **options: Unpack[FunctionOptions],
) -> WorchflowFunction[D, R]: ...
@overload
def create_function(
    event: str, handler: AsyncHandler[D, N], /, **options: Unpack[FunctionOptions]
) -> WorchflowFunction[D, N]: ...
@overload
def create_function(
    event: str, handler: SyncHandler[D, N], /, **options: Unpack[FunctionOptions]
) -> WorchflowFunction[D, N]: ...
def create_function(
    event: Any, handler: Any, /, **options: Unpack[FunctionOptions]
) -> WorchflowFunction[Any, Any]:
    """Bind a handler to an event; the same as `function(event, …)(handler)`."""
    return make_binder(event, options, _keep)(handler)
