"""Worchflow as it is measured: a worker, a sender, or a closer look at one store call.

Started as `python -m worchflow.bench.programs.worchflow_program SETTINGS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ...app import Worchflow
from ...definitions.context import Context  # noqa: TC001 - read at run time
from ...foundations.errors import ExecutionFailed, NonRetryable
from ...model.records import NewExecution, WorkerRecord
from ...worker.process import loop_factory, tune_garbage_collector
from .speech import (
    Completions,
    Line,
    gather_in_flight,
    on_lines,
    read_settings,
    say,
    serve,
    serve_sender,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...client.client import WorchflowClient
    from ...storage.contract.backend import Backend
    from ...storage.contract.workers import WorkerHint

SENT_AT_ONCE = 1_000
IN_FLIGHT = 500
"""Sends of one event each that are under way at once."""
CLAIMED_AT_ONCE = 100
TIMEOUT = 60.0


async def no_op(value: Any) -> Any:
    """A step's function that does nothing."""
    return value


def make_app(settings: Line) -> Worchflow[Any]:
    """The app that all roles share, on the store of the settings."""
    stores = {"redis_url", "mongo_url", "sqlite", "queue_prefix", "durability"}
    app = Worchflow[Any](
        "bench", **{name: settings[name] for name in stores & settings.keys()}
    )

    @app.function("three-steps")
    async def three_steps(ctx: Context[Any]) -> Any:
        await ctx.step.run("first", no_op, ctx.data)
        await ctx.step.run("second", no_op, ctx.data)
        return await ctx.step.run("third", no_op, ctx.data)

    @app.function("many-steps")
    async def many_steps(ctx: Context[int]) -> int:
        for number in range(ctx.data):
            await ctx.step.run("step", no_op, number)
        if ctx.token == 1:  # claimed for the first time
            raise NonRetryable("so that there is something to resume")
        return ctx.data

    return app


async def worker(app: Worchflow[Any], settings: Line) -> None:
    """Run what is sent, and report how much is done."""
    completions = Completions()
    go = asyncio.Event()
    on_lines(lambda _: go.set())
    worcher = app.worker(concurrency=settings["concurrency"])
    worcher.on("execution:complete", lambda _: completions.add())
    worcher.on("ready", lambda _: completions.begin())
    tune_garbage_collector()  # as `worchflow worker` does
    say(ready=True)
    await go.wait()
    async with worcher:
        await asyncio.Event().wait()


async def sender(app: Worchflow[Any], settings: Line) -> None:
    """Send many at once, or one after another with its result."""
    function = app.registry.for_event("three-steps")
    if function is None:
        raise AssertionError("the app has this function")
    data: Any = "x" * settings["payload"] if settings.get("payload") else 1
    async with app.client() as client:

        async def send(count: int) -> None:
            if settings["singly"]:
                await gather_in_flight(
                    count, IN_FLIGHT, lambda: client.send(function(data))
                )
                return
            for start in range(0, count, SENT_AT_ONCE):
                part = min(SENT_AT_ONCE, count - start)
                await client.send_many([function(data) for _ in range(part)])

        async def one() -> None:
            handle = await client.send(function(data))
            await handle.result(timeout=TIMEOUT)

        await serve_sender(send, one)


async def resume(app: Worchflow[Any], _: Line) -> None:
    """Seconds from retrying a failed execution of many recorded steps to its result."""
    async with app.client() as client:

        async def answer(line: Line) -> Line:
            return {"seconds": await _resume(client, line["resume"])}

        await serve(answer)


async def _resume(client: WorchflowClient[Any], steps: int) -> float:
    handle = await client.send({"name": "many-steps", "data": steps})
    with contextlib.suppress(ExecutionFailed):
        await handle.result(timeout=TIMEOUT)
    began = time.perf_counter()
    await client.retry(handle.id)
    result = await handle.result(timeout=TIMEOUT)
    seconds = time.perf_counter() - began
    if result != steps:
        raise AssertionError(f"it gave {result!r} for {steps} steps")
    return seconds


async def claims(app: Worchflow[Any], _: Line) -> None:
    """Seconds of claims, with as many executions queued as was asked for."""
    backend = app.backend()
    await backend.open()
    event = "waiting-in-line"
    record = WorkerRecord(
        id=uuid4().hex,
        functions={event: event},
        concurrency=CLAIMED_AT_ONCE,
        host="bench",
        pid=os.getpid(),
        started_at=datetime.now(UTC),
    )
    await backend.workers.join(record, _not_told)

    async def answer(line: Line) -> Line:
        if "fill" in line:
            await fill(backend, event, line["fill"])
            return {"filled": line["fill"]}
        backend.workers.renew(record.id)
        return {"seconds": await _claim(backend, record, line["claim"])}

    await serve(answer)
    await backend.close()


def _not_told(_hint: WorkerHint, _execution_id: str) -> None:
    """Nothing is cancelled here."""


async def _claim(backend: Backend, record: WorkerRecord, count: int) -> float:
    began = time.perf_counter()
    while count > 0:
        claimed = await backend.claims.claim(
            record, min(count, CLAIMED_AT_ONCE), TIMEOUT
        )
        if not claimed:
            raise AssertionError("the queue is empty")
        count -= len(claimed)
    return time.perf_counter() - began


async def delayed(app: Worchflow[Any], _: Line) -> None:
    """Insert executions that are due in a day."""
    backend = app.backend()
    await backend.open()

    async def answer(line: Line) -> Line:
        await fill(backend, "three-steps", line["fill"], delay=24 * 3600.0)
        return {"filled": line["fill"]}

    await serve(answer)
    await backend.close()


async def fill(
    backend: Backend, event: str, count: int, delay: float | None = None
) -> None:
    """Insert many executions in batches, two of them under way at once."""
    batches = [
        min(SENT_AT_ONCE, count - start) for start in range(0, count, SENT_AT_ONCE)
    ]

    async def write_behind() -> None:
        while batches:
            now = datetime.now(UTC)
            await backend.executions.insert(
                [
                    NewExecution(
                        id=str(uuid4()),
                        event_name=event,
                        event_data="1",
                        nonce=uuid4().hex,
                        created_at=now,
                        delay=delay,
                    )
                    for _ in range(batches.pop())
                ]
            )

    await asyncio.gather(write_behind(), write_behind())


ROLES: dict[str, Callable[[Worchflow[Any], Line], Awaitable[None]]] = {
    "worker": worker,
    "sender": sender,
    "resume": resume,
    "claims": claims,
    "delayed": delayed,
}


def main() -> None:
    """Play the role that the settings name."""
    settings = read_settings()

    async def play() -> None:
        await ROLES[settings["role"]](make_app(settings), settings)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(play())


if __name__ == "__main__":
    main()
