"""The arms of a race as operations: from coroutines, or from functions that block."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..foundations.errors import InvalidInput
from .coroutines import discard
from .operations.race import Race
from .operations.token import MakeToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..definitions.calls import RaceCall
    from .operation import Operation
    from .parts import PartOutcome
    from .scope import Scope


class ArmAsked(BaseException):
    """Ends the function of an arm at its call: what it asks for is known."""


class BlockingArm:
    """The function of an arm in a plain handler, which is called twice.

    At first it ends with the call that it makes. Once its arm was the first of the
    race, it is called again and gets the value of that call.
    """

    __slots__ = ("_function", "_outcome", "operation")

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._outcome: PartOutcome | None = None
        self.operation: Operation | None = None
        """What it asks for."""

    def ask(self) -> Operation | None:
        """What its call asks for; None if it makes none."""
        if not callable(self._function):
            return None
        mark = CURRENT_ARM.set(self)
        try:
            self._function()
        except ArmAsked:
            pass
        finally:
            CURRENT_ARM.reset(mark)
        return self.operation

    def result(self, outcome: PartOutcome) -> Any:
        """What its function makes of the outcome of its call."""
        self._outcome = outcome
        mark = CURRENT_ARM.set(self)
        try:
            return self._function()
        finally:
            CURRENT_ARM.reset(mark)
            # It may hold an error that holds this frame.
            self._outcome = None
            del outcome

    def take_outcome(self) -> PartOutcome | None:
        """The outcome of its call, once: what else its function calls is done."""
        if self._outcome is not None:
            _ = CURRENT_ARM.set(None)
        return self._outcome

    def note(self, operation: Operation) -> None:
        """Take note of what it asks for; raises `ArmAsked`."""
        if self.operation is not None:
            raise InvalidInput(
                f"an arm of a race calls step {operation.call.name} while its first "
                f"call, step {self.operation.call.name}, has no value yet: make no "
                "call in an `except` or a `finally` of an arm",
                field="arms",
            )
        self.operation = operation
        raise ArmAsked


CURRENT_ARM: ContextVar[BlockingArm | None] = ContextVar(
    "worchflow_current_arm", default=None
)
"""The arm whose function runs in this thread."""


def issued_arms(scope: Scope, call: RaceCall) -> list[Operation]:
    """The operations whose coroutines were given, which are not run by themselves."""
    found = [scope.withdraw(each) for each in call.arms]
    for number, each in enumerate(call.arms):
        if found[number] is None:
            discard(each)
    return _checked(call, found, "what one call of ctx.step gives, not awaited")


def asked_arms(call: RaceCall, arms: list[BlockingArm]) -> list[Operation]:
    """The operations that functions ask for."""
    found = [each.ask() for each in arms]
    return _checked(call, found, "a function that makes a call of ctx.step")


def _checked(
    call: RaceCall, found: list[Operation | None], what: str
) -> list[Operation]:
    arms: list[Operation] = []
    for number, operation in enumerate(found):
        name = repr(number if call.names is None else call.names[number])
        if operation is None:
            raise InvalidInput(
                f"arm {name} of race {call.name} must be {what}: put other code into "
                "a step",
                field="arms",
            )
        if isinstance(operation, Race | MakeToken):
            raise InvalidInput(
                f"arm {name} of race {call.name} cannot be step."
                f"{operation.kind.value}: "
                + (
                    "make the token before, and give its result"
                    if isinstance(operation, MakeToken)
                    else "give the arms of both to one race"
                ),
                field="arms",
            )
        arms.append(operation)
    return arms
