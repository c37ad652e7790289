"""Attempts, a step's own tries, an explicit retry, and executions that kill workers."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pymongo
import pytest

from tests.scenarios.conftest import MakeApp
from tests.stores import ignore, new_worker, renew
from tests.waiting import until
from worchflow import (
    Context,
    ExecutionFailed,
    ExecutionHandle,
    ExecutionStatus,
    Retry,
    RetryAfter,
    StepFailed,
    SyncContext,
    Worchflow,
    open_backend,
)
from worchflow.model.options import BackendOptions, WorkerOptions
from worchflow.storage.contract.backend import Backend


async def test_retries_are_counted_and_end(app: Worchflow[Any]) -> None:
    attempts: list[int] = []

    @app.function("always-fails", retries=2, retry_delay=0)
    async def always_fails(ctx: Context[None]) -> None:
        attempts.append(ctx.attempt)
        raise ConnectionError(f"attempt {ctx.attempt}")

    async with app.client() as client, app.worker():
        handle = await client.send(always_fails())
        with pytest.raises(ExecutionFailed, match="after 3 attempt") as failed:
            await handle.result(timeout=10)

        assert attempts == [1, 2, 3]
        assert failed.value.message == "attempt 3"
        assert (await client.get(handle.id)).attempt_count == 3


async def test_a_policy_says_what_is_worth_a_retry(app: Worchflow[Any]) -> None:
    attempts: list[int] = []

    @app.function("picky", retries=Retry(delay=0, on=(OSError,), never=(TimeoutError,)))
    async def picky(ctx: Context[None]) -> None:
        attempts.append(ctx.attempt)
        raise ConnectionError if ctx.attempt == 1 else TimeoutError

    async with app.client() as client, app.worker():
        handle = await client.send(picky())
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=10)

    assert failed.value.error_type == "TimeoutError"
    assert attempts == [1, 2]


async def test_a_steps_own_delay_is_the_one_it_asks_for(app: Worchflow[Any]) -> None:
    tries: list[float] = []

    async def busy() -> int:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 3:
            raise RetryAfter(0.05)
        return len(tries)

    @app.function("patient", retries=0)
    async def patient(ctx: Context[None]) -> int:
        # Its own policy would wait for an hour.
        policy = Retry(max_retries=5, delay="1h", max_delay="2h", immediate_first=False)
        return await ctx.step.options(retries=policy).run("busy", busy)

    async with app.client() as client, app.worker():
        assert await (await client.send(patient())).result(timeout=10) == 3

    assert all(later - earlier > 0.04 for earlier, later in pairwise(tries))


async def test_waiting_for_a_steps_next_try_is_ended_by_a_cancel(
    app: Worchflow[Any],
) -> None:
    tried = asyncio.Event()

    async def busy() -> None:
        tried.set()
        raise RetryAfter("1h")

    @app.function("patient")
    async def patient(ctx: Context[None]) -> None:
        await ctx.step.options(retries=3).run("busy", busy)

    async with app.client() as client, app.worker():
        handle = await client.send(patient())
        await asyncio.wait_for(tried.wait(), 10)
        await client.cancel(handle.id)
        with pytest.raises(Exception, match="cancelled"):
            await handle.result(timeout=10)
        assert await client.steps(handle.id) == []


async def test_an_explicit_retry_keeps_results_and_forgets_failures(
    app: Worchflow[Any],
) -> None:
    calls: list[str] = []

    def load() -> int:
        calls.append("load")
        return 1

    def charge() -> int:
        calls.append("charge")
        if calls.count("charge") == 1:
            raise ValueError("declined")
        return 2

    @app.function("pay", retries=0)
    def pay(ctx: SyncContext[None]) -> list[int]:
        first = ctx.step.run("load", load)
        return [
            first,
            ctx.step.options(retries=0).run("charge", charge),
            ctx.attempt,
        ]

    async with app.client() as client, app.worker():
        handle = await client.send(pay())
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result(timeout=10)
        assert failed.value.error_type == "StepFailed"
        steps = {step.title: step.status for step in await client.steps(handle.id)}
        assert steps == {"load": "completed", "charge": "failed"}

        await client.retry(handle.id)
        assert await handle.result(timeout=10) == [1, 2, 1]
        assert calls == ["load", "charge", "charge"]
        execution = await client.get(handle.id)
        assert (execution.attempt_count, execution.error) == (0, None)


async def test_a_failed_step_stays_failed_whatever_the_attempt(
    app: Worchflow[Any],
) -> None:
    calls: list[str] = []
    causes: list[Any] = []

    def charge() -> int:
        calls.append("charge")
        raise ValueError("declined")

    @app.function("pay", retries=2, retry_delay=0)
    async def pay(ctx: Context[None]) -> str:
        try:
            await ctx.step.options(retries=0).run("charge", charge)
        except StepFailed as failed:
            causes.append((type(failed.__cause__), failed.error_type, failed.title))
            if ctx.attempt < 3:
                raise ConnectionError from failed
            return failed.error_message
        return "?"

    async with app.client() as client, app.worker():
        assert await (await client.send(pay())).result(timeout=10) == "declined"

    assert calls == ["charge"]
    assert causes == [
        (ValueError, "ValueError", "charge"),
        (type(None), "ValueError", "charge"),
        (type(None), "ValueError", "charge"),
    ]


async def test_an_execution_that_kills_its_workers_is_given_up(
    where: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    options = BackendOptions(
        queue_prefix=where.get("queue_prefix", "worchflow"), lease_ttl=0.2
    )
    urls = (
        [f"sqlite:///{where['sqlite']}"]
        if "sqlite" in where
        else [where["redis_url"], where["mongo_url"]]
    )
    app = Worchflow("shop", backend=open_backend(*urls, options=options))
    runs: list[str] = []

    @app.function("poison")
    async def poison(ctx: Context[None]) -> str:
        runs.append(ctx.execution_id)
        return "cured"

    doomed = app.backend()
    await doomed.open()

    async def die_with_it() -> None:
        victim, witness = new_worker("poison"), new_worker("other")
        victim = replace(victim, quarantine_after=100)
        await doomed.workers.join(victim, ignore)
        await doomed.workers.join(witness, ignore)

        async def taken() -> bool:
            claims = await doomed.claims.claim(victim, 1, 0.1)
            return bool(claims) and await doomed.claims.begin(claims[0])

        async def taken_back() -> bool:
            await renew(doomed, witness.id)
            return await doomed.workers.reap(witness.id, expired=True) == 1

        await until(taken)
        await until(taken_back)
        await doomed.workers.leave(witness.id)

    lively = WorkerOptions(heartbeat=0.05, quarantine_after=1, quarantine_deaths=2)
    async with app.client() as client:
        handle = await client.send(poison())
        for _ in range(3):
            await die_with_it()
        assert (await client.get(handle.id)).recoveries == 3

        async with app.worker(options=lively):
            with pytest.raises(ExecutionFailed, match="3 workers died") as failed:
                await handle.result(timeout=10)
            assert failed.value.error_type == "poison"
            assert runs == []
            execution = await client.get(handle.id)
            (line,) = (each for each in caplog.records if "poison" in each.msg)
            assert (vars(line)["function"], vars(line)["attempt"]) == ("poison", 1)
            # No attempt was made, so none is counted.
            assert execution.attempt_count == 0
            assert execution.status is ExecutionStatus.FAILED

            # Whoever has found the cause may try again.
            await client.retry(handle.id)
            assert await handle.result(timeout=10) == "cured"
    await doomed.close()


@pytest.mark.allow_blocking("the loop is late on purpose")
async def test_a_handler_that_ends_as_its_time_does_has_ended(
    app: Worchflow[Any],
) -> None:
    calls = 0

    @app.function("late", retries=0, timeout=0.05)
    async def late(ctx: Context[None]) -> str:
        nonlocal calls
        calls += 1
        loop = asyncio.get_running_loop()
        awaited: asyncio.Future[str] = loop.create_future()

        def hold_up_the_loop() -> None:
            # Both the answer and the timeout are there for the loop's next turn.
            time.sleep(0.1)
            awaited.set_result("in time")

        loop.call_soon(hold_up_the_loop)
        return await awaited

    async with app.client() as client, app.worker():
        assert await (await client.send(late())).result(timeout=10) == "in time"
    assert calls == 1


async def test_who_waits_for_the_quarantine_slot_is_not_claimed_meanwhile(
    make_app: MakeApp, where: dict[str, Any]
) -> None:
    app = make_app()
    go_on, ran = asyncio.Event(), list[str]()

    @app.function("dangerous")
    async def dangerous(ctx: Context[None]) -> None:
        ran.append(ctx.execution_id)
        await asyncio.wait_for(go_on.wait(), 60)

    @app.function("harmless")
    async def harmless(ctx: Context[None]) -> None:
        pass

    store = app.backend()
    await store.open()
    async with app.client() as client:
        handles = [await client.send(dangerous()) for _ in range(2)]
        for _ in range(2):
            await kill_the_workers_of(store, handles, where)

        async with app.worker(concurrency=4):
            await until(lambda: len(ran) == 1)
            for _ in range(5):
                await (await client.send(harmless())).result(timeout=30)
            (waiting,) = {each.id for each in handles} - set(ran)
            stored = await store.executions.get(waiting)
            assert stored is not None
            assert (stored.status, stored.token) == (ExecutionStatus.QUEUED, 2)
            assert stored.reason == "workers died while running it"

            go_on.set()
            for each in handles:
                await each.result(timeout=60)
    await store.close()


async def kill_the_workers_of(
    store: Backend, handles: Sequence[ExecutionHandle[Any]], where: dict[str, Any]
) -> None:
    """Let each be claimed by a worker that begins it and is then declared dead."""
    victim, witness = new_worker("dangerous"), new_worker("other")
    await store.workers.join(victim, ignore)
    await store.workers.join(witness, ignore)

    async def all_taken() -> bool:
        for claim in await store.claims.claim(victim, 10, 0.1):
            assert await store.claims.begin(claim)
            taken.add(claim.execution.id)
        return len(taken) == len(handles)

    async def all_taken_back() -> bool:
        await asyncio.to_thread(end_lease, where, victim.id)
        await renew(store, witness.id)
        await store.workers.reap(witness.id, expired=True)
        stored = [await store.executions.get(each.id) for each in handles]
        return all(each is not None and each.worker is None for each in stored)

    taken: set[str] = set()
    await until(all_taken)
    await until(all_taken_back)
    await store.workers.leave(witness.id)


def end_lease(where: dict[str, Any], worker_id: str) -> None:
    """Let a lease have ended long ago."""
    if "sqlite" in where:
        with contextlib.closing(sqlite3.connect(where["sqlite"])) as connection:
            connection.execute(
                "UPDATE workers SET lease_until = 0 WHERE id = ?", (worker_id,)
            )
            connection.commit()
        return
    mongo: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(where["mongo_url"]) as mongo:
        mongo.get_default_database().workers.update_one(
            {"_id": worker_id},
            {"$set": {"expiresAt": datetime(2020, 1, 1, tzinfo=UTC)}},
        )
