"""A worker whose lease is uncertain or lost starts nothing, and works on afterwards."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.stores import new_worker, renew
from tests.waiting import until
from worchflow import Context, Worchflow, open_backend
from worchflow.model.options import BackendOptions, WorkerOptions
from worchflow.storage.contract.workers import WorkerHint
from worchflow.worker.worcher import Worcher

TTL = 1.0

MakeHasty = Callable[[], Worchflow[Any]]


@pytest.fixture
def hasty(where: dict[str, Any]) -> MakeHasty:
    """Makes apps whose workers' leases end after a second."""
    urls = (
        [f"sqlite:///{where['sqlite']}"]
        if "sqlite" in where
        else [where["redis_url"], where["mongo_url"]]
    )
    options = BackendOptions(
        queue_prefix=where.get("queue_prefix", "worchflow"), lease_ttl=TTL
    )
    return lambda: Worchflow("hasty", backend=open_backend(*urls, options=options))


def impatient(app: Worchflow[Any], **options: Any) -> Worcher:
    """Make a worker that renews its lease ten times a second."""
    return app.worker(options=WorkerOptions(heartbeat=0.1, **options))


def freeze(worker: Worcher) -> Callable[[], None]:
    """Keep a worker from renewing, as if its process were frozen, until it thaws."""
    keeper = worker._membership._keeper
    assert keeper is not None
    frozen = [True]
    keeper._may_renew = lambda: not frozen
    return frozen.clear


async def test_no_step_starts_once_the_lease_is_uncertain(hasty: MakeHasty) -> None:
    app = hasty()
    before, after = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    async def step(name: str) -> None:
        ran.append(name)

    @app.function("careful")
    async def careful(ctx: Context[None]) -> str:
        await ctx.step.run("first", step, "first")
        before.set()
        await after.wait()
        await ctx.step.run("second", step, "second")
        return "done"

    async with app.client() as client, impatient(app) as worker:
        handle = await client.send(careful())
        await asyncio.wait_for(before.wait(), 10)
        lease = worker._membership.lease
        assert lease is not None
        thaw = freeze(worker)
        await until(lambda: not lease.holds())
        # Trust ends before the lease does: nobody else may have it yet.
        assert lease.ttl == TTL
        after.set()
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert ran == ["first"]

        thaw()
        assert await handle.result(timeout=10) == "done"
        assert ran == ["first", "second"]
        assert worker.id == lease.worker.id


async def test_a_thread_asks_for_trust_right_before_its_step(hasty: MakeHasty) -> None:
    app = hasty()
    ran: list[int] = []
    denied: list[int] = []
    loop_thread = threading.get_ident()

    @app.function("careful")
    async def careful(ctx: Context[None]) -> str:
        await ctx.step.run("effect", lambda: ran.append(1))
        return "done"

    async with app.client() as client, impatient(app) as worker:
        lease = worker._membership.lease
        assert lease is not None
        holds = lease.holds

        def gone_when_the_thread_first_asks() -> bool:
            if threading.get_ident() != loop_thread and not denied:
                denied.extend(ran or [0])
                return False
            return holds()

        lease.holds = gone_when_the_thread_first_asks  # type: ignore[method-assign]
        handle = await client.send(careful())

        assert await handle.result(timeout=10) == "done"
        assert denied == [0]
        assert ran == [1]


async def test_a_lost_lease_ends_the_attempt_and_the_worker_goes_on(
    hasty: MakeHasty,
) -> None:
    app = hasty()
    began, ended = asyncio.Event(), asyncio.Event()
    runs: list[int] = []

    async def slow() -> str:
        if len(runs) == 1:
            try:
                began.set()
                await asyncio.Event().wait()
            finally:
                ended.set()
        return "done"

    @app.function("taken-over", retries=0)
    async def taken_over(ctx: Context[None]) -> str:
        runs.append(ctx.token)
        return await ctx.step.run("slow", slow)

    observer = app.backend()
    await observer.open()
    try:
        async with app.client() as client, impatient(app) as worker:
            identity = worker.id
            handle = await client.send(taken_over())
            await asyncio.wait_for(began.wait(), 10)
            thaw = freeze(worker)
            # Another worker, which renewed without a gap, takes it for dead.
            reaper = new_worker("something else")
            await observer.workers.join(reaper, lambda *_: None)

            async def reaped() -> bool:
                await renew(observer, reaper.id)
                return await observer.workers.reap(reaper.id, expired=True) == 1

            await until(reaped)
            thaw()
            await asyncio.wait_for(ended.wait(), 10)

            assert await handle.result(timeout=10) == "done"
            assert worker.id not in (None, identity)
            assert runs[1] > runs[0]
            execution = await client.get(handle.id)
            assert (execution.attempt_count, execution.recoveries) == (0, 1)
    finally:
        await observer.close()


