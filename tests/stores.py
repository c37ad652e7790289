"""What tests of the stores put into them, and how they look at what is there."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, cast

from tests.waiting import TIMEOUT, until
from worchflow.foundations.errors import StoreUnavailable
from worchflow.model.notices import ExecutionUpdated, Notice
from worchflow.model.records import (
    Claim,
    ErrorInfo,
    ExecutionStatus,
    NewExecution,
    StepStatus,
    StoredExecution,
    StoredStep,
    WorkerRecord,
)
from worchflow.model.settlement import Settled, Settlement
from worchflow.storage.contract.backend import Backend
from worchflow.storage.contract.workers import OnHint, Renewal, WorkerHint
from worchflow.storage.sqlite.backend import SQLiteBackend
from worchflow.storage.sqlite.writer import Transaction, one_by_one

EVENT = "payment"
ERROR = ErrorInfo(
    type="ValueError",
    message="no funds",
    traceback="line 1\nline 2",
    step='"Charge" (key 3)',
)


class MakeBackend(Protocol):
    """Opens one more backend on the test's store, closed when the test ends.

    Options are those of `BackendOptions`; without a prefix it is the test's own. Two
    backends behave as two processes do.
    """

    async def __call__(self, **options: Any) -> Backend: ...


def now() -> datetime:
    """Return the wall's time, as exact as the stores keep it."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def new_execution(
    id: str | None = None, event: str = EVENT, **fields: Any
) -> NewExecution:
    """Make an execution nobody has sent before."""
    values: dict[str, Any] = {
        "event_data": '{"amount":100}',
        "nonce": uuid.uuid4().hex,
        "created_at": now(),
    }
    return NewExecution(id=id or str(uuid.uuid4()), event_name=event, **values | fields)


def new_worker(*events: str, functions: dict[str, str] | None = None) -> WorkerRecord:
    """Make a worker; its functions have ids of their own."""
    served = functions or {name: f"fn-{name}" for name in events or (EVENT,)}
    return WorkerRecord(
        id=uuid.uuid4().hex,
        functions=served,
        concurrency=10,
        host="test",
        pid=1,
        started_at=now(),
    )


def notice_of(
    kind: type[ExecutionUpdated], claim: Claim, status: ExecutionStatus, **fields: Any
) -> Notice:
    """A notice as the engine makes it."""
    return kind(
        execution_id=claim.execution.id,
        event_name=claim.execution.event_name,
        attempt=claim.execution.attempt_count + 1,
        status=status,
        **fields,
    )


def new_step(number: int = 1, **fields: Any) -> StoredStep:
    """Make a step that has completed."""
    values: dict[str, Any] = {
        "step_id": f"{number:032x}",
        "title": f"step {number}",
        "status": StepStatus.COMPLETED,
        "result": f'{{"step":{number}}}',
        "attempts": 1,
        "started_at": now(),
        "finished_at": now(),
    }
    return StoredStep(**values | fields)


def ignore(hint: WorkerHint, execution_id: str) -> None:
    """Take a hint and do nothing."""


def collect(ids: list[str], wanted: WorkerHint = WorkerHint.CANCEL) -> OnHint:
    """Take the ids of executions of which one kind of hint is told."""

    def take(hint: WorkerHint, execution_id: str) -> None:
        if hint is wanted:
            ids.append(execution_id)

    return take


async def joined(backend: Backend, *events: str) -> WorkerRecord:
    """Make a worker and let it join."""
    worker = new_worker(*events)
    await backend.workers.join(worker, ignore)
    return worker


async def renew(backend: Backend, worker_id: str) -> Renewal:
    """Renew as a worker does: from a thread, and again if the store was too slow."""

    async def renewed() -> Renewal | None:
        with contextlib.suppress(StoreUnavailable):
            return await asyncio.to_thread(backend.workers.renew, worker_id)
        return None

    renewal = await until(renewed)
    assert renewal is not None
    return renewal


