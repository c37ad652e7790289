"""Writes the ledger lines of an app: what it accepts, its steps, its failures."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import defaultdict
from dataclasses import asdict, is_dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel
from typing_extensions import override

from ..definitions.calls import RaceCall, StepCall
from ..definitions.context import through
from ..definitions.middleware import Middleware
from ..foundations.ids import step_id
from .lines import Kind
from .writing import Ledger

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from pathlib import Path

    from ..definitions.calls import NamedCall, StepRunner
    from ..definitions.context import BaseContext


class LedgerMiddleware(Middleware):
    """Writes a line for each send, step and failed attempt: `middleware=[…]`.

    The handlers stay as they are. `ledger` is a `Ledger`, or where to make one. Put
    it last, so that nothing of other middleware counts as the step's own.
    """

    def __init__(self, ledger: Ledger | str | Path) -> None:
        self.ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger)

    @override
    async def wrap_send(
        self, message: Any, call_next: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        handle = await call_next(message)
        self.ledger.write(Kind.ACCEPTED, execution=handle.id)
        return handle

    @override
    async def wrap_execution(
        self, ctx: Any, call_next: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        attempt = _Attempt(self.ledger, ctx)
        try:
            return await call_next(
                through(ctx, lambda runner: _LedgerRunner(attempt, runner))
            )
        except BaseException:
            # Also one that was stopped or took too long: its owner releases it.
            attempt.tell(Kind.FAILED)
            raise


class _Attempt:
    """Writes lines about one attempt."""

    def __init__(self, ledger: Ledger, ctx: BaseContext[Any]) -> None:
        self._ledger = ledger
        self._ctx = ctx

    def tell(self, kind: Kind, step: str = "", value: Any = None) -> None:
        self._ledger.write(
            kind,
            execution=self._ctx.execution_id,
            step=step,
            token=self._ctx.token,
            attempt=self._ctx.attempt,
            value=value,
        )


class _LedgerRunner:
    """Runs steps as the attempt's own runner does, and writes about them."""

    def __init__(self, attempt: _Attempt, runner: StepRunner) -> None:
        self._tell = attempt.tell
        self._runner = runner
        self._uses: dict[str, int] = defaultdict(int)
        self._told_of: WeakKeyDictionary[object, tuple[str, Any]] = WeakKeyDictionary()
        """The step that a handed out coroutine is of, and the runner's own of it."""

    def run(self, call: NamedCall) -> Coroutine[Any, Any, Any]:
        """As `StepRunner.run`."""
        if isinstance(call, RaceCall):
            return self._race(call)
        if not isinstance(call, StepCall):
            return self._runner.run(call)  # It has no effect of its own.
        step = self._name(call)
        run = self._runner.run(self._told(call, step))
        acked = self._acked(step, run)
        self._told_of[acked] = step, run
        return acked

    def run_blocking(self, call: NamedCall) -> Any:
        """As `StepRunner.run_blocking`."""
        if not isinstance(call, StepCall):
            return self._runner.run_blocking(call)
        step = self._name(call)
        value = self._runner.run_blocking(self._told(call, step))
        self._tell(Kind.ACKED, step, digest(value))
        return value

    def idempotency_key(self, title: str | None, key: str | None) -> str:
        """As `StepRunner.idempotency_key`."""
        return self._runner.idempotency_key(title, key)

    @property
    def cancelled(self) -> bool:
        """As `StepRunner.cancelled`."""
        return self._runner.cancelled

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """As `StepRunner.log`."""
        return self._runner.log

    async def _acked(self, step: str, run: Coroutine[Any, Any, Any]) -> Any:
        value = await run
        self._tell(Kind.ACKED, step, digest(value))
        return value

    def _race(self, call: RaceCall) -> Coroutine[Any, Any, Any]:
        """A race of the runner's own coroutines: it knows no others."""
        steps: list[str | None] = []
        arms: list[Any] = []
        for arm in call.arms:
            step, run = None, arm
            if inspect.iscoroutine(arm):
                step, run = self._told_of.pop(arm, (None, arm))
                if run is not arm:
                    arm.close()
            steps.append(step)
            arms.append(run)
        names = range(len(arms)) if call.names is None else call.names
        run = self._runner.run(replace(call, arms=tuple(arms)))
        return self._acked_first(dict(zip(names, steps, strict=True)), run)

    async def _acked_first(
        self, steps: Mapping[Any, str | None], run: Coroutine[Any, Any, Any]
    ) -> Any:
        name, value = await run
        if (step := steps[name]) is not None:
            self._tell(Kind.ACKED, step, digest(value))
        return name, value

    def _name(self, call: StepCall) -> str:
        """The title and the beginning of the id: two steps may share a title."""
        if call.key is not None:
            identity = step_id(call.title, key=call.key)
        else:
            self._uses[call.title] += 1
            identity = step_id(call.title, use=self._uses[call.title])
        return f"{call.title} {identity[:8]}"

    def _told(self, call: StepCall, step: str) -> StepCall:
        function = call.function
        if inspect.iscoroutinefunction(function):
            return replace(call, function=self._told_async(function, step))
        return replace(call, function=self._told_sync(function, step))

    def _told_async(self, function: Any, step: str) -> Callable[..., Any]:
        @wraps(function)
        async def told(*args: Any, **kwargs: Any) -> Any:
            self._tell(Kind.START, step)
            return await self._finish(function(*args, **kwargs), step)

        return told

    def _told_sync(self, function: Any, step: str) -> Callable[..., Any]:
        @wraps(function)
        def told(*args: Any, **kwargs: Any) -> Any:
            self._tell(Kind.START, step)
            try:
                value = function(*args, **kwargs)
            except Exception:
                self._tell(Kind.FAILED, step)
                raise
            if inspect.isawaitable(value):
                return self._finish(value, step)
            self._tell(Kind.DONE, step)
            return value

        return told

    async def _finish(self, value: Awaitable[Any], step: str) -> Any:
        try:
            result = await value
        except Exception:
            self._tell(Kind.FAILED, step)
            raise
        self._tell(Kind.DONE, step)
        return result


def digest(value: Any) -> str | None:
    """Tells a result from others; None for one without a form that is always equal."""
    try:
        text = json.dumps(value, sort_keys=True, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError
