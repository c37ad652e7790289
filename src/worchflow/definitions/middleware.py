"""The hooks around sending, executions and steps, for features that cut across."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..model.notices import (
        AttemptFailed,
        ErrorRaised,
        ExecutionCompleted,
        ExecutionResumed,
        ExecutionStarted,
        ExecutionSuspended,
        ExecutionUpdated,
        Ready,
        StepCompleted,
    )


class Middleware:
    """Every hook does nothing; override what you need.

    The `wrap_` hooks nest in list order, the first outermost, and have to await
    `call_next`. The `on_` hooks may be plain or async; what they raise is logged and
    never harms an execution.
    """

    async def wrap_send(
        self, message: Any, call_next: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """Around accepting one message; returns the execution's handle."""
        return await call_next(message)

    async def wrap_execution(
        self, ctx: Any, call_next: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """Around one attempt of a handler; returns the handler's result."""
        return await call_next(ctx)

    async def wrap_step(
        self, ctx: Any, title: str, call_next: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Around one call of a step's function; returns what will be recorded.

        Not called for a step whose result is already recorded.
        """
        return await call_next()

    def on_ready(self, notice: Ready) -> object:
        """Called when the stores have answered."""

    def on_error(self, notice: ErrorRaised) -> object:
        """Called when something fails outside any execution."""

    def on_execution_start(self, notice: ExecutionStarted) -> object:
        """Called before an attempt."""

    def on_execution_suspended(self, notice: ExecutionSuspended) -> object:
        """Called when an execution has left its worker while it waits."""

    def on_execution_resumed(self, notice: ExecutionResumed) -> object:
        """Called before an attempt that was suspended continues."""

    def on_execution_complete(self, notice: ExecutionCompleted) -> object:
        """Called when a result is stored."""

    def on_execution_failed(self, notice: AttemptFailed) -> object:
        """Called after a failed attempt."""

    def on_execution_updated(self, notice: ExecutionUpdated) -> object:
        """Called after a change of status."""

    def on_step_complete(self, notice: StepCompleted) -> object:
        """Called when a step's result is recorded."""


def nest_execution(
    middleware: Sequence[Middleware], innermost: Callable[[Any], Awaitable[Any]]
) -> Callable[[Any], Awaitable[Any]]:
    """`innermost` inside every `wrap_execution`, the first outermost."""
    for layer in reversed(middleware):
        innermost = _execution_layer(layer, innermost)
    return innermost


def nest_step(
    middleware: Sequence[Middleware],
    ctx: object,
    title: str,
    innermost: Callable[[], Awaitable[Any]],
) -> Callable[[], Awaitable[Any]]:
    """`innermost` inside every `wrap_step`, the first outermost."""
    for layer in reversed(middleware):
        innermost = _step_layer(layer, ctx, title, innermost)
    return innermost


def nest_send(
    middleware: Sequence[Middleware], innermost: Callable[[Any], Awaitable[Any]]
) -> Callable[[Any], Awaitable[Any]]:
    """`innermost` inside every `wrap_send`, the first outermost."""
    for layer in reversed(middleware):
        innermost = _send_layer(layer, innermost)
    return innermost


def _execution_layer(
    layer: Middleware, inner: Callable[[Any], Awaitable[Any]]
) -> Callable[[Any], Awaitable[Any]]:
    return lambda ctx: layer.wrap_execution(ctx, inner)


def _send_layer(
    layer: Middleware, inner: Callable[[Any], Awaitable[Any]]
) -> Callable[[Any], Awaitable[Any]]:
    return lambda message: layer.wrap_send(message, inner)


def _step_layer(
    layer: Middleware, ctx: object, title: str, inner: Callable[[], Awaitable[Any]]
) -> Callable[[], Awaitable[Any]]:
    return lambda: layer.wrap_step(ctx, title, inner)
