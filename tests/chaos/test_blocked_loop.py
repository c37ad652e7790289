"""An event loop blocked for longer than the lease keeps it, and is reported."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import MakeRun
from tests.chaos.troublemakers import Block
from worchflow.ledger import Kind, Plan

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

TTL = 2.0


@pytest.mark.timeout(60)
async def test_a_blocked_loop_keeps_its_lease_and_is_reported(
    make_run: MakeRun, stores: tuple[str, ...]
) -> None:
    async with make_run(*stores, slots=2, lease_ttl=TTL) as run:
        workers = await run.fleet.start_and_wait(2)
        await run.send("block-1", Block(seconds=3 * TTL), 1)
        handle = run.client.handle("block-1")
        assert await handle.result(timeout=30) == 1

        await run.judge(Plan(executions=1))
        (start,) = [line for line in run.lines() if line.kind is Kind.START]
        (done,) = [line for line in run.lines() if line.kind is Kind.DONE]
        assert done.time - start.time > 2 * TTL
        (blocked,) = [worker for worker in workers if worker.pid == start.pid]
        report = blocked.text.partition("the event loop has been blocked")[2]
        assert 'by step "Crunch numbers" of block, execution block-1' in report
        assert "in spin" in report
        for worker in workers:
            assert "was declared dead" not in worker.text
