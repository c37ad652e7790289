"""The event emitter of client and worker: typed callbacks, never in the way."""

from __future__ import annotations

import asyncio
import inspect
import logging
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, overload

from .errors import ConfigurationError
from .limits import short
from .middleware import Middleware
from .notices import KINDS, ErrorRaised, Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .notices import (
        AttemptFailed,
        ExecutionCompleted,
        ExecutionStarted,
        ExecutionUpdated,
        StepCompleted,
    )

logger = logging.getLogger("worchflow.emitter")

NAMES = (Ready.name, ErrorRaised.name, *KINDS)


class Emitter:
    """Calls callbacks by event name, in the order they were added.

    A callback takes one frozen payload and may be plain or async. What it raises
    is logged; an execution never fails or waits because of it.
    """

    def __init__(self, middleware: Iterable[Middleware] = ()) -> None:
        self._callbacks: dict[str, list[tuple[Callable[[Any], object], bool]]] = {}
        layers = [_checked(layer) for layer in middleware]
        self._hooks = {name: _overridden(layers, name) for name in NAMES}
        self._tasks: set[asyncio.Task[None]] = set()

    # fmt: off
    @overload
    def on(self, name: Literal["ready"], callback: Callable[[Ready], object], /) -> None: ...
    @overload
    def on(self, name: Literal["error"], callback: Callable[[ErrorRaised], object], /) -> None: ...
    @overload
    def on(self, name: Literal["execution:start"], callback: Callable[[ExecutionStarted], object], /) -> None: ...
    @overload
    def on(self, name: Literal["execution:complete"], callback: Callable[[ExecutionCompleted], object], /) -> None: ...
    @overload
    def on(self, name: Literal["execution:failed"], callback: Callable[[AttemptFailed], object], /) -> None: ...
    @overload
    def on(self, name: Literal["execution:updated"], callback: Callable[[ExecutionUpdated], object], /) -> None: ...
    @overload
    def on(self, name: Literal["step:complete"], callback: Callable[[StepCompleted], object], /) -> None: ...
    # fmt: on
    def on(self, name: str, callback: Callable[[Any], object], /) -> None:
        """Call `callback` with every payload of this name from now on."""
        self._add(name, callback, once=False)

    # fmt: off
    @overload
    def once(self, name: Literal["ready"], callback: Callable[[Ready], object], /) -> None: ...
    @overload
    def once(self, name: Literal["error"], callback: Callable[[ErrorRaised], object], /) -> None: ...
    @overload
    def once(self, name: Literal["execution:start"], callback: Callable[[ExecutionStarted], object], /) -> None: ...
    @overload
    def once(self, name: Literal["execution:complete"], callback: Callable[[ExecutionCompleted], object], /) -> None: ...
    @overload
    def once(self, name: Literal["execution:failed"], callback: Callable[[AttemptFailed], object], /) -> None: ...
    @overload
    def once(self, name: Literal["execution:updated"], callback: Callable[[ExecutionUpdated], object], /) -> None: ...
    @overload
    def once(self, name: Literal["step:complete"], callback: Callable[[StepCompleted], object], /) -> None: ...
    # fmt: on
    def once(self, name: str, callback: Callable[[Any], object], /) -> None:
        """Call `callback` with the next payload of this name, then forget it."""
        self._add(name, callback, once=True)

    def off(self, name: str, callback: Callable[[Any], object], /) -> None:
        """Stop calling `callback`; nothing happens if it was not added."""
        _check_name(name)
        kept = [
            entry for entry in self._callbacks.get(name, []) if entry[0] != callback
        ]
        self._callbacks[name] = kept

    def _add(self, name: str, callback: Callable[[Any], object], *, once: bool) -> None:
        _check_name(name)
        if not callable(callback):
            raise ConfigurationError(
                f"callback={callback!r} for {name!r} is not callable"
            )
        self._callbacks.setdefault(name, []).append((callback, once))

    def listens_to(self, name: str) -> bool:
        """Whether anybody would hear a payload of this name."""
        return bool(self._callbacks.get(name)) or bool(self._hooks[name])

    def emit(self, payload: Ready | ErrorRaised | ExecutionUpdated) -> None:
        """Call everybody who listens to the payload's name."""
        for hook in self._hooks[payload.name]:
            self._call(hook, payload)
        entries = self._callbacks.get(payload.name)
        if not entries:
            return
        self._callbacks[payload.name] = [entry for entry in entries if not entry[1]]
        for callback, _ in entries:
            self._call(callback, payload)

    def _call(self, callback: Callable[[Any], object], payload: Any) -> None:
        try:
            outcome = callback(payload)
        except (Exception, asyncio.CancelledError):
            logger.exception("a callback for %r failed; work goes on", payload.name)
            return
        if inspect.isawaitable(outcome):
            task = asyncio.ensure_future(self._finish(outcome, payload.name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _finish(self, outcome: Any, name: str) -> None:
        try:
            await outcome
        except Exception:
            logger.exception("an async callback for %r failed; work goes on", name)

    async def drain(self, timeout: float) -> None:
        """Wait for async callbacks still running, then cancel the rest."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout)
        for task in late:
            task.cancel()


def _check_name(name: str) -> None:
    if name not in NAMES:
        close = get_close_matches(str(name), NAMES, 1)
        hint = f'; did you mean "{close[0]}"?' if close else "."
        raise ConfigurationError(
            f"there is no event {name!r} to listen to{hint} The names are: "
            + ", ".join(NAMES)
        )


def _checked(layer: object) -> Middleware:
    if isinstance(layer, Middleware):
        return layer
    if isinstance(layer, type):
        raise ConfigurationError(
            f"middleware={layer.__name__} is a class: pass an instance of it"
        )
    raise ConfigurationError(
        f"middleware={short(layer)} is no Middleware: derive its class from it"
    )


def _overridden(layers: list[Middleware], name: str) -> list[Callable[[Any], object]]:
    hook = "on_" + name.replace(":", "_")
    return [
        getattr(layer, hook)
        for layer in layers
        if getattr(type(layer), hook, None) is not getattr(Middleware, hook)
    ]
