"""What a plain handler asks for through `ctx.step`: the same, and it blocks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, overload

from ..foundations.types import D, T
from .calls import MISSING
from .children import SyncChildHandle
from .step_facade import StepFacade
from .sync_fan_out import SyncFanOut
from .tokens import SyncToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from typing_extensions import TypeForm, Unpack

    from ..foundations.types import Duration, Message, P
    from .calls import OnParentEnd, Since
    from .correlation_key import Keys
    from .events import EventRef
    from .step_options import StepOptions
    from .steps import E


class SyncTypedStep(StepFacade, Generic[T]):
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


class SyncStep(SyncFanOut):
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
    ) -> E: ...
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
    ) -> E | None: ...
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
    ) -> D: ...
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
    ) -> D | None: ...
    def wait_for_event(
        self,
        title: str,
        event: Any,
        /,
        *,
        key: Keys | None = None,
        since: Since = "execution",
        timeout: Duration | None = None,
    ) -> Any:
        """As `Step.wait_for_event`, but blocks until the event came, or did not."""
        call = self._settings.wait_for_event(title, event, key, since, timeout)
        return self._runner.run_blocking(call)

    @overload
    def send(
        self, title: str, message: Message[Any] | Mapping[str, object], /
    ) -> str: ...
    @overload
    def send(
        self, title: str, messages: Iterable[Message[Any] | Mapping[str, object]], /
    ) -> list[str]: ...
    def send(self, title: str, messages: Any, /) -> Any:
        """As `Step.send`, but blocks until all are accepted."""
        return self._runner.run_blocking(self._settings.send(title, messages))

    @overload
    def invoke(
        self,
        title: str,
        message: Message[T],
        /,
        *,
        timeout: Duration | None = None,
    ) -> T: ...
    @overload
    def invoke(
        self,
        title: str,
        message: Mapping[str, object],
        /,
        *,
        timeout: Duration | None = None,
    ) -> Any: ...
    def invoke(
        self, title: str, message: Any, /, *, timeout: Duration | None = None
    ) -> Any:
        """As `Step.invoke`, but blocks until the child has ended."""
        return self._runner.run_blocking(self._settings.invoke(title, message, timeout))

    @overload
    def start(
        self,
        title: str,
        message: Message[T],
        /,
        *,
        on_parent_end: OnParentEnd = "cancel",
    ) -> SyncChildHandle[T]: ...
    @overload
    def start(
        self,
        title: str,
        message: Mapping[str, object],
        /,
        *,
        on_parent_end: OnParentEnd = "cancel",
    ) -> SyncChildHandle[Any]: ...
    def start(
        self, title: str, message: Any, /, *, on_parent_end: OnParentEnd = "cancel"
    ) -> Any:
        """As `Step.start`, but blocks until the child is accepted."""
        make = partial(SyncChildHandle[Any], self._runner)
        return self._runner.run_blocking(
            self._settings.start(title, message, on_parent_end, make)
        )

    @overload
    def token(
        self, title: str, answer: type[T], /, *, timeout: None = None
    ) -> SyncToken[T]: ...
    @overload
    def token(
        self, title: str, answer: TypeForm[T], /, *, timeout: None = None
    ) -> SyncToken[T]: ...
    @overload
    def token(
        self, title: str, answer: type[T], /, *, timeout: Duration | None
    ) -> SyncToken[T | None]: ...
    @overload
    def token(
        self, title: str, answer: TypeForm[T], /, *, timeout: Duration | None
    ) -> SyncToken[T | None]: ...
    def token(
        self, title: str, answer: Any, /, *, timeout: Duration | None = None
    ) -> Any:
        """As `Step.token`; its `result` blocks until there is an answer."""
        make = partial(SyncToken[Any], self._runner)
        call = self._settings.token(title, answer, timeout, make)
        return self._runner.run_blocking(call)
