"""Steps that fork children which exit, raise or return; one started in a child."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable

from worchflow import StepError, SyncContext, Worchflow

app = Worchflow("children")


def exits() -> None:
    sys.exit(3)


def raises() -> None:
    raise ValueError("in the child")


def returns() -> None:
    pass


def exit_code(child: int) -> int | str:
    """How a child ended; one that does not end is killed."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "never ended"


def fork(work: Callable[[], None]) -> int | str:
    child = os.fork()
    if child == 0:
        work()
        return "the child"
    return exit_code(child)


@app.function("children")
def children(ctx: SyncContext[None]) -> list[int | str]:
    codes = [ctx.step.run(f.__name__, fork, f) for f in (exits, raises, returns)]
    child = os.fork()
    if child == 0:
        try:
            ctx.step.run("In the child", returns)
        except StepError as error:
            print(error, flush=True)
        os._exit(4)
    return [*codes, exit_code(child)]


async def main() -> None:
    async with app.client() as client:
        handle = await client.send({"name": "children", "data": None})
        await app.worker().run(burst=True)
        print(await handle.result(timeout=10))


asyncio.run(main())
