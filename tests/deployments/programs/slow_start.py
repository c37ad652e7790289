"""An app whose module or lifespan takes its time, as `SLOW` says."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worchflow import Context, Event, Worchflow


def tell(what: str) -> None:
    """Write a line that the test waits for."""
    print(what, file=sys.stderr, flush=True)


@asynccontextmanager
async def lifespan(_app: Worchflow[None]) -> AsyncIterator[None]:
    try:
        tell("lifespan entered")
        await asyncio.sleep(60 if os.environ["SLOW"] == "lifespan" else 0)
        yield
    finally:
        tell("lifespan left")


app = Worchflow("slow", lifespan=lifespan)


class Tick(Event[None], name="tick"): ...


@app.function(Tick)
async def tick(ctx: Context[Tick]) -> None: ...


tell("module begun")
time.sleep(60 if os.environ["SLOW"] == "module" else 0)
