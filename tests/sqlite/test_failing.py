"""A database that fails or is busy: typed errors in time, and nothing half-written."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.stores import (
    MakeBackend,
    claim_many,
    claim_one,
    claimed,
    expect,
    ids,
    insert,
    insert_one,
    joined,
    new_execution,
    new_step,
    settle,
    stored,
)
from tests.waiting import TIMEOUT, until
from worchflow.foundations.errors import (
    ExecutionNotFound,
    StoreUnavailable,
    WorchflowError,
)
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.records import ExecutionQuery, ExecutionStatus
from worchflow.model.settlement import Completed, Released
from worchflow.storage.contract.executions import Inserted
from worchflow.storage.sqlite import call_dispatcher, sessions, writer
from worchflow.storage.sqlite.backend import SQLiteBackend
from worchflow.storage.sqlite.files import FileLock
from worchflow.storage.sqlite.times import lease_now, wall_now

LARGE = f'"{"x" * 1_000_000}"'


@pytest.fixture
def raw(backend: SQLiteBackend, path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of another program to the open file."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    yield connection
    connection.close()


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process may grow beyond what the database has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = Path(f"{path}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_one_failing_operation_fails_its_own_caller_only(
    backend: SQLiteBackend,
) -> None:
    worker = await joined(backend)
    await insert(backend, *(new_execution() for _ in range(20)))
    claims = await claim_many(backend, worker, 20)
    lost = claims[7]
    _delete(backend, lost.execution.id)

    outcomes = await asyncio.gather(
        *(backend.steps.checkpoint(claim, new_step()) for claim in claims),
        return_exceptions=True,
    )

    for claim, outcome in zip(claims, outcomes, strict=True):
        if claim is lost:
            assert isinstance(outcome, ExecutionNotFound)
            assert outcome.execution_id == lost.execution.id
            assert await backend.steps.all(lost.execution.id) == []
        else:
            assert await backend.steps.all(claim.execution.id) == [outcome]


async def test_text_that_cannot_be_stored_fails_its_own_caller_only(
    backend: SQLiteBackend,
) -> None:
    good = [new_execution() for _ in range(5)]
    bad = new_execution(event_data='"\ud800"')

    outcomes = await asyncio.gather(
        *(backend.executions.insert([new]) for new in (*good[:2], bad, *good[2:])),
        return_exceptions=True,
    )

    assert isinstance(outcomes.pop(2), UnicodeEncodeError)
    assert outcomes == [[Inserted(id=new.id)] for new in good]
    assert await backend.executions.get(bad.id) is None


async def test_a_database_that_another_program_keeps_locked_is_unavailable(
    make_backend: MakeBackend, path: Path
) -> None:
    backend = await make_backend(timeout=0.3)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    new = new_execution()

    with pytest.raises(StoreUnavailable, match=str(path)):
        await backend.executions.insert([new])
    with pytest.raises(StoreUnavailable):
        await backend.check()
    assert await backend.executions.get(new.id) is None

    other.execute("ROLLBACK")
    other.close()
    assert await backend.executions.insert([new]) == [Inserted(id=new.id)]
    await backend.check()


async def test_a_short_lock_of_another_program_is_waited_for(
    backend: SQLiteBackend, raw: sqlite3.Connection
) -> None:
    raw.execute("BEGIN IMMEDIATE")
    inserting = asyncio.ensure_future(insert_one(backend))
    done, _ = await asyncio.wait([inserting], timeout=0.1)
    assert not done

    raw.execute("COMMIT")

    await expect(backend, await inserting, status=ExecutionStatus.QUEUED)


async def test_commits_wait_for_the_commit_lock(
    path: Path, make_backend: MakeBackend
) -> None:
    backend = await make_backend(timeout=0.3)
    lock = FileLock(Path(f"{path}.lock"))
    assert lock.acquire()
    worker = await asyncio.gather(joined(backend), return_exceptions=True)
    assert isinstance(worker[0], StoreUnavailable)

    # Who gave up does not stand in the way of others.
    other = await asyncio.gather(
        make_backend(durability="fast"), return_exceptions=True
    )
    assert isinstance(other[0], StoreUnavailable)
    lock.release()
    third = await make_backend(timeout=0.4)
    await insert_one(third)
    await insert_one(backend)
    lock.close()


async def test_a_full_disk_is_an_error_and_work_goes_on_when_there_is_room(
    make_backend: MakeBackend, path: Path
) -> None:
    backend = await make_backend()
    claim = await claimed(backend)
    new = new_execution(event_data=LARGE)

    with full_disk(path):
        with pytest.raises(StoreUnavailable, match=str(path)):
            await backend.executions.insert([new])
        with pytest.raises(StoreUnavailable):
            await backend.steps.checkpoint(claim, new_step(result=LARGE))
        await expect(backend, claim.execution.id, status=ExecutionStatus.PROCESSING)

    assert await backend.executions.insert([new]) == [Inserted(id=new.id)]
    await backend.steps.checkpoint(claim, new_step(result=LARGE))
    assert (await settle(backend, claim, Completed(result=LARGE))).applied
    await expect(backend, new.id, event_data=LARGE)
    assert _integrity(path) == "ok"


async def test_a_call_that_takes_too_long_fails_and_can_be_repeated(
    make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await make_backend(timeout=0.3)
    assert isinstance(backend, SQLiteBackend)
    assert backend._binding is not None
    stuck = await _stuck_writer(backend)
    new = new_execution()

    with pytest.raises(StoreUnavailable, match="outcome is unknown"):
        await backend.executions.insert([new])

    stuck.set_result(None)
    assert await backend.executions.insert([new]) == [Inserted(id=new.id)]


async def test_more_calls_than_there_is_room_for_wait_their_turn(
    make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_dispatcher, "MAX_CALLS", 5)
    backend = await make_backend(timeout=0.3)
    news = [new_execution() for _ in range(40)]

    await asyncio.gather(*(insert(backend, new) for new in news))
    stuck = await _stuck_writer(backend)
    outcomes = await asyncio.gather(
        *(backend.executions.insert([new_execution()]) for _ in range(10)),
        return_exceptions=True,
    )

    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert any("behind" in str(outcome) for outcome in outcomes)
    stuck.set_result(None)
    for new in news:
        await expect(backend, new.id, status=ExecutionStatus.QUEUED)


async def test_what_a_cancelled_claim_took_is_handed_out_by_the_next(
    backend: SQLiteBackend,
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    before, after = await _stuck_writer(backend), _Stuck(backend)
    claiming = asyncio.ensure_future(backend.claims.claim(worker, 1, 5.0))
    await asyncio.sleep(0)
    after.start()
    await asyncio.sleep(0)
    # The claim is done and not yet committed when its caller goes away.
    before.set_result(None)
    await after.reached
    claiming.cancel()
    await asyncio.wait([claiming])
    after.go_on.set_result(None)

    async with asyncio.timeout(TIMEOUT):
        (claim,) = await backend.claims.claim(worker, 1, 2 * TIMEOUT)

    assert (claim.execution.id, claim.token) == (id_, 1)
    await expect(backend, id_, worker=worker.id, token=1)


async def test_what_a_leaving_worker_never_started_goes_back_unharmed(
    backend: SQLiteBackend,
) -> None:
    worker, other = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    before, after = await _stuck_writer(backend), _Stuck(backend)
    claiming = asyncio.ensure_future(backend.claims.claim(worker, 1, 5.0))
    await asyncio.sleep(0)
    after.start()
    await asyncio.sleep(0)
    before.set_result(None)
    await after.reached
    claiming.cancel()
    await asyncio.wait([claiming])
    after.go_on.set_result(None)

    await backend.check()
    await backend.workers.leave(worker.id)

    claim = await claim_one(backend, other)
    assert (claim.execution.id, claim.token) == (id_, 2)
    await expect(backend, id_, worker=other.id, recoveries=0)


async def test_a_claim_that_timed_out_is_handed_out_later(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend(timeout=0.3)
    worker = await joined(backend)
    id_ = await insert_one(backend)
    stuck = await _stuck_writer(backend)
    with pytest.raises(StoreUnavailable):
        await backend.claims.claim(worker, 1, 0.0)

    stuck.set_result(None)

    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_
    await expect(backend, id_, worker=worker.id, token=claim.token)


async def test_the_log_is_cut_when_it_has_grown(
    path: Path, make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "COMMITS_PER_LOOK", 1)
    monkeypatch.setattr(sessions, "WAL_LIMIT", 500_000)
    backend = await make_backend()

    await insert_one(backend, event_data=LARGE)

    def is_cut() -> bool:
        return Path(f"{path}-wal").stat().st_size == 0

    await until(is_cut)


@pytest.mark.parametrize(
    "damage",
    [
        "status = 'dreaming'",
        "created_at = 'yesterday'",
        "event_data = x'ff00fe'",
        "event_data = CAST(x'22ff22' AS TEXT)",
        "token = 'many'",
        "error_type = 5, error_message = 5",
        "started_at = 1e300",
    ],
)
async def test_a_damaged_row_is_in_nobodys_way(
    backend: SQLiteBackend,
    raw: sqlite3.Connection,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    worker = await joined(backend)
    bad = await insert_one(backend)
    good = await insert(backend, *(new_execution() for _ in range(3)))
    raw.execute(f"UPDATE executions SET {damage} WHERE id = ?", (bad,))  # noqa: S608

    claims = await claim_many(backend, worker, 3)

    assert ids(claims) == good
    assert not await backend.claims.claim(worker, 5, 0.3)
    listed = await backend.listing.page(ExecutionQuery())
    assert sorted(ids(listed.items)) == sorted(good)
    complaints = [
        record
        for record in caplog.records
        if record.levelno == logging.ERROR and bad in record.getMessage()
    ]
    assert len(complaints) <= 1
    with pytest.raises(WorchflowError, match="cannot be read"):
        await backend.executions.get(bad)
    for claim in claims:
        assert (await settle(backend, claim, Completed(result="1"))).applied


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize(
    "damage",
    [
        "status = 'odd'",
        "event_data = x'ff'",
        "created_at = 'yesterday'",
        "created_at = x'ff'",
        "created_at = 4e12 + 0.5",
        "created_at = 9e999",
        "created_at = -9e999",
        "id = CAST(x'ff' || seq AS TEXT)",
        "id = CAST(x'ff' || seq AS BLOB)",
        "created_at = 5, id = CAST(seq AS BLOB)",
    ],
)
async def test_pages_of_damaged_rows_are_not_the_end_of_a_listing(
    backend: SQLiteBackend, raw: sqlite3.Connection, damage: str, limit: int
) -> None:
    good = await insert(backend, *(new_execution() for _ in range(2)))
    bad = await insert(backend, *(new_execution() for _ in range(7)))
    last = await insert(backend, *(new_execution() for _ in range(2)))
    marks = ", ".join("?" * len(bad))
    raw.execute(f"UPDATE executions SET {damage} WHERE id IN ({marks})", bad)  # noqa: S608

    found: list[str] = []
    query = ExecutionQuery(limit=limit)
    for _ in range(len([*good, *bad, *last]) + 1):
        page = await backend.listing.page(query)
        found += ids(page.items)
        if page.cursor is None:
            break
        query = replace(query, cursor=page.cursor)
    else:
        pytest.fail("the listing does not end")

    assert sorted(each for each in found if each not in bad) == sorted([*good, *last])


async def test_an_execution_with_a_damaged_step_is_set_aside(
    backend: SQLiteBackend, raw: sqlite3.Connection
) -> None:
    worker = await joined(backend)
    claim = await claimed(backend)
    await backend.steps.checkpoint(claim, new_step())
    await settle(backend, claim, Released())
    raw.execute("UPDATE steps SET status = 'odd'")
    other = await insert_one(backend)

    (found,) = await claim_many(backend, worker, 1)

    assert found.execution.id == other
    assert not await backend.claims.claim(worker, 5, 0.1)
    await expect(
        backend,
        claim.execution.id,
        status=ExecutionStatus.QUEUED,
        reason="its row in the database cannot be read",
    )
    raw.execute("UPDATE steps SET status = 'completed'")
    raw.execute("UPDATE executions SET due_at = 1 WHERE due_at IS NOT NULL")
    assert (await claim_one(backend, worker)).execution.id == claim.execution.id


async def test_work_that_waits_survives_a_clock_that_is_set_back(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await joined(backend)
    right = wall_now
    monkeypatch.setattr(writer, "wall_now", lambda runtime: right(runtime) + 3_600_000)
    at_once, later = await insert(backend, new_execution(), new_execution(delay=60.0))
    monkeypatch.setattr(writer, "wall_now", right)
    assert not await backend.claims.claim(worker, 5, 0.0)
    before = await stored(backend, later)

    assert await backend.sweeping.sweep(worker.id) == 1

    claim = await claim_one(backend, worker)
    assert claim.execution.id == at_once
    assert await stored(backend, later) == before
    assert await backend.sweeping.sweep(worker.id) == 0


async def test_the_lease_of_another_start_of_the_machine_is_over(
    backend: SQLiteBackend, raw: sqlite3.Connection
) -> None:
    claim = await claimed(backend)
    reaper = await joined(backend)
    assert await backend.workers.reap(reaper.id, expired=True) == 0

    raw.execute(
        "UPDATE workers SET boot_id = 'another' WHERE id = ?", (claim.worker_id,)
    )

    assert await backend.workers.reap(reaper.id, expired=True) == 1
    await expect(backend, claim.execution.id, recoveries=1, worker=None)


async def test_a_reap_that_was_held_up_buries_nobody_for_that_time(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend(lease_ttl=1.0)
    waits_too, reaper = await joined(backend), await joined(backend)
    end = lease_now(SYSTEM) + 1100
    stuck = await _stuck_writer(backend)
    reaping = asyncio.ensure_future(backend.workers.reap(reaper.id, expired=True))
    await until(lambda: lease_now(SYSTEM) > end)
    stuck.set_result(None)

    assert await reaping == 0
    assert (await asyncio.to_thread(backend.workers.renew, waits_too.id)).alive


async def test_renewing_keeps_up_while_the_writer_is_busy(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend(lease_ttl=2.0)
    worker = await joined(backend)

    async def write() -> None:
        while True:
            await backend.executions.insert([new_execution() for _ in range(50)])

    writing = [asyncio.ensure_future(write()) for _ in range(20)]
    try:
        for _ in range(10):
            # Raises when it takes more than half a TTL.
            assert (await asyncio.to_thread(backend.workers.renew, worker.id)).alive
    finally:
        for task in writing:
            task.cancel()
        await asyncio.wait(writing)


class _Stuck:
    """An operation that keeps the writer, and its transaction, until `go_on`."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._loop = asyncio.get_running_loop()
        self.go_on: asyncio.Future[None] = self._loop.create_future()
        self.reached: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        """Put it in line."""
        task = asyncio.ensure_future(self._backend._binding.write(self._wait, None))
        task.add_done_callback(lambda done: done.exception())

    def _wait(self, tx: Any, prefix: str, arguments: Sequence[None]) -> Sequence[None]:
        self._loop.call_soon_threadsafe(self.reached.set_result, None)
        asyncio.run_coroutine_threadsafe(self._told(), self._loop).result(20)
        return arguments

    async def _told(self) -> None:
        await self.go_on


async def _stuck_writer(backend: Any) -> asyncio.Future[None]:
    """Keep the writer busy until the future that is returned has a result."""
    stuck = _Stuck(backend)
    stuck.start()
    await stuck.reached
    return stuck.go_on


def _delete(backend: SQLiteBackend, id_: str) -> None:
    with contextlib.closing(
        sqlite3.connect(backend.location, isolation_level=None, timeout=5)
    ) as connection:
        connection.execute("DELETE FROM executions WHERE id = ?", (id_,))


def _integrity(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
        return found
