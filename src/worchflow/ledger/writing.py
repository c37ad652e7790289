"""Appends lines to a ledger, from any number of processes at once."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..foundations.errors import ConfigurationError
from ..foundations.json_text import json_text
from .lines import Kind, Plan

if TYPE_CHECKING:
    from collections.abc import Generator


class Ledger:
    """Appends lines; each is one `write` to a file opened with O_APPEND.

    Made if it is not there. Safe to use from several threads and processes of one
    machine, whose clock the lines carry. Raises `ConfigurationError` for a file that
    cannot be opened; a line that cannot be written raises `OSError`, for a run with
    holes in its ledger proves nothing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"the ledger {path} cannot be written: {error.strerror}"
            ) from None

    def write(self, kind: Kind, **fields: Any) -> None:
        """Append one line, stamped with the time and this process; see `Line`."""
        line = {"kind": kind, "time": time.monotonic(), "pid": os.getpid(), **fields}
        os.write(self._file, json_text(line).encode() + b"\n")

    def plan(self, plan: Plan) -> None:
        """Say what this run is going to do."""
        fields = {name: getattr(plan, name) for name in Plan.__slots__}
        self.write(Kind.PLAN, value=fields)

    @contextmanager
    def fault(self, name: str, target: int = 0) -> Generator[None, None, None]:
        """Around injecting a fault: `with ledger.fault("kill", pid): os.kill(…)`.

        `target` is the process it ends or freezes, 0 for a fault of a store. Nothing
        is written of an injection that raised.
        """
        asked = time.monotonic()
        yield
        self.write(Kind.FAULT, fault=name, target=target, asked=asked)

    def calm(self) -> None:
        """Say that no fault follows."""
        self.write(Kind.CALM)

    def close(self) -> None:
        """Close the file; its lines stay."""
        os.close(self._file)
