"""What a handler logs with: `ctx.log`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .running_step import CURRENT_STEP

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExecutionLog(logging.LoggerAdapter[logging.Logger]):
    """Every line carries the execution, function, attempt and step."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        super().__init__(logging.getLogger("worchflow.execution"), None)
        self._fields = fields

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Add the fields; what the caller gave as `extra` goes before them."""
        step = CURRENT_STEP.get()
        fields = {**self._fields, "step": step.call.title if step else None}
        kwargs["extra"] = {**fields, **(kwargs.get("extra") or {})}
        return msg, kwargs