async def end_lease(backend: Backend, worker_id: str) -> None:
    """Let a worker's lease have ended long ago."""
    if isinstance(backend, SQLiteBackend):
        await backend._ready().write(_end_lease, worker_id)
        return
    mongo = cast("Any", backend)._open_parts.stores.mongo
    ended = {"$set": {"expiresAt": datetime(2020, 1, 1, tzinfo=UTC)}}
    await mongo.update("workers", [{"q": {"_id": worker_id}, "u": ended}])


@one_by_one
def _end_lease(tx: Transaction, _: str, worker_id: str) -> None:
    tx.connection.execute(
        "UPDATE workers SET lease_until = 0 WHERE id = ?", (worker_id,)
    )


async def insert(backend: Backend, *executions: NewExecution) -> list[str]:
    """Insert executions that must be accepted now; their ids."""
    outcomes = await backend.executions.insert(executions)
    assert [o.id for o in outcomes] == [e.id for e in executions]
    assert [o.existing for o in outcomes] == [None] * len(executions)
    return [o.id for o in outcomes]


async def insert_one(backend: Backend, **fields: Any) -> str:
    """Insert one execution; its id."""
    (id_,) = await insert(backend, new_execution(**fields))
    return id_


async def claim_many(
    backend: Backend, worker: WorkerRecord, count: int, limit: int = 10
) -> list[Claim]:
    """Claim exactly so many, as often as it takes."""
    claims: list[Claim] = []

    async def enough() -> bool:
        left = count - len(claims)
        if left:
            claims.extend(await backend.claims.claim(worker, min(limit, left), 0.2))
        return len(claims) == count

    await until(enough)
    return claims


async def claim_one(backend: Backend, worker: WorkerRecord) -> Claim:
    """Claim one execution."""
    (claim,) = await claim_many(backend, worker, 1)
    return claim


async def claimed(backend: Backend, **fields: Any) -> Claim:
    """Insert an execution and claim it with its own worker."""
    worker = await joined(backend)
    id_ = await insert_one(backend, **fields)
    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_
    return claim


async def nothing_to_claim(backend: Backend, worker: WorkerRecord) -> bool:
    """Whether a claim comes back empty, given a moment."""
    return not await backend.claims.claim(worker, 10, 0.1)


async def settle(backend: Backend, claim: Claim, settlement: Settlement) -> Settled:
    """Settle without a notice."""
    return await backend.claims.settle(claim, settlement, None)


async def stored(backend: Backend, id: str) -> StoredExecution:
    """Return an execution that must be there."""
    execution = await backend.executions.get(id)
    assert execution is not None
    return execution


async def expect(backend: Backend, id: str, **fields: Any) -> StoredExecution:
    """Check fields of what is stored."""
    execution = await stored(backend, id)
    found = {name: getattr(execution, name) for name in fields}
    assert found == fields
    return execution


async def everything(
    backend: Backend, id: str
) -> tuple[StoredExecution, list[StoredStep]]:
    """Return all that is stored about an execution, to compare it later."""
    return await stored(backend, id), await backend.steps.all(id)


async def counted(
    backend: Backend, expected: dict[ExecutionStatus, int]
) -> dict[ExecutionStatus, int]:
    """Wait until the counts, which may lag, are these; all others are zero."""
    wanted = dict.fromkeys(ExecutionStatus, 0) | expected

    async def same() -> dict[ExecutionStatus, int] | None:
        found = await backend.counting.by_status()
        return found if found == wanted else None

    counts = await until(same, TIMEOUT)
    assert counts is not None
    return counts


async def flushed(backend: Backend) -> None:
    """Wait until Redis, whose order claims follow, was told of all so far."""
    if not isinstance(backend, SQLiteBackend):
        stores = cast("Any", backend)._open_parts.stores
        assert await stores.write_behind.flush(TIMEOUT)


def ids(items: Iterable[Claim] | Sequence[StoredExecution]) -> list[str]:
    """Return the ids of claims or executions, in their order."""
    return [item.execution.id if isinstance(item, Claim) else item.id for item in items]
