"""What breaks beside the real work ends none of the threads that everybody needs."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.sqlite.conftest import sockets_of
from tests.stores import (
    claimed,
    expect,
    insert_one,
    new_execution,
    new_step,
    notice_of,
)
from tests.waiting import until
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.notices import ExecutionCompleted
from worchflow.model.records import ExecutionStatus
from worchflow.model.settlement import Completed
from worchflow.storage.contract.executions import Inserted
from worchflow.storage.sqlite.backend import SQLiteBackend
from worchflow.storage.sqlite.call_dispatcher import Answer, Call, CallDispatcher
from worchflow.storage.sqlite.peers import Peers
from worchflow.storage.sqlite.reader import Reader
from worchflow.storage.sqlite.shared_database import SharedDatabase


class Broken(BaseException):
    """What no code of a side task is expected to raise."""


def broken(*_: Any, **__: Any) -> Any:
    raise Broken


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("broken on purpose")


def shared_of(backend: SQLiteBackend) -> SharedDatabase:
    assert backend._binding is not None
    return backend._binding.shared


async def test_a_publisher_that_breaks_changes_no_outcome_and_ends_no_writer(
    backend: SQLiteBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    claim = await claimed(backend)
    taken = await insert_one(backend, event_data='"one"')
    monkeypatch.setattr(shared_of(backend)._writer, "_publish", broken)

    new = [new_execution() for _ in range(5)]
    conflicting = new_execution(id=taken, event_data='"another"')
    async with asyncio.timeout(30):
        *outcomes, other = await asyncio.gather(
            *(backend.executions.insert([one]) for one in new),
            backend.executions.insert([conflicting]),
        )
        recorded = await backend.steps.checkpoint(claim, new_step())
        settled = await backend.claims.settle(
            claim,
            Completed(result="1"),
            notice_of(ExecutionCompleted, claim, ExecutionStatus.COMPLETED),
        )

    assert outcomes == [[Inserted(id=one.id)] for one in new]
    assert other[0].existing is not None
    assert await backend.steps.all(claim.execution.id) == [recorded]
    assert settled.applied
    await expect(backend, claim.execution.id, status=ExecutionStatus.COMPLETED)
    assert "could not be told of a commit" in caplog.text


@pytest.mark.parametrize("what", ["an event loop", "other processes"])
async def test_who_cannot_be_told_of_a_commit_keeps_nobody_else_from_it(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    shared = shared_of(backend)
    other = sockets_of(backend) / "other.sock"
    if what == "an event loop":

        class BrokenWakeup:
            receive = staticmethod(failing)

        monkeypatch.setattr(shared, "_wakeups", (BrokenWakeup(), *shared._wakeups))
    else:
        monkeypatch.setattr(shared._peers, "send", failing)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(other))
        inbox.setblocking(False)
        id_ = await insert_one(backend)
        async with backend.notices.watch(id_) as subscription:
            await backend.executions.cancel(id_, None)
            assert await subscription.next(30.0) is not None
        if what == "an event loop":
            assert b"payment" in inbox.recv(10_000)


async def test_a_message_that_cannot_be_passed_on_ends_no_listener(
    tmp_path: Path,
) -> None:
    received: list[Any] = []

    def receive(hints: Any) -> None:
        received.append(hints)
        if len(received) == 1:
            raise RuntimeError("broken on purpose")

    peers = Peers(tmp_path / "some.db", receive, lambda _: False, SYSTEM)
    peers.start()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for _ in range(2):
                sender.sendto(b'{"work":[["p","e"]]}', str(peers._folder / peers._name))
        await until(lambda: len(received) == 2)
    finally:
        await asyncio.to_thread(peers.close)


async def test_an_answer_that_cannot_be_handed_back_holds_up_no_other() -> None:
    box = CallDispatcher(30.0, "here")
    sent: list[Call] = []
    first = asyncio.ensure_future(box.call(sent.append, failing))
    second = asyncio.ensure_future(box.call(sent.append))
    await until(lambda: len(sent) == 2)
    first.cancel()
    await asyncio.wait({first})

    box.deliver([Answer(sent[0], 1), Answer(sent[1], 2)])

    async with asyncio.timeout(30):
        assert await second == 2
    box.close()


async def test_a_connection_that_cannot_be_closed_ends_no_reader() -> None:
    class Unclosable(sqlite3.Connection):
        def close(self) -> None:
            raise sqlite3.ProgrammingError("broken on purpose")

    def lose_the_disk(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    made: list[sqlite3.Connection] = []

    def connect() -> sqlite3.Connection:
        # Only the first of each thread breaks.
        kind = Unclosable if len(made) < 2 else sqlite3.Connection
        made.append(sqlite3.connect(":memory:", factory=kind, check_same_thread=False))
        return made[-1]

    box = CallDispatcher(30.0, "here")
    reader = Reader("here", connect)
    reader.start()
    for _ in range(4):
        with pytest.raises(Exception, match="disk I/O error"):
            await box.call(lambda call: reader.submit(lose_the_disk, call))
    assert await box.call(lambda call: reader.submit(lambda _: 5, call)) == 5
    await asyncio.to_thread(reader.stop, 30.0)
    box.close()
    for connection in made:
        sqlite3.Connection.close(connection)
