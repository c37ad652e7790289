"""Records as the JSON objects that `-o json` prints; documented, so stable."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..model.records import ErrorInfo

if TYPE_CHECKING:
    from ..model.records import Execution, StepRecord

Shape = dict[str, Any]


def execution_schema(execution: Execution) -> Shape:
    """Every field of an execution under its own name."""
    return {name: _plain(value) for name, value in vars(execution).items()}


def listed_schema(execution: Execution) -> Shape:
    """The same without what a listing does not read: data and result."""
    shape = execution_schema(execution)
    return {name: shape[name] for name in shape if name not in {"data", "result"}}


def step_schema(step: StepRecord) -> Shape:
    """Every field of a step but the execution's id, which is around it."""
    return {
        name: _plain(value)
        for name, value in vars(step).items()
        if name != "execution_id"
    }


def moment_text(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds."""
    text = moment.isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, ErrorInfo):
        return asdict(value)
    return value
