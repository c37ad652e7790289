"""Several processes on one file: who died is known at once, who works is heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sqlite.conftest import sockets_of
from tests.stores import (
    MakeBackend,
    claim_one,
    claimed,
    expect,
    ignore,
    insert,
    insert_one,
    joined,
    new_execution,
    new_step,
    new_worker,
    notice_of,
)
from tests.waiting import until
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.notices import (
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionUpdated,
    StepCompleted,
)
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed
from worchflow.storage.sqlite import claims, files, peers
from worchflow.storage.sqlite.backend import SQLiteBackend
from worchflow.storage.sqlite.files import CommitLock, FileLock, SidecarPaths, is_free
from worchflow.storage.sqlite.hints import Hints, read_datagram
from worchflow.storage.sqlite.times import wall_now

# Claims one execution, says so, and holds it until it is ended.
HOLDER = """
import asyncio, json, sys
from tests.stores import claim_one, joined
from worchflow.storage.sqlite.backend import SQLiteBackend

async def main():
    backend = SQLiteBackend(sys.argv[1])
    await backend.open()
    worker = await joined(backend)
    claim = await claim_one(backend, worker)
    print(json.dumps([worker.id, claim.execution.id, claim.token]), flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""

# Inserts executions one by one, as fast as it can.
SENDER = """
import asyncio, sys
from tests.stores import insert_one
from worchflow.storage.sqlite.backend import SQLiteBackend

async def main():
    backend = SQLiteBackend(sys.argv[1])
    await backend.open()
    for number in range(int(sys.argv[3])):
        await insert_one(backend, id=f"{sys.argv[2]}-{number}")
    await backend.close()

asyncio.run(main())
"""


@contextlib.contextmanager
def process(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process, ended at the latest with the test."""
    started = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with started:
        try:
            yield started
        finally:
            started.kill()
            started.communicate()


async def told(holder: subprocess.Popen[str]) -> tuple[str, str, int]:
    """What the holder says about its claim."""
    assert holder.stdout is not None
    line = await asyncio.to_thread(holder.stdout.readline)
    worker_id, execution_id, token = json.loads(line)
    return worker_id, execution_id, token


async def test_what_a_killed_process_owned_is_taken_back_at_once(
    make_backend: MakeBackend, path: Path
) -> None:
    backend = await make_backend(lease_ttl=3600.0)
    reaper = await joined(backend)
    id_ = await insert_one(backend)
    with process(HOLDER, path) as holder:
        worker_id, held, token = await told(holder)
        assert held == id_
        assert await backend.workers.reap(reaper.id, expired=False) == 0
        await expect(backend, id_, worker=worker_id)

        holder.kill()
        await asyncio.to_thread(holder.wait)

        assert await backend.workers.reap(reaper.id, expired=False) == 1

    await expect(backend, id_, worker=None, recoveries=1, status=ExecutionStatus.QUEUED)
    claim = await claim_one(backend, reaper)
    assert claim.token > token
    assert not (await asyncio.to_thread(backend.workers.renew, worker_id)).alive


async def test_a_frozen_process_is_dead_only_when_its_lease_is_over(
    make_backend: MakeBackend, path: Path
) -> None:
    backend = await make_backend()
    reaper = await joined(backend)
    id_ = await insert_one(backend)
    with process(HOLDER, path) as holder:
        worker_id, _, _ = await told(holder)
        holder.send_signal(signal.SIGSTOP)

        assert await backend.workers.reap(reaper.id, expired=False) == 0
        assert await backend.workers.reap(reaper.id, expired=True) == 0

        await expect(backend, id_, worker=worker_id, recoveries=0)
        holder.send_signal(signal.SIGCONT)


async def test_workers_of_this_process_are_not_taken_for_dead(
    make_backend: MakeBackend,
) -> None:
    one, two = await make_backend(), await make_backend(durability="fast")
    claim = await claimed(one)
    reaper = await joined(two)

    for backend, worker in ((two, reaper), (one, await joined(one))):
        assert await backend.workers.reap(worker.id, expired=False) == 0

    await expect(one, claim.execution.id, worker=claim.worker_id)


async def test_a_closed_backend_gives_its_workers_up(make_backend: MakeBackend) -> None:
    stays = await make_backend(durability="fast")
    reaper = await joined(stays)
    goes = await make_backend()
    claim = await claimed(goes)

    await goes.close()

    assert await stays.workers.reap(reaper.id, expired=False) == 1
    await expect(stays, claim.execution.id, worker=None, recoveries=1)


async def test_a_worker_that_left_is_dead_with_all_it_still_owns(
    make_backend: MakeBackend,
) -> None:
    one, two = await make_backend(), await make_backend(durability="fast")
    claim = await claimed(one)
    reaper = await joined(two)

    await one.workers.leave(claim.worker_id)

    assert not (await asyncio.to_thread(one.workers.renew, claim.worker_id)).alive
    await expect(two, claim.execution.id, worker=claim.worker_id)
    assert await two.workers.reap(reaper.id, expired=False) == 1
    await expect(two, claim.execution.id, worker=None, recoveries=1)


async def test_nothing_is_left_of_workers_that_are_gone(
    backend: SQLiteBackend, path: Path
) -> None:
    left, dead = await joined(backend), await joined(backend)
    reaper = await joined(backend)
    backend.workers._locks.pop(dead.id).close()

    await backend.workers.leave(left.id)
    await backend.workers.reap(reaper.id, expired=False)

    locks = {lock.name for lock in _entries(Path(f"{path}.workers"))}
    assert locks == {f"{reaper.id}.lock"}


def test_a_lock_belongs_to_one_holder(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "x.lock"), FileLock(tmp_path / "x.lock")

    assert is_free(first.path)
    assert first.acquire()
    assert not second.acquire()
    assert not is_free(first.path)
    first.release()
    assert second.acquire()
    second.close()
    assert is_free(first.path)
    first.close()
    assert not is_free(tmp_path / "never-made.lock")


def test_a_busy_writer_lets_the_one_that_waits_go_first(tmp_path: Path) -> None:
    sidecars = SidecarPaths(tmp_path / "data.db")
    busy, waits, third = (CommitLock(sidecars, SYSTEM) for _ in range(3))
    assert busy.acquire()
    assert not waits.acquire()

    busy.release()

    assert not busy.acquire()
    assert waits.acquire()
    waits.release()
    assert busy.acquire()
    for lock in (busy, waits, third):
        lock.close()


def test_who_stops_waiting_is_in_nobodys_way(tmp_path: Path) -> None:
    sidecars = SidecarPaths(tmp_path / "data.db")
    holds, gives_up, waits = (CommitLock(sidecars, SYSTEM) for _ in range(3))
    assert holds.acquire()
    assert not gives_up.acquire()
    gives_up.give_way()
    holds.release()

    assert waits.acquire()
    for lock in (holds, gives_up, waits):
        lock.close()


def test_a_lease_that_waits_goes_before_every_writer(tmp_path: Path) -> None:
    sidecars = SidecarPaths(tmp_path / "data.db")
    holds, next_one, late = (CommitLock(sidecars, SYSTEM) for _ in range(3))
    lease = CommitLock(sidecars, SYSTEM, first=True)
    assert holds.acquire()
    assert not next_one.acquire()
    assert not lease.acquire()
    holds.release()
    assert next_one.acquire()

    # The turn is free now.
    assert not late.acquire()
    assert not lease.acquire()
    next_one.release()
    assert not late.acquire()
    assert lease.acquire()
    assert not late.acquire()
    lease.release()

    assert late.acquire()
    for lock in (holds, next_one, late, lease):
        lock.close()


def test_a_frozen_lease_holds_writers_up_once_and_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecars = SidecarPaths(tmp_path / "data.db")
    holds, writer, late = (CommitLock(sidecars, SYSTEM) for _ in range(3))
    frozen = CommitLock(sidecars, SYSTEM, first=True)
    assert holds.acquire()
    assert not late.acquire()  # has the turn
    assert not frozen.acquire()
    holds.release()
    assert late.acquire()
    late.release()

    assert not writer.acquire()
    monkeypatch.setattr(files, "LOCK_TIMEOUT_SECONDS", 0.0)
    for _ in range(3):
        assert writer.acquire()
        writer.release()

    frozen.close()
    assert writer.acquire()
    for lock in (holds, writer, late):
        lock.close()


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a hint can wake a claim."""
    monkeypatch.setattr(claims, "POLL_SECONDS", 60.0)


@pytest.mark.usefixtures("no_polling")
async def test_another_process_wakes_a_waiting_claim(
    backend: SQLiteBackend, path: Path
) -> None:
    worker = await joined(backend)
    waiting = asyncio.ensure_future(backend.claims.claim(worker, 1, 20.0))

    with process(SENDER, path, "far", 1) as sender:
        (claim,) = await waiting
        await asyncio.to_thread(sender.wait)

    assert claim.execution.id == "far-0"


@pytest.mark.usefixtures("no_polling")
async def test_the_next_due_time_wakes_a_waiting_claim(
    make_backend: MakeBackend,
) -> None:
    one, two = await make_backend(), await make_backend(durability="fast")
    worker = await joined(one)
    waiting = asyncio.ensure_future(one.claims.claim(worker, 1, 20.0))

    id_ = await insert_one(two, delay=0.2)

    (claim,) = await waiting
    assert claim.execution.id == id_


async def test_what_becomes_due_just_after_a_look_is_claimed_at_once(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "POLL_SECONDS", 600.0)
    # As if a moment had passed between the look and the wait.
    monkeypatch.setattr(claims, "wall_now", lambda runtime: wall_now(runtime) + 10_000)
    worker = await joined(backend)
    id_ = await insert_one(backend, delay=0.3)

    async with asyncio.timeout(60):
        (claim,) = await backend.claims.claim(worker, 1, 600.0)

    assert claim.execution.id == id_


async def test_without_hints_a_waiting_claim_looks_by_itself(
    make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers.Peers, "send", lambda self, hints: None)
    one, two = await make_backend(), await make_backend(durability="fast")
    worker = await joined(one)
    waiting = asyncio.ensure_future(one.claims.claim(worker, 1, 20.0))

    id_ = await insert_one(two)

    (claim,) = await waiting
    assert claim.execution.id == id_


async def test_sockets_of_processes_that_died_are_removed(
    backend: SQLiteBackend,
) -> None:
    stale = sockets_of(backend) / f"{uuid.uuid4().hex[:12]}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(stale))

    async def removed() -> bool:
        await insert_one(backend)
        return stale not in _entries(stale.parent)

    await until(removed)


async def test_nonsense_on_the_socket_changes_nothing(
    backend: SQLiteBackend, path: Path
) -> None:
    worker = new_worker()
    await backend.workers.join(worker, ignore)
    messages = [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"work":5}',
        b'{"work":[["x"]]}',
        b'{"cancelled":[[1,2,3]]}',
        b'{"notices":[["p","not a notice"]]}',
        b'{"notices":[["p",5]]}',
        b"[" * 10_000,
    ]
    (own,) = (p for p in _entries(sockets_of(backend)) if p.suffix == ".sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for message in messages:
            sender.sendto(message, str(own))

    other = SQLiteBackend(path)
    await other.open()
    id_ = await insert_one(other)

    assert (await claim_one(backend, worker)).execution.id == id_
    assert "worchflow-sqlite-peers" in {t.name for t in threading.enumerate()}
    await other.close()


async def test_a_long_path_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 60) / ("y" * 60)
    folder.mkdir(parents=True)
    one, two = SQLiteBackend(folder / "a.db"), SQLiteBackend(folder / "a.db")
    await one.open()
    folder_of_sockets = sockets_of(one)
    worker = await joined(one)

    assert not str(folder_of_sockets).startswith(str(tmp_path))
    assert len(os.fsencode(folder_of_sockets)) < peers.MAX_PATH_LENGTH
    await two.open()
    id_ = await insert_one(two)
    assert (await claim_one(one, worker)).execution.id == id_
    for backend in (one, two):
        await backend.close()


@pytest.mark.parametrize(
    ("progress", "suffix"), [(True, ".progress"), (False, ".watch")]
)
async def test_notices_are_sent_only_to_processes_that_watch(
    make_backend: MakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    progress: bool,
    suffix: str,
) -> None:
    monkeypatch.setattr(peers, "UNWATCHED_SECONDS", 0.0)
    one, two = await make_backend(), await make_backend(durability="fast")
    assert isinstance(one, SQLiteBackend)
    folder = sockets_of(one)
    watched, *others = await insert(one, *(new_execution() for _ in range(50)))

    def asking_for() -> set[str]:
        return {name.suffix for name in _entries(folder)} - {".sock"}

    assert not asking_for()
    async with one.notices.watch(watched, progress=progress) as subscription:
        assert asking_for() == {suffix}
        await two.executions.cancel(watched, None)
        notice = await subscription.next(5.0)
        assert notice == ExecutionUpdated(
            execution_id=watched,
            event_name="payment",
            attempt=1,
            status=ExecutionStatus.CANCELLED,
        )

    async def no_longer_asking() -> bool:
        await two.executions.cancel(others.pop(), None)
        return not asking_for()

    await until(no_longer_asking)


@pytest.mark.parametrize(
    ("files_there", "told"),
    [
        ([], []),
        ([".watch"], [ExecutionCompleted]),
        ([".progress"], [ExecutionStarted, StepCompleted, ExecutionCompleted]),
        (
            [".watch", ".progress"],
            [ExecutionStarted, StepCompleted, ExecutionCompleted],
        ),
    ],
)
async def test_each_process_is_told_what_it_wants_to_hear(
    make_backend: MakeBackend,
    files_there: list[str],
    told: list[type[ExecutionUpdated]],
) -> None:
    backend = await make_backend()
    assert isinstance(backend, SQLiteBackend)
    other = sockets_of(backend) / "other.sock"
    _touch(*(Path(f"{other}{suffix}") for suffix in files_there))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(other))
        inbox.setblocking(False)

        claim = await claimed(backend)
        backend.claims.announce(claim)
        await backend.steps.checkpoint(claim, new_step())
        await backend.claims.settle(
            claim,
            Completed(result="1"),
            notice_of(ExecutionCompleted, claim, ExecutionStatus.COMPLETED),
        )

        heard: list[type[ExecutionUpdated]] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                hints = read_datagram(inbox.recv(peers.BUFFER))
                heard += [type(one.notice) for one in hints.happenings]
    assert heard == told


