"""The app whose executions are in the databases, and a worker that dies in them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from worchflow import Context, NonRetryable, Retry, Worchflow

PREFIX = "orders"
LEFT_BEHIND = ("processing-1", "flagged-1")
"""Executions whose worker dies after their first step."""


def app_on(
    where: dict[str, Any], calls: list[str] | None = None, *, obey: bool = True
) -> Worchflow[Any]:
    """The app on a store.

    Its executions do what their data says if they `obey`, else they complete. `calls`
    collects the steps whose functions were called, as `<execution> <step>`.
    """
    app = Worchflow("orders", queue_prefix=PREFIX, **where)
    ready_to_die: set[str] = set()

    @app.function("order", retries=Retry(delays=["1m"]))
    async def order(ctx: Context[dict[str, Any]]) -> dict[str, Any]:
        def reserve() -> dict[str, int]:
            if calls is not None:
                calls.append(f"{ctx.event.id} Reserve")
            return {"shelf": 7}

        def charge() -> float:
            if calls is not None:
                calls.append(f"{ctx.event.id} Charge")
            return 12.5

        reserved = await ctx.step.run("Reserve", reserve)
        what = ctx.event.data["do"] if obey else "complete"
        if what == "fail":
            raise NonRetryable("no funds")
        if what == "retry":
            raise ValueError("try again")
        if what == "die":
            ready_to_die.add(ctx.event.id)
            if ready_to_die == set(LEFT_BEHIND):
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(60)
        return {**reserved, "paid": await ctx.step.run("Charge", charge)}

    return app


if __name__ == "__main__":
    asyncio.run(
        app_on(json.loads(sys.argv[1])).worker(concurrency=len(LEFT_BEHIND)).run()
    )
