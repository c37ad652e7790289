"""An append-only file of what happened to executions, steps and processes.

Workers, senders and whoever injects faults append lines to one file outside the
stores. `verify` judges it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

RESUMED = "cont"
"""The fault that lets a frozen process go on; every other one ends or freezes it."""


class Kind(StrEnum):
    """What a line tells."""

    PLAN = "plan"
    ACCEPTED = "accepted"
    """A send returned; `value` is what the execution has to end with, as `status`."""
    START = "start"
    """A step's function began; its first act is to write this."""
    DONE = "done"
    """A step's function is about to return; `value` tells this run from others."""
    FAILED = "failed"
    """A try of a step fails on purpose; without a step, the whole attempt does."""
    ACKED = "acked"
    """The handler has a step's recorded result; `value` is the run it came from."""
    FAULT = "fault"
    """A fault was injected between `asked` and `time`, into process `target`."""
    CALM = "calm"
    """No fault follows."""
    ENDED = "ended"
    """What the store says of an execution at the end; `value` is its result."""
    STORED = "stored"
    """What the store says of a step at the end; `value` is the run it came from."""
    DRAINED = "drained"
    """Every execution has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a ledger. `time` is CLOCK_MONOTONIC, one clock for all processes."""

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
    """

    executions: int
    faults: Mapping[str, int] = field(default_factory=dict[str, int])
    mid_step: int = 0
    slots: int = 1
    width: int = 1
    drained_within: float = 60.0


class Ledger:
    """Appends lines; each is one `write` to a file opened with O_APPEND."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)

    def write(self, kind: Kind, **fields: Any) -> None:
        """Append one line, stamped with the time and this process."""
        line = {"kind": kind, "time": time.monotonic(), "pid": os.getpid(), **fields}
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def plan(self, plan: Plan) -> None:
        """Say what this run is going to do."""
        fields = {name: getattr(plan, name) for name in Plan.__slots__}
        self.write(Kind.PLAN, value=fields)

    def close(self) -> None:
        """Close the file; its lines stay."""
        os.close(self._file)


def read(path: str | Path) -> tuple[list[Line], int]:
    """The lines of a ledger in the order they were written, and how many are torn."""
    lines: list[Line] = []
    torn = 0
    for text in Path(path).read_bytes().splitlines():
        try:
            fields = json.loads(text)
            lines.append(Line(**{**fields, "kind": Kind(fields["kind"])}))
        except (ValueError, TypeError, KeyError):
            torn += 1
    return lines, torn