async def test_a_step_is_acknowledged_before_others_are_told_of_it(
    make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await make_backend()
    claim = await claimed(backend)
    acknowledged = threading.Event()

    def send(_: object, hints: Hints) -> None:
        if any(type(one.notice) is StepCompleted for one in hints.happenings):
            acknowledged.wait(20)

    monkeypatch.setattr(peers.Peers, "send", send)

    async with asyncio.timeout(10):
        await backend.steps.checkpoint(claim, new_step())

    acknowledged.set()


async def test_processes_that_write_at_once_lose_nothing(
    backend: SQLiteBackend, path: Path
) -> None:
    names, each = ("a", "b", "c"), 100
    with contextlib.ExitStack() as stack:
        senders = [
            stack.enter_context(process(SENDER, path, name, each)) for name in names
        ]
        for number in range(each):
            await insert_one(backend, id=f"own-{number}")
        codes = [await asyncio.to_thread(sender.wait) for sender in senders]

    assert codes == [0] * len(senders)
    counts = await backend.counting.by_status()
    assert counts[ExecutionStatus.QUEUED] == each * (len(names) + 1)
    for name in (*names, "own"):
        for number in range(each):
            await expect(backend, f"{name}-{number}", status=ExecutionStatus.QUEUED)


def _touch(*paths: Path) -> None:
    for path in paths:
        path.touch()


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())
