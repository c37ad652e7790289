"""What ended long ago is removed: by the worker, by whoever asks, or not at all."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.scenarios.conftest import MakeApp
from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    Event,
    ExecutionNotFound,
    InvalidInput,
    Worcher,
    Worchflow,
    WorchflowClient,
)
from worchflow.model.options import BackendOptions, Retention, WorkerOptions
from worchflow.model.records import ExecutionStatus

SOON = timedelta(milliseconds=1)
OFTEN = WorkerOptions(prune_interval=0.05, concurrency=10)


class Pay(Event[int], name="pay"):
    amount: int


def serve(app: Worchflow[Any]) -> None:
    @app.function(Pay, retries=0)
    async def pay(ctx: Context[Pay]) -> int:
        async def check(amount: int) -> int:
            return amount

        if not await ctx.step.run("check", check, ctx.data.amount):
            raise ValueError("nothing to pay")
        return ctx.data.amount


async def is_gone(client: WorchflowClient[Any], id: str) -> bool:
    try:
        await client.get(id)
    except ExecutionNotFound:
        return True
    return False


async def ended(client: WorchflowClient[Any], *amounts: int) -> list[str]:
    """Send payments; all without an amount fail. Their ids once they ended."""
    handles = await client.send_many([Pay(amount=amount) for amount in amounts])
    for handle in handles:
        await until(partial(_has_ended, handle))
    return [handle.id for handle in handles]


async def _has_ended(handle: Any) -> bool:
    status: ExecutionStatus = await handle.status()
    return status.is_terminal


async def test_a_worker_removes_what_ended_longer_ago_than_the_retention(
    make_app: MakeApp,
) -> None:
    app = make_app(retention=Retention(completed=SOON, failed="1h"))
    serve(app)
    async with app.client() as client, app.worker(options=OFTEN):
        good, bad = await client.send_many([Pay(amount=1), Pay(amount=0)])

        await until(lambda: is_gone(client, good.id))

        await until(lambda: _has_ended(bad))
        assert [each.id for each in (await client.list()).items] == [bad.id]
        assert len(await client.steps(bad.id)) == 1
        with pytest.raises(ExecutionNotFound):
            await client.handle(good.id).result(timeout=1)


async def test_of_two_workers_one_removes(make_app: MakeApp) -> None:
    apps = [make_app(retention=Retention(completed=SOON)) for _ in range(2)]
    for app in apps:
        serve(app)
    async with (
        apps[0].client() as client,
        apps[0].worker(options=OFTEN),
        apps[1].worker(options=OFTEN),
    ):
        handles = await client.send_many([Pay(amount=n + 1) for n in range(30)])

        for handle in handles:
            await until(partial(is_gone, client, handle.id))


async def test_without_retention_everything_is_kept(make_app: MakeApp) -> None:
    keeping, removing = make_app(retention=None), make_app()
    serve(keeping)
    async with keeping.client() as client, keeping.worker(options=OFTEN):
        (id_,) = await ended(client, 1)
        assert await client.prune() == 0
        assert (await client.get(id_)).result == 1
    # By default it takes a week.
    async with removing.client() as client:
        assert await client.prune() == 0
        assert (await client.get(id_)).result == 1


async def test_a_user_removes(app: Worchflow[Any]) -> None:
    serve(app)
    async with app.client() as client, app.worker(concurrency=10):
        ids = await ended(client, 1, 2, 3, 0, 0)
        waiting = await client.send(Pay(amount=1), delay="1h")

        assert await client.prune(older_than="1h") == 0
        assert await client.prune(older_than=0, status="failed", limit=1) == 1
        assert await client.prune(older_than=0, status="cancelled") == 0
        left = [id_ for id_ in ids if not await is_gone(client, id_)]
        assert len(left) == 4
        assert await asyncio.to_thread(client.sync.prune, older_than=0, limit=2) == 2
        assert await client.prune(older_than=0) == 2
        assert [each.id for each in (await client.list()).items] == [waiting.id]
        with pytest.raises(ExecutionNotFound):
            await client.retry(ids[-1])


async def test_an_id_can_be_used_again(app: Worchflow[Any]) -> None:
    serve(app)
    async with app.client() as client, app.worker():
        first = await client.send(Pay(amount=1), id="order-1")
        assert await first.result(timeout=10) == 1
        assert await client.prune(older_than=0) == 1

        again = await client.send(Pay(amount=2), id="order-1")

        assert not again.duplicate
        assert await again.result(timeout=10) == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"status": "queued"},
            "status='queued' is not a status that executions end with",
        ),
        ({"status": "done"}, "status='done' is not a status"),
        ({"limit": 0}, "limit=0 must be a whole number from 1 up"),
        ({"limit": True}, "limit=True must be"),
        ({"older_than": "7 weeks"}, "older_than='7 weeks' is not a duration"),
        ({"older_than": -1}, "older_than=-1 is not a duration"),
    ],
)
async def test_what_cannot_be_meant_removes_nothing(
    app: Worchflow[Any], wrong: dict[str, Any], words: str
) -> None:
    async with app.client() as client:
        with pytest.raises((ConfigurationError, InvalidInput), match=words):
            await client.prune(**{"older_than": 0, **wrong})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Retention(completed="soon"), "retention.completed='soon' is not a"),
        (lambda: Retention(failed=-1), "retention.failed=-1 is not a duration"),
        (lambda: Retention(cancelled=0), "retention.cancelled=0 would remove"),
        (lambda: BackendOptions(retention="7d"), "retention='7d' must be a Retention"),  # type: ignore[arg-type]
        (lambda: Worchflow("app", retention=7), "retention=7 must be a Retention"),  # type: ignore[arg-type]
        (lambda: Worcher([], retention=False), "retention=False must be a Retention"),  # type: ignore[arg-type]
        (lambda: WorkerOptions(prune_interval=0), "prune_interval=0 must be"),
    ],
)
def test_a_wrong_retention_is_refused_where_it_is_written(
    make: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


def test_a_backend_has_its_own_retention(make_app: MakeApp) -> None:
    backend = make_app().backend()
    with pytest.raises(ConfigurationError, match="retention=None does not fit"):
        Worchflow("app", backend=backend, retention=None).backend()
    with pytest.raises(ConfigurationError, match="set it in the BackendOptions"):
        Worcher([], backend=backend, retention=Retention(completed="1d"))
    assert Worchflow("app", backend=backend).backend().options.retention == Retention()
