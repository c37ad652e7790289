"""What a handler does with many items, or with the first of several: `ctx.step`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from .fan_out_calls import invoke_many_call, map_call, race_call
from .step_facade import StepFacade

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from ..foundations.errors import (
        ExecutionCancelled,
        ExecutionFailed,
        StepFailed,
    )
    from ..foundations.types import A, B, C, D, Duration, Message, T, Z
    from .correlation_key import Key


class FanOut(StepFacade):
    """The methods of `Step` that do several things side by side."""

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
    ) -> Coroutine[object, None, list[T]]: ...
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
    ) -> Coroutine[object, None, list[T]]: ...
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
    ) -> Coroutine[object, None, list[T | StepFailed]]: ...
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
    ) -> Coroutine[object, None, list[T | StepFailed]]: ...
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
    ) -> Coroutine[Any, Any, Any]:
        """Run `fn(item)` for each item as a step of its own; their results in order.

        Up to `concurrency` items run at once, 10 unless it is given. Each is recorded
        by itself, so a retry or a crash does only the rest. `key` tells the items apart
        where their order may change; else their places do. `step.options(retries=,
        timeout=)` are those of each item. All items finish before this ends.

        Raises `StepsFailed`, an `ExceptionGroup` of what the failed items raised: the
        next attempt repeats these only. With `return_exceptions=True` a failed item is
        recorded as such and a `StepFailed` in its place. Raises also `InvalidInput` for
        a bad title, function or key and more than 10,000 items, `ConfigurationError`
        for a bad option, and `DuplicateStep` for two items with one key. If the number
        of items is not the recorded one any more, the execution fails at once.
        """
        call = map_call(
            self._settings, title, fn, items, key, concurrency, return_exceptions
        )
        return self._runner.run(call)

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
    ) -> Coroutine[object, None, list[T]]: ...
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
    ) -> Coroutine[
        object, None, list[T | ExecutionFailed | ExecutionCancelled | TimeoutError]
    ]: ...
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
    ) -> Coroutine[object, None, list[Any]]: ...
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
    ) -> Coroutine[Any, Any, Any]:
        """Start a child for each message, and wait for all; their results in order.

        Each is a child as of `invoke`, with the same `timeout`. All are started at once
        unless `concurrency` says how many may be unfinished. `key`, a function of a
        message's data, tells them apart where their order may change; else their places
        do. Meanwhile this execution leaves its worker, as in `sleep`.

        Raises `StepsFailed`, an `ExceptionGroup` of what `invoke` would raise for each
        that failed, once all have ended; a `retry` repeats these only. With
        `return_exceptions=True` these errors are in the list instead. Raises also
        `InvalidInput` for a bad title or key and more than 10,000 messages,
        `EventValidationError` for what is no message, `ConfigurationError` for a bad
        option, and `DuplicateStep` for two messages with one key.
        """
        call = invoke_many_call(
            self._settings,
            title,
            messages,
            key,
            concurrency,
            timeout,
            return_exceptions,
        )
        return self._runner.run(call)

    @overload
    def race(
        self, title: str, first: Awaitable[A], second: Awaitable[B], /
    ) -> Coroutine[object, None, tuple[Literal[0], A] | tuple[Literal[1], B]]: ...
    @overload
    def race(
        self,
        title: str,
        first: Awaitable[A],
        second: Awaitable[B],
        third: Awaitable[C],
        /,
    ) -> Coroutine[
        object,
        None,
        tuple[Literal[0], A] | tuple[Literal[1], B] | tuple[Literal[2], C],
    ]: ...
    @overload
    def race(
        self,
        title: str,
        first: Awaitable[A],
        second: Awaitable[B],
        third: Awaitable[C],
        fourth: Awaitable[Z],
        /,
    ) -> Coroutine[
        object,
        None,
        tuple[Literal[0], A]
        | tuple[Literal[1], B]
        | tuple[Literal[2], C]
        | tuple[Literal[3], Z],
    ]: ...
    @overload
    def race(
        self, title: str, /, *arms: Awaitable[T]
    ) -> Coroutine[object, None, tuple[int, T]]: ...
    @overload
    def race(
        self, title: str, /, **arms: Awaitable[T]
    ) -> Coroutine[object, None, tuple[str, T]]: ...
    def race(
        self, title: str, /, *by_place: Awaitable[Any], **by_name: Awaitable[Any]
    ) -> Coroutine[Any, Any, Any]:
        """Wait for the first of several operations; which it was, and its value.

        Each arm is one call of `ctx.step`, a token, or the result of a child that was
        started, not awaited. By place the first of the pair is a number, by name it is
        the name. Which was first is recorded, and stays so. Of arms that have ended the
        one counts that was recorded first. The others are cancelled: a function and a
        child of theirs too, and an event that one has taken is free again. A token and
        a child that was started stay as they are: the handler has them.

        Raises what the first arm raises, and `InvalidInput` for a bad title, for no arm
        or more than 100, and for an arm that is not one call that has not begun.
        """
        return self._runner.run(race_call(self._settings, title, by_place, by_name))
