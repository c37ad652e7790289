"""The lines of a ledger: what happened to executions, steps and processes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..foundations.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

RESUMED = "cont"
"""The fault that lets a frozen process go on; every other one ends or freezes it."""
SURVIVED = ("stop", RESUMED, "term")
"""Faults after which the same process continues for a while."""


class Kind(StrEnum):
    """What a line tells."""

    PLAN = "plan"
    """What has to happen for the run to prove anything: a `Plan` as `value`."""
    ACCEPTED = "accepted"
    """A send returned. `status` is how it has to end, and `value` with what; without a
    status any end will do."""
    START = "start"
    """A step's function began; its first act is to write this."""
    DONE = "done"
    """A step's function is about to return."""
    FAILED = "failed"
    """A try of a step raised; without a step, the whole attempt did."""
    ACKED = "acked"
    """The handler has a step's recorded result; `value` tells results apart."""
    FAULT = "fault"
    """A fault was injected between `asked` and `time`, into process `target`."""
    CALM = "calm"
    """No fault follows."""
    ENDED = "ended"
    """What the store says of an execution at the end; `value` is its result."""
    STORED = "stored"
    """What the store says of a step at the end; `value` as the handler had it."""
    DRAINED = "drained"
    """Every execution has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a ledger. `time` is CLOCK_MONOTONIC, one clock for all processes.

    `token` is the fencing token of the claim, `attempt` counts from 1.
    """

    kind: Kind
    time: float
    pid: int
    execution: str = ""
    step: str = ""
    token: int = 0
    attempt: int = 0
    value: Any = None
    fault: str = ""
    target: int = 0
    asked: float = 0.0
    status: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What has to happen for a run to prove anything, and what a fault may cost.

    `faults` counts injections by name, `mid_step` those that ended a process inside
    a step. A process has `slots` executions in the air, each at most `width` steps.
    `drained_within` seconds after the calm everything has ended; None: whenever.
    """

    executions: int
    faults: Mapping[str, int] = field(default_factory=dict[str, int])
    mid_step: int = 0
    slots: int = 1
    width: int = 1
    drained_within: float | None = 60.0


NUMBERS = ("time", "asked")
COUNTS = ("pid", "token", "attempt", "target")
TEXTS = ("execution", "step", "fault", "status")


def read(*paths: str | Path) -> tuple[list[Line], int]:
    """The lines of a ledger, and how many of them cannot be read.

    Those of one file come as they were written, those of several by their time.
    Raises `ConfigurationError` for a file that cannot be opened.
    """
    lines: list[Line] = []
    torn = 0
    for path in paths:
        for text in _bytes(path).splitlines():
            line = _line(text)
            if line is None:
                torn += 1
            else:
                lines.append(line)
    if len(paths) > 1:
        lines.sort(key=lambda line: line.time)
    return lines, torn


def _bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the ledger {path} cannot be read: {error.strerror}"
        ) from None


def _line(text: bytes) -> Line | None:
    """What a line says; None for one that was torn or is not a line of a ledger."""
    try:
        told: dict[str, Any] = json.loads(text)
        told["kind"] = Kind(told["kind"])
        line = Line(**told)
        if line.kind is Kind.PLAN:
            Plan(**line.value)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return line if _typed(line) else None


def _typed(line: Line) -> bool:
    return (
        all(isinstance(getattr(line, name), int | float) for name in NUMBERS)
        and all(isinstance(getattr(line, name), int) for name in COUNTS)
        and all(isinstance(getattr(line, name), str) for name in TEXTS)
    )
