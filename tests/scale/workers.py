"""Worker processes of the tests at scale, and how large these are."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.fleet import WorkerProcess
from tests.chaos.settings import Settings
from tests.scale import worker_process
from tests.waiting import until
from worchflow import Worchflow, WorchflowClient
from worchflow.bench.usage import Usage, usage_of

COUNT = int(os.environ.get("WORCHFLOW_SCALE", "300"))
IS_LARGE = COUNT >= 1000
"""Whether what is measured means anything."""
KILLS = 10 if IS_LARGE else 2
SLOTS = 20
RESULT_SECONDS = 60 + COUNT / 20


class Workers:
    """Two worker processes on one store, and what their parts have written."""

    def __init__(self, settings: Settings, folder: Path, stack: ExitStack) -> None:
        self._settings = settings
        self._folder = folder
        self._stack = stack
        self._started = 0
        self._effects = Path(settings.ledger)
        self.running: dict[str, WorkerProcess] = {}
        self.app = Worchflow("scale", backend=settings.backend())

    async def start(self) -> None:
        """Start one more."""
        self._started += 1
        log = self._folder / f"worker-{self._started}.log"
        process = WorkerProcess(self._settings, log, worker_process.main)
        self._stack.callback(process.end, signal.SIGKILL)
        await until(lambda: process.polls, timeout=60)
        self.running[str(process.pid)] = process

    def ran(self) -> Counter[int]:
        """How often each part has run."""
        return Counter(self.in_order())

    def in_order(self) -> list[int]:
        """What has run, one after the other."""
        with suppress(FileNotFoundError):
            return list(map(int, self._effects.read_text().splitlines()))
        return []

    def mend(self) -> None:
        """Let no item fail any more."""
        self._effects.with_suffix(".mended").touch()

    async def kill_owner(self, client: WorchflowClient[Any], id: str) -> None:
        """Kill who runs an execution, or anybody if nobody does, and replace it."""
        owner = (await client.get(id)).worker
        pids = [
            pid
            for pid, process in self.running.items()
            if owner is not None and owner in process.text
        ]
        pid = (pids or list(self.running))[0]
        self.running.pop(pid).end(signal.SIGKILL)
        await self.start()

    async def replayed(self) -> int:
        """How often their parents were continued from their records."""
        total = 0
        for pid, process in self.running.items():
            process.signal(signal.SIGUSR1)
            told = await until(partial(self._told_by, pid))
            total += int(told)
        return total

    def _told_by(self, pid: str) -> str:
        with suppress(FileNotFoundError):
            return Path(f"{self._effects}.{pid}").read_text()
        return ""

    def usage(self) -> Usage:
        """What the only worker has used so far."""
        (pid,) = self.running
        used = usage_of(int(pid))
        assert used is not None
        return used

    def peak_memory(self) -> int:
        """The most bytes that one of those that run has held."""
        return max(_peak(pid) for pid in self.running)


def tell(figures: str) -> None:
    """Show what was measured, in a run with `-s`."""
    sys.stdout.write(f"\n{figures}\n")


def _peak(pid: str) -> int:
    for line in Path("/proc", pid, "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/status tells of no VmHWM")
