"""What `LedgerMiddleware` writes of races, which are of its own coroutines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import MakeApp
from worchflow import Context, event
from worchflow.ledger import Kind, Ledger, LedgerMiddleware, read

GO: Any = event("go", None)
NEVER = event("never", str)


@pytest.mark.allow_blocking("a ledger is written at once")
async def test_a_race_has_arms_that_the_ledger_tells_of(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app = make_app(middleware=[LedgerMiddleware(Ledger(tmp_path / "ledger"))])
    won: list[Any] = []

    def fast() -> int:
        return 7

    @app.function(GO)
    async def go(ctx: Context[None]) -> None:
        step = ctx.step
        won.append(
            await step.race("First", step.sleep("Late", "1h"), step.run("Fast", fast))
        )
        won.append(
            await step.race(
                "Second", fast=step.run("Fast", fast), late=step.sleep("Late", "1h")
            )
        )
        won.append(
            await step.race(
                "Third",
                soon=step.sleep("Soon", 0.01),
                never=step.wait_for_event("Never", NEVER),
            )
        )

    async with app.client() as client, app.worker(concurrency=1):
        await (await client.send(GO(None))).result(timeout=30)

    assert won == [(1, 7), ("fast", 7), ("soon", None)]
    lines = [line for line in read(tmp_path / "ledger")[0] if line.step]
    first, second = dict.fromkeys(line.step for line in lines)
    kinds = [Kind.START, Kind.DONE, Kind.ACKED]
    assert [(line.step, line.kind) for line in lines] == [
        *((first, kind) for kind in kinds),
        *((second, kind) for kind in kinds),
    ]
