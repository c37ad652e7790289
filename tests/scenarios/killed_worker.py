"""Workers in processes of their own, of which the first kills itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ROOT = Path(__file__).parent.parent.parent

BEGINNING = """
import asyncio, json, os, signal, sys
from worchflow import BackendOptions, Retry, Worchflow, open_backend

where, log, die = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
if "redis_url" in where:
    options = BackendOptions(queue_prefix=where["queue_prefix"], lease_ttl=2.0)
    servers = where["redis_url"], where["mongo_url"]
    where = {"backend": open_backend(*servers, options=options)}
app = Worchflow("app", **where)

def note(what):
    with open(log, "a") as file:
        file.write(what + "\\n")
    if what == die:
        os.kill(os.getpid(), signal.SIGKILL)
"""
END = """
worker = app.worker()
worker.on("execution:suspended", lambda _: note("suspended"))
worker.on("execution:resumed", lambda _: note("resumed"))
asyncio.run(worker.run())
"""


class KilledWorker:
    """A program of functions that `note` what happens, one worker after the other.

    It notes "suspended" and "resumed" by itself.
    """

    def __init__(self, functions: str, where: dict[str, Any], folder: Path) -> None:
        self._program, self._log = folder / "program.py", folder / "log"
        self._program.write_text(
            BEGINNING + textwrap.dedent(functions) + END, encoding="utf-8"
        )
        self._log.touch()
        self._where = json.dumps({name: str(value) for name, value in where.items()})

    @asynccontextmanager
    async def replaced(self, die: str) -> AsyncGenerator[None]:
        """Have one worker die as it notes `die`; meanwhile another one runs."""
        first = self._start(die)
        assert await asyncio.to_thread(first.wait, 60) == -signal.SIGKILL
        second = self._start("never")
        try:
            yield
        finally:
            second.terminate()
            await asyncio.to_thread(second.wait, 30)

    def noted(self) -> list[str]:
        """What was noted, in order."""
        return self._log.read_text(encoding="utf-8").split()

    def _start(self, die: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(self._program), self._where, str(self._log), die]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}"}
        return subprocess.Popen(command, env=environment, cwd=self._log.parent)
