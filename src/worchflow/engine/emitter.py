"""The event emitter of client and worker: typed callbacks, never in the way."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from ..definitions.middleware import Middleware
from ..foundations import forking
from ..foundations.errors import ConfigurationError
from ..foundations.limits import short
from ..model.notices import KINDS, ErrorRaised, Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.notices import (
        AttemptFailed,
        ExecutionCompleted,
        ExecutionResumed,
        ExecutionStarted,
        ExecutionSuspended,
        ExecutionUpdated,
        StepCompleted,
    )

logger = logging.getLogger("worchflow.emitter")

NAMES = (Ready.name, ErrorRaised.name, *KINDS)


MAX_RUNNING_CALLBACKS = 1000
"""How many async callbacks of one emitter may run at once."""

Callback: TypeAlias = "Callable[[Any], object]"


class Callbacks:
    """The callbacks of one or several emitters, by event name; for any thread."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[tuple[Callback, bool]]] = {}
        self._changing = threading.Lock()
        self.dropped = 0
        """How many payloads an async callback did not get, because too many ran."""
        forking.watch(self)

    def after_fork(self) -> None:
        """Have a lock that no thread of the parent holds."""
        self._changing = threading.Lock()

    def add(self, name: str, callback: Callback, *, once: bool) -> None:
        """Add one, for every payload or for the next alone."""
        with self._changing:
            self._by_name.setdefault(name, []).append((callback, once))

    def remove(self, name: str, callback: Callback) -> None:
        """Remove one, however often it was added."""
        with self._changing:
            entries = self._by_name.get(name, [])
            self._by_name[name] = [each for each in entries if each[0] != callback]

    def has(self, name: str) -> bool:
        """Whether there is any."""
        return bool(self._by_name.get(name))

    def take(self, name: str) -> list[Callback]:
        """Those to call now; what was added for one payload is given out once."""
        if not self._by_name.get(name):
            return []
        with self._changing:
            entries = self._by_name[name]
            self._by_name[name] = [entry for entry in entries if not entry[1]]
        return [callback for callback, _ in entries]


class CallbackMethods:
    """What clients and workers let others do with their events: listen to them.

    A callback takes one frozen payload and may be plain or async. What it raises
    is logged; an execution never fails or waits because of it.
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    @property
    def dropped(self) -> int:
        """How many payloads an async callback did not get, because too many ran."""
        return self._callbacks.dropped

    # fmt: off
    @overload
    def on(self, name: Literal["ready"], callback: Callable[[Ready], object], /) -> None: ...
    @overload
    def on(self, name: Literal["error"], callback: Callable[[ErrorRaised], object], /) -> None: ...
    @overload
    def on(self, name: Literal["execution:start"], callback: Callable[[ExecutionStarted], object], /) -> None: ...
    @overload
    def on(self, name: Literal["execution:suspended"], callback: Callable[[ExecutionSuspended], object], /) -> None: ...
    @overload
    def on(self, name: Literal["execution:resumed"], callback: Callable[[ExecutionResumed], object], /) -> None: ...
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
    def once(self, name: Literal["execution:suspended"], callback: Callable[[ExecutionSuspended], object], /) -> None: ...
    @overload
    def once(self, name: Literal["execution:resumed"], callback: Callable[[ExecutionResumed], object], /) -> None: ...
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
        self._callbacks.remove(name, callback)

    def _add(self, name: str, callback: Callable[[Any], object], *, once: bool) -> None:
        _check_name(name)
        if not callable(callback):
            raise ConfigurationError(
                f"callback={callback!r} for {name!r} is not callable"
            )
        self._callbacks.add(name, callback, once=once)


class Emitter(CallbackMethods):
    """Calls callbacks by event name, in the order they were added.

    Callbacks that are slower than what happens lose some of it: while `MAX_RUNNING_CALLBACKS` async ones are
    running no other is begun; that is logged, and counted in `dropped`.
    """

    def __init__(
        self,
        middleware: Iterable[Middleware] = (),
        callbacks: Callbacks | None = None,
    ) -> None:
        super().__init__(callbacks or Callbacks())
        layers = [_checked(layer) for layer in middleware]
        self._hooks = {name: _overridden(layers, name) for name in NAMES}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_dropping = False

    def use(self, callbacks: Callbacks) -> None:
        """Call these callbacks instead, as another emitter does."""
        self._callbacks = callbacks

    def listens_to(self, name: str) -> bool:
        """Whether anybody would hear a payload of this name."""
        return self._callbacks.has(name) or bool(self._hooks[name])

    def emit(self, payload: Ready | ErrorRaised | ExecutionUpdated) -> None:
        """Call everybody who listens to the payload's name."""
        for hook in self._hooks[payload.name]:
            self._call(hook, payload)
        for callback in self._callbacks.take(payload.name):
            self._call(callback, payload)

    def _call(self, callback: Callable[[Any], object], payload: Any) -> None:
        try:
            outcome = callback(payload)
        except (Exception, asyncio.CancelledError):
            logger.exception("a callback for %r failed; work continues", payload.name)
            return
        if not inspect.isawaitable(outcome):
            return
        if len(self._tasks) >= MAX_RUNNING_CALLBACKS:
            self._drop(outcome, payload.name)
            return
        task = asyncio.ensure_future(self._finish(outcome, payload.name))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _drop(self, outcome: Any, name: str) -> None:
        if inspect.iscoroutine(outcome):
            outcome.close()  # It has not begun.
        self._callbacks.dropped += 1
        if not self._is_dropping:
            self._is_dropping = True
            logger.error(
                "%d async callbacks are running: an async callback for %r is not begun, "
                "nor are others until some have ended",
                len(self._tasks),
                name,
            )

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._is_dropping and len(self._tasks) <= MAX_RUNNING_CALLBACKS // 2:
            self._is_dropping = False
            logger.warning(
                "async callbacks are begun again; %d were not so far", self.dropped
            )

    async def _finish(self, outcome: Any, name: str) -> None:
        try:
            await outcome
        except Exception:
            logger.exception("an async callback for %r failed; work continues", name)

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
        f"middleware={short(layer)} is not a Middleware: derive its class from it"
    )


def _overridden(layers: list[Middleware], name: str) -> list[Callable[[Any], object]]:
    hook = "on_" + name.replace(":", "_")
    return [
        getattr(layer, hook)
        for layer in layers
        if getattr(type(layer), hook, None) is not getattr(Middleware, hook)
    ]
