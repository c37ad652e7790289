"""Records as the JSON objects that `-o json` prints; documented, so stable."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from ..model.records import AttemptRecord, ErrorInfo

if TYPE_CHECKING:
    from ..model.records import Execution, StepRecord, WaitRecord

Shape = dict[str, Any]

NOT_LISTED = frozenset({"data", "result", "attempts"})


def execution_schema(execution: Execution) -> Shape:
    """Every field of an execution under its own name."""
    return {name: _plain(value) for name, value in vars(execution).items()}


def listed_schema(execution: Execution) -> Shape:
    """The same without what a listing does not read: data, result and attempts."""
    shape = execution_schema(execution)
    return {
        name: shape[name]
        for name in shape
        if name not in {"data", "result", "attempts"}
    }


def part_schema(part: StepRecord | WaitRecord) -> Shape:
    """Every field of a step or a wait but the execution's id, which is around it."""
    return {
        name: _plain(value)
        for name, value in vars(part).items()
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
    if isinstance(value, AttemptRecord):
        shape = {each.name: getattr(value, each.name) for each in fields(value)}
        return {name: _plain(each) for name, each in shape.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in cast("tuple[object, ...]", value)]
    return value