async def test_a_worker_joins_again_whatever_goes_wrong_at_first(
    hasty: MakeHasty, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with impatient(hasty()) as worker:
        lease, identity = worker._membership.lease, worker.id
        assert lease is not None
        backend = worker._membership._backend
        join, failures = (
            backend.workers.join,
            iter([OSError("no host name"), TypeError()]),
        )

        async def fail_twice(*arguments: Any) -> None:
            for error in failures:
                raise error
            await join(*arguments)

        monkeypatch.setattr(backend.workers, "join", fail_twice)
        lease.lost = True
        worker._membership._fenced(lease)
        await until(lambda: worker.id not in (None, identity))


async def test_any_number_of_hints_to_cancel_asks_the_store_once_at_a_time(
    hasty: MakeHasty, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = hasty()
    began, answer = asyncio.Event(), asyncio.Event()
    asked: list[str] = []

    @app.function("waits")
    async def waits(ctx: Context[None]) -> None:
        began.set()
        await asyncio.Event().wait()

    async with app.client() as client, app.worker() as worker:
        handle = await client.send(waits())
        await asyncio.wait_for(began.wait(), 30)
        backend = worker._membership._backend
        get = backend.executions.get

        async def slow(execution_id: str) -> Any:
            asked.append(execution_id)
            await answer.wait()
            return await get(execution_id)

        monkeypatch.setattr(backend.executions, "get", slow)
        for expected in (1, 2):
            for _ in range(50):
                worker._membership._hinted(WorkerHint.CANCEL, handle.id)
            await until(lambda expected=expected: len(asked) >= expected)  # type: ignore[misc]
            assert len(asked) == expected
            answer.set()
            await until(lambda: not worker._membership._asking)
            answer.clear()
        answer.set()
        await client.cancel(handle.id)


async def test_a_result_under_a_lost_claim_is_dropped(hasty: MakeHasty) -> None:
    app = hasty()
    began, go_on = asyncio.Event(), asyncio.Event()
    runs: list[int] = []

    @app.function("late", retries=0)
    async def late(ctx: Context[None]) -> int:
        runs.append(ctx.token)
        if len(runs) == 1:
            began.set()
            await go_on.wait()
        return ctx.token

    observer = app.backend()
    await observer.open()
    try:
        async with app.client() as client, impatient(app) as worker:
            handle = await client.send(late())
            await asyncio.wait_for(began.wait(), 10)
            thaw = freeze(worker)
            reaper = new_worker("something else")
            await observer.workers.join(reaper, lambda *_: None)

            async def reaped() -> bool:
                await renew(observer, reaper.id)
                return await observer.workers.reap(reaper.id, expired=True) == 1

            await until(reaped)
            go_on.set()
            await until(lambda: not worker._slots.ids)
            assert not (await handle.status()).is_terminal
            thaw()

            assert await handle.result(timeout=10) == runs[-1]
            assert runs[-1] > runs[0]
    finally:
        await observer.close()


async def test_a_claim_of_unknown_outcome_is_adopted(hasty: MakeHasty) -> None:
    app = hasty()

    @app.function("stray")
    async def orphaned_claim(ctx: Context[None]) -> int:
        return ctx.token

    async with app.client() as client, impatient(app) as worker:
        start = worker._slots.start
        dropped: list[Any] = []

        def lose_the_first(claim: Any, lease: Any) -> None:
            if dropped:
                start(claim, lease)
            dropped.append(claim)

        # As after a claim that was made but whose answer never came.
        worker._slots.start = lose_the_first  # type: ignore[method-assign]
        handle = await client.send(orphaned_claim())

        assert await handle.result(timeout=10) == dropped[0].token
        assert (await client.get(handle.id)).recoveries == 0
