"""Writes the ledger lines of an app: what it accepts, its steps, its failures."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import defaultdict
from contextvars import ContextVar
from dataclasses import asdict, is_dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel
from typing_extensions import override

from ..definitions.calls import MapCall, RaceCall, StepCall
from ..definitions.context import through
from ..definitions.middleware import Middleware
from ..foundations.ids import part_id, step_id
from .lines import Kind
from .writing import Ledger

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
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
        self._own: WeakKeyDictionary[object, tuple[str, Any]] = WeakKeyDictionary()
        """The step that a coroutine which was given out is of, and the coroutine of the
        attempt's own runner."""

    def run(self, call: NamedCall) -> Coroutine[Any, Any, Any]:
        """As `StepRunner.run`."""
        if isinstance(call, RaceCall):
            return self._race(call)
        if isinstance(call, MapCall):
            names = self._item_names(call)
            return self._acked_items(names, self._runner.run(self._told_items(call)))
        if not isinstance(call, StepCall):
            return self._runner.run(call)  # It has no effect of its own.
        step = self._name(call)
        own = self._runner.run(self._told(call, step))
        given = self._acked(step, own)
        self._own[given] = step, own
        return given

    def run_blocking(self, call: NamedCall) -> Any:
        """As `StepRunner.run_blocking`."""
        if isinstance(call, MapCall):
            names = self._item_names(call)
            values = self._runner.run_blocking(self._told_items(call))
            self._ack_items(names, values)
            return values
        if isinstance(call, RaceCall):
            call = replace(call, arms=tuple(map(_told_arm, call.arms)))
        if not isinstance(call, StepCall):
            return self._runner.run_blocking(call)
        step = self._name_in_arm(call)
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
                step, run = self._own.pop(arm, (None, arm))
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

    def _told_items(self, call: MapCall) -> MapCall:
        """A map whose items are told about as steps are."""

        def name() -> str:
            # The identity of the item that runs here.
            identity = self._runner.idempotency_key(None, None).rpartition(":")[2]
            return f"{call.title} {identity[:8]}"

        return replace(call, function=self._telling(call.function, name))

    def _item_names(self, call: MapCall) -> list[str]:
        own, count = self._identity(call), len(call.items)
        marks = [f":{each}" for each in call.keys or ()]
        marks = marks or [f"[{number}]" for number in range(count)]
        return [f"{call.title} {part_id(own, each)[:8]}" for each in marks]

    async def _acked_items(
        self, names: Sequence[str], run: Coroutine[Any, Any, Any]
    ) -> Any:
        values = await run
        self._ack_items(names, values)
        return values

    def _ack_items(self, names: Sequence[str], values: Sequence[Any]) -> None:
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, Exception):
                self._tell(Kind.ACKED, name, digest(value))

    def _name_in_arm(self, call: StepCall) -> str:
        """The name; in the function of an arm, which is called twice, the first one.

        What else the function calls once its arm was the first is a step of its own.
        """
        if (names := _NAMES.get()) is None:
            return self._name(call)
        if names:
            _ = _NAMES.set(None)
        else:
            names.append(self._name(call))
        return names[0]

    def _name(self, call: StepCall) -> str:
        """The title and the beginning of the id: two steps may share a title."""
        return f"{call.title} {self._identity(call)[:8]}"

    def _identity(self, call: NamedCall) -> str:
        if call.key is not None:
            return step_id(call.title, key=call.key)
        self._uses[call.title] += 1
        return step_id(call.title, use=self._uses[call.title])

    def _told(self, call: StepCall, step: str) -> StepCall:
        return replace(call, function=self._telling(call.function, lambda: step))

    def _telling(self, function: Any, name: Callable[[], str]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):
            return self._told_async(function, name)
        return self._told_sync(function, name)

    def _told_async(self, function: Any, name: Callable[[], str]) -> Callable[..., Any]:
        @wraps(function)
        async def told(*args: Any, **kwargs: Any) -> Any:
            step = name()
            self._tell(Kind.START, step)
            return await self._finish(function(*args, **kwargs), step)

        return told

    def _told_sync(self, function: Any, name: Callable[[], str]) -> Callable[..., Any]:
        @wraps(function)
        def told(*args: Any, **kwargs: Any) -> Any:
            step = name()
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


_NAMES: ContextVar[list[str] | None] = ContextVar(
    "worchflow_ledger_names", default=None
)
"""What the call of the arm is named whose function runs in this thread."""


def _told_arm(arm: Any) -> Any:
    if not callable(arm):
        return arm
    names: list[str] = []

    def told() -> Any:
        mark = _NAMES.set(names)
        try:
            return arm()
        finally:
            _NAMES.reset(mark)

    return told


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
