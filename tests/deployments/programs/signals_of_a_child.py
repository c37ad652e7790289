"""A step forks a child and ends it: with SIGTERM, then another with SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from worchflow import Context, Worchflow

app = Worchflow("children")


def end_a_child(number: int) -> int:
    """The exit code of a child that got a signal; it would sleep for minutes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, b"ready")
            # One long sleep would not notice a signal that comes right before it.
            end = time.monotonic() + 120
            while time.monotonic() < end:
                time.sleep(0.05)
        except KeyboardInterrupt:
            os._exit(100 + number)
        os._exit(1)
    os.read(reading, 5)
    os.kill(child, number)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 0


@app.function("end-children")
async def end_children(ctx: Context[None]) -> list[int]:
    return [
        await ctx.step.run("End", end_a_child, number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
    ]


async def main() -> None:
    async with app.client() as client:
        handle = await client.send({"name": "end-children", "data": None})
        received = await app.worker().run(burst=True)
        print(await handle.result(timeout=10), received)


if sys.argv[1:] == ["uvloop"]:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
