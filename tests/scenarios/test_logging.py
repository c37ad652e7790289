"""Log lines carry the execution, function, attempt and step as fields."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from worchflow import Context, Retry, SyncContext, Worchflow
from worchflow.model.options import WorkerOptions

FIELDS = ("execution_id", "function", "attempt", "step")


def fields(record: logging.LogRecord) -> tuple[Any, ...]:
    return tuple(vars(record).get(name) for name in FIELDS)


async def test_the_contexts_log_knows_where_it_is(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worchflow")

    @app.function("logs", id="logging")
    async def logs(ctx: Context[None]) -> None:
        ctx.log.info("in the %s", "handler", extra={"order": 7, "attempt": 99})
        await ctx.step.run("thread", lambda: ctx.log.warning("in the thread"))

    @app.function("plain-logs")
    def plain(ctx: SyncContext[None]) -> None:
        ctx.log.info("in the plain handler")

    async with app.client() as client, app.worker():
        handle = await client.send({"name": "logs", "data": None})
        await handle.result(timeout=10)
        other = await client.send({"name": "plain-logs", "data": None})
        await other.result(timeout=10)

    lines = {each.getMessage(): each for each in caplog.records}
    line = lines["in the handler"]
    # What the caller says wins.
    assert fields(line) == (handle.id, "logging", 99, None)
    assert vars(line)["order"] == 7
    assert line.name == "worchflow.execution"
    assert fields(lines["in the thread"]) == (handle.id, "logging", 1, "thread")
    plain_line = lines["in the plain handler"]
    assert fields(plain_line) == (other.id, "plain-logs", 1, None)


async def test_retries_say_what_happens_next(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("private words")
        return len(tries)

    @app.function("retries", retry_delay=0)
    async def retries(ctx: Context[None]) -> int:
        if ctx.attempt == 1:
            raise TimeoutError
        policy = Retry(max_retries=3, delay=0)
        return await ctx.step.options(retries=policy).run("flaky", flaky)

    async with app.client() as client, app.worker():
        handle = await client.send(retries())
        assert await handle.result(timeout=10) == 3

    told = {each.getMessage(): each for each in caplog.records}
    attempt = next(text for text in told if text.startswith("attempt 1"))
    assert "failed with TimeoutError; the next starts in 0 s" in attempt
    assert fields(told[attempt]) == (handle.id, "retries", 1, None)
    step = next(text for text in told if "failed on try 2 (ConnectionError)" in text)
    assert fields(told[step]) == (handle.id, "retries", 2, "flaky")
    assert "private words" not in "".join(told)


@pytest.mark.allow_blocking("it blocks the loop to see that reported")
async def test_a_blocked_event_loop_is_reported_with_its_culprit(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    reported: list[logging.LogRecord] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # A busy machine may block the loop elsewhere as well.
            if "has been blocked" in record.getMessage() and "in spin" in (
                record.getMessage()
            ):
                reported.append(record)

    def spin() -> None:
        end = time.monotonic() + 0.5
        while not reported and time.monotonic() < end:
            pass

    @app.function("blocks", timeout=10)
    async def blocks(ctx: Context[None]) -> None:
        async def work() -> None:
            while not reported:
                spin()
                # What was reported before is over once the loop has had a turn.
                await asyncio.sleep(0)

        await ctx.step.run("work", work)

    watch = Watch()
    logging.getLogger("worchflow.worker").addHandler(watch)
    try:
        options = WorkerOptions(blocked_loop_after=0.05)
        async with app.client() as client, app.worker(options=options):
            handle = await client.send(blocks())
            await handle.result(timeout=10)
    finally:
        logging.getLogger("worchflow.worker").removeHandler(watch)

    (record, *_) = reported
    assert 'by step "work" of blocks' in record.getMessage()
    # The stack begins in the user's code.
    assert "run_forever" not in record.getMessage()
    assert fields(record) == (handle.id, "blocks", 1, "work")
