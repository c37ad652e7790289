"""A child that was started: what a handler gets, and asks for its result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from ..foundations.errors import InvalidInput
from ..foundations.limits import short
from .step_options import check_timeout

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..foundations.types import Duration
    from .calls import CancelCall, ChildCall, StepRunner

T_co = TypeVar("T_co", covariant=True)


class StartedChild:
    """What `ChildHandle` and `SyncChildHandle` have in common."""

    __slots__ = ("_cancel", "_result", "_runner", "id")

    def __init__(
        self, runner: StepRunner, id: str, result: ChildCall, cancel: CancelCall
    ) -> None:
        self.id = id
        self._runner = runner
        self._result = result
        self._cancel = cancel

    def _result_call(self, timeout: Duration | None) -> ChildCall:
        if timeout is None:
            return self._result
        return replace(self._result, timeout=check_timeout(timeout))

    def _cancel_call(self, reason: str | None) -> CancelCall:
        if reason is not None and not isinstance(reason, str):
            raise InvalidInput(f"reason={short(reason)} must be text", field="reason")
        return replace(self._cancel, reason=reason)


class ChildHandle(StartedChild, Generic[T_co]):
    """An execution that a step has started. `id` is the execution's."""

    __slots__ = ()

    def result(
        self, *, timeout: Duration | None = None
    ) -> Coroutine[object, None, T_co]:
        """The child's result; meanwhile the execution leaves its worker.

        Raises `ExecutionFailed` and `ExecutionCancelled` as the child ended, and
        `TimeoutError` if it has not by `timeout`, counted from the first time that this
        is awaited: then the child is cancelled. Each is recorded, so a handler that
        does not catch it fails at once.
        """
        result: Coroutine[Any, Any, T_co] = self._runner.run(self._result_call(timeout))
        return result

    def cancel(self, *, reason: str | None = None) -> Coroutine[object, None, None]:
        """Cancel the child, once; one that has ended stays as it is."""
        return self._runner.run(self._cancel_call(reason))


class SyncChildHandle(StartedChild, Generic[T_co]):
    """`ChildHandle` for plain handlers: its methods block."""

    __slots__ = ()

    def result(self, *, timeout: Duration | None = None) -> T_co:
        """As `ChildHandle.result`, but blocks until the child has ended."""
        result: T_co = self._runner.run_blocking(self._result_call(timeout))
        return result

    def cancel(self, *, reason: str | None = None) -> None:
        """As `ChildHandle.cancel`, but blocks until that is stored."""
        self._runner.run_blocking(self._cancel_call(reason))
