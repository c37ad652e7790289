"""What a handler logs with: `ctx.log`, which does not repeat itself on a replay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from .replay import LOGGER
from .step_function import CURRENT_STEP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .replay import Replay


class ExecutionLog(logging.LoggerAdapter[logging.Logger]):
    """Every line carries the execution, function, attempt and step."""

    def __init__(self, fields: Mapping[str, object], replay: Replay) -> None:
        super().__init__(_HoldingBack(replay), None)
        self._fields = fields
        self._replay = replay

    @override
    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Add the fields; what the caller gave as `extra` goes before them."""
        step = CURRENT_STEP.get()
        fields = {**self._fields, "step": step.call.title if step else None}
        if self._replay.continues:
            fields["replay"] = True
        kwargs["extra"] = {**fields, **(kwargs.get("extra") or {})}
        return msg, kwargs


class _HoldingBack(logging.Logger):
    """The logger of one attempt: on a replay its lines wait."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(LOGGER.name)
        self.parent = LOGGER
        self._replay = replay

    @override
    def isEnabledFor(self, level: int) -> bool:  # the name of logging
        """As the logger of all attempts says now."""
        return LOGGER.isEnabledFor(level)

    @override
    def handle(self, record: logging.LogRecord) -> None:
        """Hand a line on, or hold it back."""
        if self._replay.continues and not self._replay.told:
            self._replay.held.append(record)
        else:
            LOGGER.handle(record)
