"""What a handler asks for through `ctx.step`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, overload

from typing_extensions import TypeVar

from ..foundations.types import D, T
from .calls import MISSING
from .children import ChildHandle
from .fan_out import FanOut
from .step_facade import StepFacade
from .tokens import Token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
    from datetime import datetime

    from typing_extensions import TypeForm, Unpack

    from ..foundations.types import Duration, Message, P
    from .calls import OnParentEnd, Since
    from .correlation_key import Keys
    from .events import Event, EventRef
    from .step_options import StepOptions

E = TypeVar("E", bound="Event[Any]")


class TypedStep(StepFacade, Generic[T]):
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


class Step(FanOut):
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

    @overload
    def wait_for_event(
        self,
        title: str,
        event: type[E],
        /,
        *,
        key: Keys | None = None,
        since: Since = "execution",
        timeout: None = None,
    ) -> Coroutine[object, None, E]: ...
    @overload
    def wait_for_event(
        self,
        title: str,
        event: type[E],
        /,
        *,
        key: Keys | None = None,
        since: Since = "execution",
        timeout: Duration | None,
    ) -> Coroutine[object, None, E | None]: ...
    @overload
    def wait_for_event(
        self,
        title: str,
        event: EventRef[D, Any],
        /,
        *,
        key: Keys | None = None,
        since: Since = "execution",
        timeout: None = None,
    ) -> Coroutine[object, None, D]: ...
    @overload
    def wait_for_event(
        self,
        title: str,
        event: EventRef[D, Any],
        /,
        *,
        key: Keys | None = None,
        since: Since = "execution",
        timeout: Duration | None,
    ) -> Coroutine[object, None, D | None]: ...
    def wait_for_event(
        self,
        title: str,
        event: Any,
        /,
        *,
        key: Keys | None = None,
        since: Since = "execution",
        timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Wait for an event with this key; its data, or None after `timeout`.

        The oldest counts that was accepted since the execution was, and that no other
        wait of the execution has taken: it may have come before the wait began.
        `since="now"` takes only what comes from then on, an aware datetime what came
        since that moment. What `emit` had accepted before the timeout always counts,
        what is accepted later never does. Meanwhile the execution leaves its worker,
        as in `sleep`.

        Raises `InvalidInput` for a bad title, key, `since` or timeout,
        `ConfigurationError` for an event that has a key and none was given, for a
        timeout where the data may be None, and for an option other than `key`, and
        `DuplicateStep`.
        """
        call = self._settings.wait_for_event(title, event, key, since, timeout)
        return self._runner.run(call)

    @overload
    def send(
        self, title: str, message: Message[Any] | Mapping[str, object], /
    ) -> Coroutine[object, None, str]: ...
    @overload
    def send(
        self, title: str, messages: Iterable[Message[Any] | Mapping[str, object]], /
    ) -> Coroutine[object, None, list[str]]: ...
    def send(self, title: str, messages: Any, /) -> Coroutine[Any, Any, Any]:
        """Send a message, or several, once, however often the handler runs again.

        The id of the execution that it starts, or a list of them in order. Those
        executions are on their own: what becomes of this one does not matter to them.
        They inherit its headers. Once this is awaited all are accepted durably, and a
        crash before leaves them the same ids, so that none is accepted twice.

        Raises `InvalidInput` for a bad title and for more than 10,000 messages,
        `EventValidationError` for what is no message, `ConfigurationError` for an
        option other than `key`, and `DuplicateStep`. Data that does not fit its event
        fails the execution at once: nothing of the step is sent.
        """
        return self._runner.run(self._settings.send(title, messages))

    @overload
    def invoke(
        self,
        title: str,
        message: Message[T],
        /,
        *,
        timeout: Duration | None = None,
    ) -> Coroutine[object, None, T]: ...
    @overload
    def invoke(
        self,
        title: str,
        message: Mapping[str, object],
        /,
        *,
        timeout: Duration | None = None,
    ) -> Coroutine[object, None, Any]: ...
    def invoke(
        self, title: str, message: Any, /, *, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Start an execution as a child of this one, and wait for its result.

        The child is a whole execution: it may run on any worker, has attempts and steps
        of its own, and is started once, however often the handler runs again.
        Meanwhile this one leaves its worker, as in `sleep`. A child that runs when its
        parent ends is cancelled, and a `retry` of the parent repeats one that has
        failed or was cancelled, with its completed steps.

        Raises `ExecutionFailed` and `ExecutionCancelled` as the child ended, and
        `TimeoutError` if it has not by `timeout`, counted from the first time that this
        is awaited: then the child is cancelled. Each is recorded, so a handler that
        does not catch it fails at once. Raises also `InvalidInput` for a bad title,
        `EventValidationError` for what is no message, `ConfigurationError` for a bad
        timeout and an option other than `key`, and `DuplicateStep`. Data that does not
        fit its event, and a child below more than 50 parents, fail the execution.
        """
        return self._runner.run(self._settings.invoke(title, message, timeout))

    @overload
    def start(
        self,
        title: str,
        message: Message[T],
        /,
        *,
        on_parent_end: OnParentEnd = "cancel",
    ) -> Coroutine[object, None, ChildHandle[T]]: ...
    @overload
    def start(
        self,
        title: str,
        message: Mapping[str, object],
        /,
        *,
        on_parent_end: OnParentEnd = "cancel",
    ) -> Coroutine[object, None, ChildHandle[Any]]: ...
    def start(
        self, title: str, message: Any, /, *, on_parent_end: OnParentEnd = "cancel"
    ) -> Coroutine[Any, Any, Any]:
        """Start an execution as a child of this one; what gives its result later.

        As `invoke`, without the waiting. With `on_parent_end="leave"` the child goes on
        when this execution ends; what nobody will ask for at all is better sent, with
        `send`.

        Raises `InvalidInput` for a bad title or `on_parent_end`, and else what `invoke`
        raises before it waits.
        """
        make = partial(ChildHandle[Any], self._runner)
        return self._runner.run(
            self._settings.start(title, message, on_parent_end, make)
        )

    @overload
    def token(
        self, title: str, answer: type[T], /, *, timeout: None = None
    ) -> Coroutine[object, None, Token[T]]: ...
    @overload
    def token(
        self, title: str, answer: TypeForm[T], /, *, timeout: None = None
    ) -> Coroutine[object, None, Token[T]]: ...
    @overload
    def token(
        self, title: str, answer: type[T], /, *, timeout: Duration | None
    ) -> Coroutine[object, None, Token[T | None]]: ...
    @overload
    def token(
        self, title: str, answer: TypeForm[T], /, *, timeout: Duration | None
    ) -> Coroutine[object, None, Token[T | None]]: ...
    def token(
        self, title: str, answer: Any, /, *, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Make a token that somebody outside answers; its answer is of this type.

        `token.id` is unguessable: put it into a mail, a chat or a form. `await token`
        gives what was passed to `client.complete(token.id, …)`, once, or None after
        `timeout`, which counts from the first time that this is awaited. An answer
        that was accepted before the timeout always counts, later ones are refused, as
        is what does not fit the type. A retry finds the same token.

        Raises `InvalidInput` for a bad title or timeout, `ConfigurationError` for what
        is not a type, for one that has no JSON Schema, for a timeout where the answer
        may be None, and for an option other than `key`, and `DuplicateStep`.
        """
        make = partial(Token[Any], self._runner)
        return self._runner.run(self._settings.token(title, answer, timeout, make))
