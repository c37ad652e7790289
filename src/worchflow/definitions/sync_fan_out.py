"""What a plain handler does with many items, or with the first of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from .fan_out_calls import invoke_many_call, map_call, race_call
from .step_facade import StepFacade

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ..foundations.errors import (
        ExecutionCancelled,
        ExecutionFailed,
        StepFailed,
    )
    from ..foundations.types import A, B, C, D, Duration, Message, T, Z
    from .correlation_key import Key


class SyncFanOut(StepFacade):
    """`FanOut` for plain handlers: its methods block."""

    __slots__ = ()

    @overload
    def map(
        self,
        title: str,
        fn: Callable[[D], Awaitable[T]],
        items: Iterable[D],
        /,
        *,
        key: Callable[[D], Key] | None = None,
        concurrency: int | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[T]: ...
    @overload
    def map(
        self,
        title: str,
        fn: Callable[[D], T | Awaitable[T]],
        items: Iterable[D],
        /,
        *,
        key: Callable[[D], Key] | None = None,
        concurrency: int | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[T]: ...
    @overload
    def map(
        self,
        title: str,
        fn: Callable[[D], Awaitable[T]],
        items: Iterable[D],
        /,
        *,
        key: Callable[[D], Key] | None = None,
        concurrency: int | None = None,
        return_exceptions: bool,
    ) -> list[T | StepFailed]: ...
    @overload
    def map(
        self,
        title: str,
        fn: Callable[[D], T | Awaitable[T]],
        items: Iterable[D],
        /,
        *,
        key: Callable[[D], Key] | None = None,
        concurrency: int | None = None,
        return_exceptions: bool,
    ) -> list[T | StepFailed]: ...
    def map(
        self,
        title: str,
        fn: Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        key: Callable[[Any], Key] | None = None,
        concurrency: int | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """As `Step.map`, but blocks until all items are done.

        Plain functions run in threads of the worker, not in the handler's own.
        """
        call = map_call(
            self._settings, title, fn, items, key, concurrency, return_exceptions
        )
        return self._runner.run_blocking(call)

    @overload
    def invoke_many(
        self,
        title: str,
        messages: Iterable[Message[T, D]],
        /,
        *,
        key: Callable[[D], Key] | None = None,
        concurrency: int | None = None,
        timeout: Duration | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[T]: ...
    @overload
    def invoke_many(
        self,
        title: str,
        messages: Iterable[Message[T, D]],
        /,
        *,
        key: Callable[[D], Key] | None = None,
        concurrency: int | None = None,
        timeout: Duration | None = None,
        return_exceptions: bool,
    ) -> list[T | ExecutionFailed | ExecutionCancelled | TimeoutError]: ...
    @overload
    def invoke_many(
        self,
        title: str,
        messages: Iterable[Mapping[str, object]],
        /,
        *,
        key: Callable[[Any], Key] | None = None,
        concurrency: int | None = None,
        timeout: Duration | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]: ...
    def invoke_many(
        self,
        title: str,
        messages: Iterable[Any],
        /,
        *,
        key: Callable[[Any], Key] | None = None,
        concurrency: int | None = None,
        timeout: Duration | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """As `Step.invoke_many`, but blocks until all children have ended."""
        call = invoke_many_call(
            self._settings,
            title,
            messages,
            key,
            concurrency,
            timeout,
            return_exceptions,
        )
        return self._runner.run_blocking(call)

    @overload
    def race(
        self, title: str, first: Callable[[], A], second: Callable[[], B], /
    ) -> tuple[Literal[0], A] | tuple[Literal[1], B]: ...
    @overload
    def race(
        self,
        title: str,
        first: Callable[[], A],
        second: Callable[[], B],
        third: Callable[[], C],
        /,
    ) -> tuple[Literal[0], A] | tuple[Literal[1], B] | tuple[Literal[2], C]: ...
    @overload
    def race(
        self,
        title: str,
        first: Callable[[], A],
        second: Callable[[], B],
        third: Callable[[], C],
        fourth: Callable[[], Z],
        /,
    ) -> (
        tuple[Literal[0], A]
        | tuple[Literal[1], B]
        | tuple[Literal[2], C]
        | tuple[Literal[3], Z]
    ): ...
    @overload
    def race(self, title: str, /, *arms: Callable[[], T]) -> tuple[int, T]: ...
    @overload
    def race(self, title: str, /, **arms: Callable[[], T]) -> tuple[str, T]: ...
    def race(
        self, title: str, /, *by_place: Callable[[], Any], **by_name: Callable[[], Any]
    ) -> Any:
        """As `Step.race`, but blocks, and each arm is a function that makes one call.

        `lambda: ctx.step.sleep("Too late", "1d")`, for a call itself would block. Each
        function is called once to learn what it asks for, up to that call; that of the
        first arm is called again, gets the value from its call, and gives that of the
        race.
        """
        call = race_call(self._settings, title, by_place, by_name)
        return self._runner.run_blocking(call)
