"""The disk of an SQLite file is full: typed errors, and work continues with room."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import MakeRun
from tests.chaos.schedule import long_run, pause, seeded
from tests.chaos.workload import WIDTH, Work
from worchflow import StoreUnavailable
from worchflow.ledger import Kind, Line, Plan

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

WORKERS = 2
SLOTS = 6
ROUNDS = max(1, int(long_run()))


class SmallDisk:
    """A folder that can be filled up: a small tmpfs where one may be mounted.

    Elsewhere the processes are forbidden to let a file grow.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        command = ("mount", "-t", "tmpfs", "-o", "size=24m", "worchflow", folder)
        self.mounted = not subprocess.run(
            command, check=False, capture_output=True
        ).returncode
        self._filler = folder / "filler"

    def fill(self, pids: list[int]) -> None:
        """Leave no room for these processes."""
        if not self.mounted:
            size = (self.folder / "worchflow.db-wal").stat().st_size
            for pid in pids:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, -1))
            return
        with self._filler.open("wb", buffering=0) as file:
            for piece in (2**20, 2**12):
                try:
                    while True:
                        file.write(b"x" * piece)
                except OSError:
                    continue

    def make_room(self, pids: list[int]) -> None:
        """Give it back."""
        if self.mounted:
            self._filler.unlink()
        else:
            for pid in pids:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (-1, -1))

    def close(self) -> None:
        """Unmount it."""
        if self.mounted:
            subprocess.run(("umount", "-l", self.folder), check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of the test's own."""
    small = SmallDisk(tmp_path / "disk")
    yield small
    small.close()


@pytest.mark.timeout(90 + 60 * long_run())
async def test_a_full_disk_is_waited_out(make_run: MakeRun, disk: SmallDisk) -> None:
    chance = seeded("full disk")
    refused: list[StoreUnavailable] = []
    async with make_run(
        f"sqlite:///{disk.folder}/worchflow.db", slots=SLOTS, timeout=2.0
    ) as run:
        workers = await run.fleet.start_and_wait(WORKERS)
        pids = [worker.pid for worker in workers]
        for number in range(ROUNDS):
            feeding = asyncio.create_task(
                run.feed(range(number * 100, (number + 1) * 100), 4, chance)
            )
            await pause(chance.uniform(0.5, 1))
            await run.fault_in_work("full", lambda: disk.fill(pids))
            if disk.mounted:
                refused.append(await refusal(run.client.send, number))
            await pause(2)
            await run.fault("room", lambda: disk.make_room(pids))
            await feeding

        await run.judge(
            Plan(
                executions=100 * ROUNDS,
                faults={"full": ROUNDS},
                slots=SLOTS,
                width=WIDTH,
                drained_within=60,
            )
        )
        assert all(worker.alive for worker in workers), "it continues without a restart"
        told = "\n".join(worker.text for worker in workers)
        assert "SQLITE_FULL" in told or "SQLITE_IOERR" in told
        assert all("SQLITE_FULL" in str(error) for error in refused)
        assert waited(run.lines) > 1, "no step had to wait for room"
    assert integrity(disk.folder / "worchflow.db") == "ok"


async def refusal(send: Callable[..., object], number: int) -> StoreUnavailable:
    """What a send is told while there is no room; it is not sent again."""
    message = Work(seed=number)
    for attempt in range(1000):
        try:
            await send(message, id=f"refused-{number}-{attempt}")
        except StoreUnavailable as error:
            return error
    raise AssertionError("there is room for everything")


def waited(lines: Callable[[], list[Line]]) -> float:
    """The longest time between a step's end and its record."""
    done: dict[tuple[str, str], float] = {}
    longest = 0.0
    for line in lines():
        key = (line.execution, line.step)
        if line.kind is Kind.DONE:
            done[key] = line.time
        elif line.kind is Kind.ACKED and key in done:
            longest = max(longest, line.time - done.pop(key))
    return longest


def integrity(database: Path) -> str:
    connection = sqlite3.connect(database)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
