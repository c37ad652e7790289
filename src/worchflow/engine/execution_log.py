"""What a handler logs with: `ctx.log`, which does not repeat itself on a replay."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from .running_step import CURRENT_STEP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_HELD = 1000
"""Lines that an attempt holds back; of more, the newest."""


class Replay:
    """Whether an attempt still goes over what earlier ones did.

    It does until every step that was recorded before it was asked for, or one that
    was not. `told`: what is logged meanwhile is logged all the same, and marked.
    """

    __slots__ = ("_left", "_recorded", "held", "told")

    def __init__(self, recorded: Iterable[str], *, told: bool) -> None:
        self._recorded = frozenset(recorded)
        self._left = set(self._recorded)
        self.told = told
        self.held: deque[logging.LogRecord] = deque(maxlen=MOST_HELD)
        """Lines that earlier attempts have logged, if the replay ends as it should."""

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
        if not self._left:
            self.held.clear()

    def tell_held(self) -> None:
        """Log what was held back: the attempt ended otherwise than those before it."""
        while self.held:
            LOGGER.handle(self.held.popleft())


class ExecutionLog(logging.LoggerAdapter[logging.Logger]):
    """Every line carries the execution, function, attempt and step."""

    def __init__(self, fields: Mapping[str, object], replay: Replay) -> None:
        super().__init__(_HoldingBack(replay), None)
        self._fields = fields
        self._replay = replay

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Add the fields; what the caller gave as `extra` goes before them."""
        step = CURRENT_STEP.get()
        fields = {**self._fields, "step": step.call.title if step else None}
        if self._replay.goes_on:
            fields["replay"] = True
        kwargs["extra"] = {**fields, **(kwargs.get("extra") or {})}
        return msg, kwargs


LOGGER = logging.getLogger("worchflow.execution")


class _HoldingBack(logging.Logger):
    """The logger of one attempt: on a replay its lines wait."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(LOGGER.name)
        self.parent = LOGGER
        self._replay = replay

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the name of logging
        """As the logger of all attempts says now."""
        return LOGGER.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        """Hand a line on, or hold it back."""
        if self._replay.goes_on and not self._replay.told:
            self._replay.held.append(record)
        else:
            LOGGER.handle(record)
