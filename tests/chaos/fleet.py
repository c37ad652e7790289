"""Worker processes that are killed, frozen and replaced, each fault on the ledger."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import multiprocessing
import os
import resource
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals
from typing import Self

from tests.chaos import worker_process
from tests.chaos.settings import Settings
from tests.servers import all_threads_stopped
from tests.waiting import until
from worchflow.ledger import Kind, Ledger
from worchflow.ledger.lines import RESUMED

READY = "worchflow.worker worker "
NEW_IDENTITY = "continues with a new identity"
MEANT = "Hiccup"
STOP_TIMEOUT = 40.0
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG: a frozen process ends too when the test run does."""
PRELOADED = (
    "tests.chaos.forking",
    "worchflow.storage.redis_mongo.backend",
    "worchflow.storage.sqlite.backend",
)

_context = multiprocessing.get_context("forkserver")


class WorkerProcess:
    """One worker as its own process, born with its modules already imported."""

    def __init__(
        self,
        settings: Settings,
        log: Path,
        work: Callable[[Settings], None] = worker_process.main,
    ) -> None:
        self.log = log
        self.told_to_end = False
        log.touch()
        _context.set_forkserver_preload([*PRELOADED, work.__module__])
        self._process = _context.Process(
            target=_live, args=(work, settings, log), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._exit_code: int | None = None

    @property
    def alive(self) -> bool:
        if self._exit_code is None and not self._process.is_alive():
            self._exit_code = self._process.exitcode
            self._process.close()
        return self._exit_code is None

    @property
    def exit_code(self) -> int | None:
        """What it ended with: minus the signal's number if a signal ended it."""
        return None if self.alive else self._exit_code

    @property
    def frozen(self) -> bool:
        """Whether each of its threads has stopped, which takes a moment."""
        return all_threads_stopped(self.pid)

    @property
    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    @property
    def polls(self) -> bool:
        """Whether it has joined the fleet and claims."""
        return READY in self.text

    def signal(self, number: Signals) -> None:
        if self.alive:
            # The server that forked it may have seen its end before this process.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, number: Signals) -> None:
        """Send a signal and wait for the end of the process."""
        self.signal(number)
        self.signal(SIGCONT)
        if self.alive:
            self._process.join(STOP_TIMEOUT)
        if self.alive:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"process {self.pid} outlived {number.name}")


def _live(work: Callable[[Settings], None], settings: Settings, log: Path) -> None:
    """Be a worker, and end with the test run even if that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    work(settings)


class Fleet:
    """The worker processes of one run.

    Args:
        settings: What each worker gets.
        ledger: Where the faults are written.
        folder: Where the logs are kept.
    """

    def __init__(self, settings: Settings, ledger: Ledger, folder: Path) -> None:
        self.workers: list[WorkerProcess] = []
        self.hits: Counter[str] = Counter()
        """Faults so far, by name."""
        self._settings = settings
        self._ledger = ledger
        self._folder = folder
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End every process that is left."""
        for worker in self.workers:
            if worker.alive:
                worker.end(SIGKILL)

    def start(self) -> WorkerProcess:
        """Start one more worker."""
        self._started += 1
        log = self._folder / f"worker-{self._started:03}.log"
        worker = WorkerProcess(self._settings, log)
        self.workers.append(worker)
        return worker

    async def start_and_wait(self, count: int) -> list[WorkerProcess]:
        """Start workers and wait until each claims."""
        workers = [self.start() for _ in range(count)]
        for worker in workers:
            await self.ready(worker)
        return workers

    async def ready(self, worker: WorkerProcess) -> None:
        """Wait until a worker claims."""
        await until(lambda: worker.polls, 60)

    def kill(self, worker: WorkerProcess) -> None:
        """SIGKILL: the process ends at this instruction."""
        asked = time.monotonic()
        worker.end(SIGKILL)
        self._hit("kill", worker, asked)

    def terminate(self, worker: WorkerProcess) -> None:
        """SIGTERM: the worker drains in its own time; see `reap`."""
        asked = time.monotonic()
        worker.told_to_end = True
        worker.signal(SIGTERM)
        self._hit("term", worker, asked)

    async def freeze(self, worker: WorkerProcess) -> None:
        """SIGSTOP: the process stops where it is, and does not know it.

        A process frozen inside an SQLite transaction stops everybody else who
        writes to the file, so it is frozen between two.
        """
        asked = time.monotonic()
        async with alone_on(self._settings.stores[0]):
            worker.signal(SIGSTOP)
            await until(lambda: worker.frozen)
        self._hit("stop", worker, asked)

    def resume(self, worker: WorkerProcess) -> None:
        """SIGCONT: a frozen process continues where it was."""
        asked = time.monotonic()
        worker.signal(SIGCONT)
        self._hit(RESUMED, worker, asked)

    def died(self, worker: WorkerProcess, seen_alive: float) -> None:
        """Tell of a process that ended by itself after `seen_alive`."""
        self._hit("death", worker, seen_alive)

    def tails(self, lines: int = 12) -> str:
        """The ends of the last logs without what the workload does on purpose."""
        parts = []
        for worker in self.workers[-6:]:
            told = [line for line in worker.text.splitlines() if MEANT not in line]
            end = "\n".join(told[-lines:])
            parts.append(f"--- {worker.log} (exit code {worker.exit_code})\n{end}")
        return "\n".join(parts)

    def _hit(self, fault: str, worker: WorkerProcess, asked: float) -> None:
        self._ledger.write(Kind.FAULT, fault=fault, target=worker.pid, asked=asked)
        self.hits[fault] += 1


@contextlib.asynccontextmanager
async def alone_on(store: str) -> AsyncIterator[None]:
    """Be the only one who writes, if the store is an SQLite file."""
    _, _, database = store.partition("sqlite:///")
    if not database:
        yield
        return
    # Beside what SQLite locks itself, worchflow's writers take turns by two files:
    # whoever freezes while it waits for the second keeps the others out as well.
    files = [
        os.open(f"{database}.{name}", os.O_RDWR | os.O_CREAT, 0o600)
        for name in ("turn", "lock")
    ]
    connection = sqlite3.connect(database, timeout=0)
    try:
        for file in files:
            await until(partial(_locks, file))
        await until(lambda: _begins(connection))
        yield
    finally:
        connection.close()
        for file in files:
            os.close(file)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _begins(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True
