"""Starts a program that is measured, and talks with it over its pipes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, Self, cast

from ..foundations.errors import WorchflowError
from . import interruption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT = 60.0
"""Seconds without a word after which a program is given up."""
STALLED = 60.0
"""Seconds without an execution completed after which workers are given up."""
SLOWEST = 100
"""Executions a second below which a program that has many to do is given up."""

Line = dict[str, Any]


class ProgramFailed(WorchflowError):
    """A measured program ended or fell silent; carries the end of what it printed."""

    code = "WF8001"


class Program:
    """A process in its own session, which nothing of it outlives."""

    def __init__(
        self,
        command: Sequence[str],
        settings: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = str(settings.get("role", "program"))
        self.done = 0
        """What it has reported as complete, over all its processes."""
        self.last = 0.0
        """When the last of them was completed, on the machine's monotonic clock."""
        self.began = math.inf
        """When the first execution of all its processes began."""
        self.sending = 0.0
        """When it began to send for the last time."""
        self._done: dict[int, int] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a program we name
                [*command, json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, **(environment or {})},
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise ProgramFailed(f"{command[0]} cannot be started: {error}") from None
        self._lines: queue.Queue[Line | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def tell(self, **line: Any) -> None:
        """Send it a line."""
        if self._process.stdin is None:
            raise AssertionError("it was started with a pipe")
        try:
            self._process.stdin.write(f"{json.dumps(line)}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed("ended") from None

    def ask(self, count: int = 0, /, **line: Any) -> Line:
        """Send it a line and return its answer, which may take longer for many."""
        self.tell(**line)
        return self.answer(TIMEOUT + count / SLOWEST)

    def answer(self, timeout: float = TIMEOUT) -> Line:
        """Its next line that is not a report; `ProgramFailed` if none comes in time.

        Every report of progress starts the time anew.
        """
        while True:
            line = self._next(timeout)
            if not self._take(line):
                return line

    def hear(self, timeout: float) -> None:
        """Take in its reports for a moment."""
        interruption.check()
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._lines.get(timeout=timeout)
                if line is None:
                    raise self._failed("ended")
                self._take(line)
                timeout = 0

    def close(self) -> None:
        """Let it end in order: what it still buffers is written."""
        self.tell(close=True)
        deadline = time.monotonic() + TIMEOUT
        while (code := self._process.poll()) is None:
            if time.monotonic() > deadline:
                raise self._failed(f"did not close within {TIMEOUT:g} s")
            interruption.pause(0.01)
        if code:
            raise self._failed(f"ended with code {code}")

    def end(self) -> None:
        """Kill it with everything below it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _next(self, timeout: float) -> Line:
        deadline = time.monotonic() + timeout
        while True:
            interruption.check()
            left = deadline - time.monotonic()
            if left < 0:
                raise self._failed(f"said nothing for {timeout:g} s")
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=min(left, interruption.POLL_SECONDS))
                if line is None:
                    raise self._failed("ended")
                return line

    def _take(self, line: Line) -> bool:
        """Whether it is a report: of what is done, or of a beginning."""
        if "done" in line:
            self._done[line["pid"]] = line["done"]
            self.done = sum(self._done.values())
            self.last = max(self.last, line["last"])
        elif "began" in line:
            self.began = min(self.began, line["began"])
        elif "sending" in line:
            self.sending = line["sending"]
        else:
            return False
        return True

    def _read(self) -> None:
        stream = self._process.stdout
        with contextlib.suppress(ValueError):  # closed by `end`
            for text in stream or ():
                # What a library prints for people is not a line of ours.
                with contextlib.suppress(json.JSONDecodeError):
                    line: Any = json.loads(text)
                    if isinstance(line, dict):
                        self._lines.put(cast("Line", line))
        self._lines.put(None)

    def _failed(self, what: str) -> ProgramFailed:
        self._log.seek(0)
        tail = self._log.read().decode(errors="replace").splitlines()[-8:]
        told = [f"the {self.name} {what}", *(line[:300] for line in tail)]
        return ProgramFailed("\n".join(told))


def wait_for(
    programs: Sequence[Program], count: int, at_most: float = math.inf
) -> tuple[int, float]:
    """How much they have completed, and when the last of it was.

    Returns once that is `count`, or `at_most` seconds after it saw the first one
    completed; `ProgramFailed` if nothing more comes.
    """
    since = time.monotonic()
    ends = math.inf
    progress = _done(programs)
    while (done := _done(programs)) < count:
        for each in programs:
            each.hear(0.005)
        now = time.monotonic()
        if done != progress:
            progress, since, ends = done, now, min(ends, now + at_most)
        if now > ends:
            break
        if now - since > STALLED:
            raise ProgramFailed(f"it stopped after {done} of {count} executions")
    return done, max(each.last for each in programs)


def _done(programs: Sequence[Program]) -> int:
    return sum(each.done for each in programs)
