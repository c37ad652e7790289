"""Events that no live worker serves are told of, beside the sends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.waiting import until
from worchflow import Context, Worchflow, WorchflowClient, open_backend
from worchflow.engine import served_events
from worchflow.engine.served_events import unserved_warning
from worchflow.model.records import WorkerSeen


def seen(*events: str, alive: bool = True) -> WorkerSeen:
    return WorkerSeen(
        id="w", functions=dict.fromkeys(events, "f"), silent_for=1.0, is_alive=alive
    )


@pytest.mark.parametrize(
    ("workers", "warning"),
    [
        ([seen("other"), seen("pay-out")], None),
        (
            [seen("payout", "other")],
            (
                'no live worker serves the event "pay-out", did you mean "payout"? '
                "what was sent waits. Live workers serve: other, payout"
            ),
        ),
        (
            [seen(*"abcdefg")],
            (
                'no live worker serves the event "pay-out"; what was sent waits. Live '
                "workers serve: a, b, c, d, e, …"
            ),
        ),
        (
            [seen("pay-out", alive=False)],
            (
                'no live worker serves the event "pay-out"; what was sent waits until '
                "one is started"
            ),
        ),
    ],
)
def test_the_nearest_name_that_is_served_is_told(
    workers: list[WorkerSeen], warning: str | None
) -> None:
    assert unserved_warning("pay-out", workers) == warning


@pytest.fixture
def app() -> Worchflow[Any]:
    app = Worchflow[Any]("shop", sqlite=":memory:")

    @app.function("process-payment")
    async def process_payment(ctx: Context[Any]) -> None: ...

    return app


async def test_a_name_that_nobody_serves_is_told_once(
    app: Worchflow[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(served_events, "PAUSE_SECONDS", 0)
    caplog.set_level(logging.WARNING, "worchflow.client")
    async with (
        app.worker() as worker,
        WorchflowClient[Any](backend=worker._backend) as client,
    ):
        for _ in range(3):
            await client.send({"name": "process-paymnt", "data": None})
            await client.send({"name": "process-payment", "data": None})
        await until(lambda: asyncio.sleep(0, bool(caplog.messages)))
        for _ in range(3):
            await client.send({"name": "process-paymnt", "data": None})
            await asyncio.sleep(0.01)

    assert caplog.messages == [
        (
            'no live worker serves the event "process-paymnt", did you mean '
            '"process-payment"? what was sent waits. Live workers serve: '
            "process-payment"
        )
    ]


async def test_the_client_of_an_app_vouches_for_its_events(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app.client() as client:
        await client.send({"name": "process-payment", "data": None})

        assert client._sender.served._task is None


async def test_the_look_ends_with_its_client() -> None:
    backend = open_backend("sqlite:///:memory:")
    async with WorchflowClient[Any](backend=backend) as client:
        await client.send({"name": "nobody", "data": None})
        look = client._sender.served._task

    assert look is not None
    await asyncio.wait([look], timeout=5)
    assert look.cancelled()
