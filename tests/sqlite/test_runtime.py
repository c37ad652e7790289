"""Due times, leases and a whole worker follow the `Runtime` of the backend."""

from __future__ import annotations

from datetime import timedelta

from tests.runtimes import ManualRuntime
from tests.stores import MakeBackend, claim_one, expect, insert_one, joined
from tests.waiting import until
from worchflow import Context, Worchflow
from worchflow.model.options import BackendOptions
from worchflow.storage.sqlite.backend import SQLiteBackend

DAY = 24 * 3600.0


async def test_what_is_due_in_three_days_is_claimed_when_they_have_passed(
    make_backend: MakeBackend,
) -> None:
    runtime = ManualRuntime()
    backend = await make_backend(runtime=runtime, lease_ttl=7 * DAY)
    worker = await joined(backend)
    id_ = await insert_one(backend, delay=3 * DAY)
    runtime.seconds += 3 * DAY - 1
    assert not await backend.claims.claim(worker, 1, 0.0)

    runtime.seconds += 1

    assert (await claim_one(backend, worker)).execution.id == id_
    await expect(backend, id_, started_at=runtime.now())


async def test_a_lease_ends_by_the_clock_of_the_runtime(
    make_backend: MakeBackend,
) -> None:
    runtime = ManualRuntime()
    backend = await make_backend(runtime=runtime)
    dead, reaper = await joined(backend), await joined(backend)
    id_ = await insert_one(backend)
    await claim_one(backend, dead)
    runtime.seconds += backend.options.lease_ttl - 1
    assert await backend.workers.reap(reaper.id, expired=True) == 0

    runtime.seconds += 1

    assert await backend.workers.reap(reaper.id, expired=True) == 1
    await expect(backend, id_, recoveries=1)


async def test_a_worker_and_its_executions_follow_the_runtime() -> None:
    runtime = ManualRuntime()
    options = BackendOptions(runtime=runtime)
    app = Worchflow("later", backend=SQLiteBackend(":memory:", options))

    @app.function("remind")
    async def remind(ctx: Context[int]) -> int:
        return ctx.data

    async with app.worker(), app.client() as client:
        handle = await client.send({"name": "remind", "data": 1}, delay="3d")
        sent_at = runtime.now()
        # Longer than the lease, which the worker renews as soon as it may.
        runtime.seconds += 3 * DAY

        async def has_ended() -> bool:
            # Time goes on: the thread of the lease waits for its next beat if it began
            # to wait only now, and a sweep that came before the renewal has put the
            # execution off for a second.
            runtime.seconds += 0.1
            return (await handle.status()).is_terminal

        await until(has_ended, timeout=60)
        assert await handle.result() == 1

        execution = await client.get(handle.id)

    assert execution.finished_at is not None
    assert execution.finished_at - sent_at >= timedelta(days=3)
