"""A project on disk and the real command line in it, as a subprocess."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOP = """
import asyncio
import os
from pathlib import Path

from worchflow import Context, Event, NonRetryable, Worchflow

app = Worchflow("shop")


class Pay(Event[str], name="process-payment"):
    amount: int
    customer: str = "ada"


class Decline(Event[None], name="decline-payment"):
    text: str = "declined"


class Hold(Event[int], name="hold-payment"):
    gate: str


async def charge(amount: int, customer: str) -> str:
    return f"txn-{customer}-{amount}"


async def refuse(text: str) -> None:
    raise NonRetryable(text)


async def wait_for(gate: str) -> int:
    while not Path(gate).exists():
        await asyncio.sleep(0.01)
    return os.getpid()


@app.function(Pay, id="payments")
async def process_payment(ctx: Context[Pay]) -> str:
    checked = await ctx.step.run("Validate payment", abs, ctx.data.amount)
    return await ctx.step.run("Charge provider", charge, checked, ctx.data.customer)


@app.function(Decline)
async def decline_payment(ctx: Context[Decline]) -> None:
    await ctx.step.run("Validate payment", abs, 3)
    await ctx.step.run("Refuse", refuse, ctx.data.text)


@app.function(Hold)
async def hold_payment(ctx: Context[Hold]) -> int:
    return await ctx.step.run("Wait for the gate", wait_for, ctx.data.gate)
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed to stdout, as JSON."""
        return json.loads(self.out)


class Process:
    """A command that runs; its stderr is read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.seen: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_for_line(self, fits: str | Callable[[str], bool]) -> str:
        """The next line of stderr that contains the text, or that fits."""
        while True:
            line = self._lines.get(timeout=20)
            if line is None:
                raise AssertionError(f"it ended before that line: {self.seen}")
            if fits in line if isinstance(fits, str) else fits(line):
                return line

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, by its pid."""
        self._process.send_signal(number)

    def wait(self) -> Outcome:
        """Wait until it has ended."""
        code = self._process.wait(timeout=25)
        self._reader.join(timeout=5)
        out = self._process.stdout.read() if self._process.stdout else ""
        return Outcome(code, out, "".join(self.seen))

    def end(self) -> None:
        """Kill it if it still runs, and close its pipes."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=5)
        self._reader.join(timeout=5)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        stream = self._process.stderr
        with contextlib.suppress(ValueError):
            for line in stream or ():
                self.seen.append(line)
                self._lines.put(line)
        self._lines.put(None)


class Project:
    """A folder with an app, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("shop.py", SHOP)
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WORCHFLOW_", "PYTEST_"))
            and name not in {"NO_COLOR", "FORCE_COLOR", "TERM"}
        }

    @property
    def database(self) -> Path:
        """Where the app keeps its data."""
        return self.folder / ".worchflow" / "worchflow.db"

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.folder / name
        path.write_text(text)
        return path

    def command(self, *arguments: object) -> list[str]:
        """The command as a list of words."""
        return [sys.executable, "-m", "worchflow", *map(str, arguments)]

    def run(
        self, *arguments: object, stdin: str = "", **environment: object
    ) -> Outcome:
        """Run a command to its end; keywords are environment variables."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self._with(environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def start(self, *arguments: object, **environment: object) -> Iterator[Process]:
        """Start a command; it is killed at the end if it still runs."""
        process = Process(
            subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self._with(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        try:
            yield process
        finally:
            process.end()

    def _with(self, environment: dict[str, object]) -> dict[str, str]:
        return self.environment | {k: str(v) for k, v in environment.items()}
