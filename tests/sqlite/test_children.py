"""What follows an end is one transaction with it, of a bounded size, on this store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.conformance.test_children import (
    CHILD,
    child_of,
    claimed_after_retry,
    started,
)
from tests.conformance.test_waits import suspend
from tests.stores import (
    ERROR,
    claim_one,
    claimed,
    expect,
    insert,
    joined,
    new_execution,
    new_worker,
    settle,
)
from worchflow.foundations.errors import StoreUnavailable
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.records import Claim, ExecutionStatus, NewExecution
from worchflow.model.settlement import Completed, Failed, Released
from worchflow.storage.contract.children import CHILDREN_PAGE
from worchflow.storage.sqlite import (
    children,
    claim_sql,
    executions,
    following,
    retention,
    settling,
    worker_sql,
)
from worchflow.storage.sqlite.backend import SQLiteBackend
from worchflow.storage.sqlite.claim_sql import ClaimRequest, functions_json
from worchflow.storage.sqlite.connection import connect_writer
from worchflow.storage.sqlite.executions import CancelRequest
from worchflow.storage.sqlite.files import MEMORY
from worchflow.storage.sqlite.hints import MAX_DATAGRAM_IDS, Hints, read_datagram
from worchflow.storage.sqlite.migrations import prepare
from worchflow.storage.sqlite.retention import FIRST, PruneRequest
from worchflow.storage.sqlite.settling import SettleRequest
from worchflow.storage.sqlite.worker_sql import JoinRequest
from worchflow.storage.sqlite.writer import Transaction

S = ExecutionStatus
PREFIX = "p"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = connect_writer(MEMORY, "strict")
    prepare(made, MEMORY, SYSTEM, migrate=False)
    yield made
    made.close()


def transaction(connection: sqlite3.Connection, now: int = 1_000_000) -> Transaction:
    return Transaction(connection, now, 0)


def put(connection: sqlite3.Connection, *new: NewExecution) -> None:
    executions.insert(transaction(connection), PREFIX, [new])


def take(connection: sqlite3.Connection, count: int, *events: str) -> Sequence[Claim]:
    """Claim so many by a worker of their own."""
    worker = new_worker(*events)
    tx = transaction(connection)
    worker_sql.join(tx, PREFIX, JoinRequest(worker=worker, lease=1_000_000))
    request = ClaimRequest(
        worker_id=worker.id, functions=functions_json(worker.functions), limit=count
    )
    claims = claim_sql.claim(tx, PREFIX, request).claims
    assert len(claims) == count
    return claims


def families(
    connection: sqlite3.Connection, parents: int, children_of_each: int
) -> Sequence[Claim]:
    """Claims of executions that each have so many children."""
    put(connection, *(new_execution() for _ in range(parents)))
    claims = take(connection, parents)
    for claim in claims:
        assert children.announce(transaction(connection), PREFIX, claim)
        put(connection, *(child_of(claim) for _ in range(children_of_each)))
    return claims


def end(
    connection: sqlite3.Connection, claims: Sequence[Claim], now: int = 2_000_000
) -> Transaction:
    """Complete executions in one transaction."""
    tx = transaction(connection, now)
    done = Completed(result="1")
    requests = [SettleRequest(claim, done, None, is_followed=True) for claim in claims]
    settled = settling.settle(tx, PREFIX, requests)
    assert all(each.applied for each in settled)
    return tx


def count(connection: sqlite3.Connection, condition: str) -> int:
    statement = f"SELECT count(*) FROM executions WHERE {condition}"  # noqa: S608
    number: int = connection.execute(statement).fetchone()[0]
    return number


def sweep(connection: sqlite3.Connection, now: int = 3_000_000) -> list[int]:
    """Follow what is left, and how many were cancelled by each transaction."""
    pages: list[int] = []
    is_more = following.is_left(connection, PREFIX, None)
    while is_more:
        tx = transaction(connection, now)
        is_more = following.follow_left(tx, PREFIX, None)
        pages.append(tx.followed)
    return pages


# -- one transaction, of a bounded size


async def test_an_end_and_what_follows_it_are_one_transaction(
    backend: SQLiteBackend,
) -> None:
    claim = await claimed(backend)
    (child,) = await started(backend, claim)
    await suspend(backend, claim, awaits_children=True)

    await backend.executions.cancel(child, None)

    await expect(backend, claim.execution.id, status=S.QUEUED, wakeups=1)
    again = await claim_one(backend, await joined(backend))
    (other,) = await started(backend, again)
    await settle(backend, again, Completed(result="1"))
    await expect(backend, other, status=S.CANCELLED)
    await expect(backend, claim.execution.id, has_children=False)


def test_children_that_end_together_wake_their_parent_once(
    connection: sqlite3.Connection,
) -> None:
    families(connection, 2, 5)

    tx = end(connection, take(connection, 10, CHILD))

    assert count(connection, "event_name <> 'child' AND wakeups = 1") == 2
    assert len(tx.hints.woken) == 2


@pytest.mark.parametrize("parents", [1, 3])
def test_one_transaction_cancels_a_page_and_a_sweep_the_rest(
    connection: sqlite3.Connection, parents: int
) -> None:
    each = 2 * CHILDREN_PAGE // parents + 1
    claims = families(connection, parents, each)

    tx = end(connection, claims)

    assert tx.followed == CHILDREN_PAGE
    assert count(connection, "status = 'cancelled'") == CHILDREN_PAGE
    assert count(connection, "has_children") > 0
    assert sweep(connection) == [CHILDREN_PAGE, parents * each - 2 * CHILDREN_PAGE]
    assert count(connection, "status = 'cancelled'") == parents * each
    assert count(connection, "has_children") == 0
    assert not following.is_left(connection, PREFIX, None)


def test_cancelling_many_parents_at_once_cancels_a_page(
    connection: sqlite3.Connection,
) -> None:
    claims = families(connection, 3, CHILDREN_PAGE // 2)
    released = [SettleRequest(claim, Released(), None, True) for claim in claims]
    settling.settle(transaction(connection), PREFIX, released)
    tx = transaction(connection)

    for claim in claims:
        request = CancelRequest(id=claim.execution.id, reason=None)
        executions.cancel(tx, PREFIX, request)

    assert tx.followed == CHILDREN_PAGE
    assert count(connection, "status = 'cancelled'") == 3 + CHILDREN_PAGE
    assert sum(sweep(connection)) == CHILDREN_PAGE // 2


def test_the_children_of_those_that_a_page_ends_are_followed_by_a_sweep(
    connection: sqlite3.Connection,
) -> None:
    claims = families(connection, 1, CHILDREN_PAGE)
    (child, *_) = take(connection, 1, CHILD)
    assert children.announce(transaction(connection), PREFIX, child)
    put(connection, child_of(child, event="grandchild"))
    released = [SettleRequest(child, Released(), None, True)]
    settling.settle(transaction(connection), PREFIX, released)

    end(connection, claims)

    assert count(connection, "event_name = 'grandchild' AND status = 'queued'") == 1
    assert sweep(connection) == [1]
    assert count(connection, "event_name = 'grandchild' AND status = 'cancelled'") == 1


def test_what_children_are_left_of_is_not_removed(
    connection: sqlite3.Connection,
) -> None:
    claims = families(connection, 1, CHILDREN_PAGE + 1)
    end(connection, claims)
    completed = PruneRequest(status=S.COMPLETED, age=0, limit=10)
    later = transaction(connection, 4_000_000)

    assert retention.prune(later, PREFIX, completed) == (0, FIRST)

    sweep(connection)
    assert retention.prune(later, PREFIX, completed) == (1, FIRST)


async def test_retention_looks_behind_many_that_are_kept(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 3)
    monkeypatch.setattr(retention, "MAX_KEPT_PAGES", 2)
    claim = await claimed(backend)
    kept = [child_of(claim) for _ in range(10)]
    await started(backend, claim, *kept)
    await settle(backend, claim, Failed(error=ERROR))
    await insert(backend, other := new_execution())
    await backend.executions.cancel(other.id, None)

    async def prune() -> int:
        return await backend.retention.prune(S.CANCELLED, -1, 1)

    # Six are looked at in a call; the end, without any to remove, begins anew.
    assert [await prune() for _ in range(3)] == [0, 1, 0]
    assert await backend.executions.get(other.id) is None
    again = await claimed_after_retry(backend, claim)
    await settle(backend, again, Completed(result="1"))
    assert [await prune() for _ in range(11)] == [1] * 10 + [0]


async def test_a_retry_cancels_first_what_its_end_has_left(
    backend: SQLiteBackend,
) -> None:
    """Also a child that was inserted after nothing was left."""
    claim = await claimed(backend)
    many = [child_of(claim) for _ in range(CHILDREN_PAGE + 1)]
    await started(backend, claim, *many)
    await settle(backend, claim, Failed(error=ERROR))
    await insert(backend, child_of(claim))

    await backend.executions.retry(claim.execution.id)

    counts = await backend.counting.by_status()
    assert counts[S.CANCELLED] == len(many) + 1
    await expect(backend, claim.execution.id, has_children=True)


async def test_no_child_is_repeated_under_a_claim_that_is_lost(
    backend: SQLiteBackend,
) -> None:
    claim = await claimed(backend)
    (child,) = await started(backend, claim)
    await settle(backend, claim, Failed(error=ERROR))
    await backend.executions.retry(claim.execution.id)
    worker = await joined(backend)
    late = await claim_one(backend, worker)
    await settle(backend, late, Released())
    claim = await claim_one(backend, worker)

    assert not await backend.children.retry(late, child)

    assert await backend.children.retry(claim, child)


def test_a_settlement_that_is_repeated_is_followed_once(
    connection: sqlite3.Connection,
) -> None:
    families(connection, 1, 1)
    claims = take(connection, 1, CHILD)
    end(connection, claims)

    end(connection, claims, now=2_000_001)

    assert count(connection, "wakeups = 1") == 1


# -- what it costs


def test_what_has_neither_parent_nor_children_costs_nothing_more(
    connection: sqlite3.Connection,
) -> None:
    put(connection, new_execution())
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    (claim,) = take(connection, 1)
    claiming = [each for each in statements if not each.startswith("--")]
    statements.clear()
    request = SettleRequest(claim, Completed(result="1"), None)
    settling.settle(transaction(connection), PREFIX, [request])
    connection.set_trace_callback(None)

    settling_ = [each for each in statements if not each.startswith("--")]
    assert not [each for each in claiming if "SELECT id, nonce" in each], claiming
    assert len({each.strip().splitlines()[0] for each in settling_}) == 1, settling_


async def test_only_what_may_be_followed_is_asked_to_be(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[bool] = []
    settle_all = settling.settle

    def see(tx: Transaction, prefix: str, requests: Sequence[SettleRequest]) -> Any:
        followed.extend(request.is_followed for request in requests)
        return settle_all(tx, prefix, requests)

    monkeypatch.setattr(settling, "settle", see)
    claim = await claimed(backend)
    await settle(backend, claim, Completed(result="1"))
    claim = await claimed(backend)
    await started(backend, claim, child_of(claim, leaves=True))
    await settle(backend, claim, Completed(result="1"))
    child = await claim_one(backend, await joined(backend, CHILD))
    await settle(backend, child, Completed(result="1"))

    assert followed == [False, True, True]


VALUES: dict[str, Any] = dict.fromkeys(
    (
        *("ids", "numbers", "prefix", "now", "parent", "nonce", "token", "limit"),
        *("reason", "id", "worker", "status", "before", "finished_at", "seq", "page"),
    ),
    "[]",
)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (following._ENDED_NOW, VALUES),
        (following._LIVE_PARENTS, VALUES),
        (following._WAKE, VALUES),
        (following._TO_CANCEL, VALUES),
        (following._CANCEL, VALUES),
        (following._FLAG, VALUES),
        (following._FOLLOWED, ("[]",)),
        (following._END, ("a", "p")),
        (following._TO_FOLLOW, ("p", 1)),
        (children._ANNOUNCE, VALUES),
        (children._HELD, VALUES),
        (children._FIND, ("[]", "p")),
        (children._STARTED_UNDER, (1, "a", "p")),
        (claim_sql._LIVE, ("[]", "p")),
        (executions._RETRY, VALUES),
        (retention._ENDED, VALUES),
    ],
    ids=[
        *("ended", "parents", "wake", "children", "cancel", "flag", "followed", "end"),
        *("sweep", "announce", "held", "find", "started", "live", "retry", "prune"),
    ],
)
def test_no_statement_reads_a_whole_table_or_sorts(
    connection: sqlite3.Connection, statement: str, values: Any
) -> None:
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()

    details = [row[3] for row in plan]
    read = [each for each in details if "json_each" not in each]
    assert not [each for each in read if "SCAN" in each or "TEMP" in each], details
    # That would be all of a prefix.
    assert not [each for each in read if "(queue_prefix=?)" in each], details
    assert not [each for each in read if "parent>?" in each], details


# -- what is remembered


async def test_an_announcement_is_written_once(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Claim] = []
    announce = children._announce

    def see(tx: Transaction, prefix: str, claims: Sequence[Claim]) -> Sequence[bool]:
        written.extend(claims)
        return announce(tx, prefix, claims)

    monkeypatch.setattr(children, "_announce", see)
    claim = await claimed(backend)
    for _ in range(3):
        assert await backend.children.announce(claim)
    await settle(backend, claim, Released())
    again = await claim_one(backend, await joined(backend))
    assert await backend.children.announce(again)

    assert written == [claim]


async def test_an_announcement_that_failed_is_written_the_next_time(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await claimed(backend)

    def fail(*_: Any) -> Any:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(children, "_announce", fail)
        with pytest.raises(StoreUnavailable):
            await backend.children.announce(claim)
    await expect(backend, claim.execution.id, has_children=False)
    # It may have been written: whoever settles the claim has to look.
    assert backend.children.may_have(claim)

    assert await backend.children.announce(claim)

    await expect(backend, claim.execution.id, has_children=True)


@pytest.mark.parametrize("over", ["settled", "left", "lost"])
async def test_nothing_is_remembered_of_a_claim_that_is_over(
    backend: SQLiteBackend, over: str
) -> None:
    claim = await claimed(backend)
    if over == "lost":
        await settle(backend, claim, Released())
    await backend.children.announce(claim)
    if over == "settled":
        await settle(backend, claim, Completed(result="1"))
    if over == "left":
        await backend.workers.leave(claim.worker_id)

    assert backend.children._announced == {}


def test_many_cancelled_children_are_hinted_in_datagrams_that_can_be_sent() -> None:
    ids = {("p", f"{number:0390d}") for number in range(CHILDREN_PAGE)}
    hints = Hints(work={("p", "event")}, cancelled=set(ids), woken={("p", "parent")})

    datagrams = hints.urgent_datagrams()

    read = Hints()
    for each in datagrams:
        part = read_datagram(each)
        assert len(part.cancelled) <= MAX_DATAGRAM_IDS
        assert len(each) < 200_000
        read.add(part)
    assert (read.work, read.cancelled, read.woken) == (
        *({("p", "event")}, ids, {("p", "parent")}),
    )
