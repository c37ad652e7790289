"""What `ctx.step` is made of: a runner of steps, and the options collected so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .step_options import UNSET

if TYPE_CHECKING:
    from .calls import StepRunner
    from .step_options import StepSettings


class StepFacade:
    """A step runner and the options for what is run through it."""

    __slots__ = ("_runner", "_settings")

    def __init__(self, runner: StepRunner, settings: StepSettings = UNSET) -> None:
        self._runner = runner
        self._settings = settings
