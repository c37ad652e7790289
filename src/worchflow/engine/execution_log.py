"""What a handler logs with: `ctx.log`, which does not repeat itself on a replay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .running_step import CURRENT_STEP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Replay:
    """Whether an attempt still goes over what earlier ones did.

    It does until every step that was recorded before it was asked for, or one that
    was not. `told`: what is logged meanwhile is logged all the same, and marked.
    """

    __slots__ = ("_left", "_recorded", "told")

    def __init__(self, recorded: Iterable[str], *, told: bool) -> None:
        self._recorded = frozenset(recorded)
        self._left = set(self._recorded)
        self.told = told

    @property
    def goes_on(self) -> bool:
        """Whether nothing new has happened yet."""
        return bool(self._left)

    def ask_for(self, step_id: str) -> None:
        """Take note of a step that the handler asks for."""
        if step_id in self._recorded:
            self._left.discard(step_id)
        else:
            self._left.clear()


class ExecutionLog(logging.LoggerAdapter[logging.Logger]):
    """Every line carries the execution, function, attempt and step."""

    def __init__(self, fields: Mapping[str, object], replay: Replay) -> None:
        super().__init__(logging.getLogger("worchflow.execution"), None)
        self._fields = fields
        self._replay = replay

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the name of logging
        """Whether a line of this level is logged now; on a replay none is."""
        if self._replay.goes_on and not self._replay.told:
            return False
        return super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Add the fields; what the caller gave as `extra` goes before them."""
        step = CURRENT_STEP.get()
        fields = {**self._fields, "step": step.call.title if step else None}
        if self._replay.goes_on:
            fields["replay"] = True
        kwargs["extra"] = {**fields, **(kwargs.get("extra") or {})}
        return msg, kwargs
