"""An order that waits three days for its approval, through a deploy.

    python examples/approval.py

The first worker is stopped while the order waits, and another one, as a deploy would
start it, continues when somebody approves. A second order is approved by nobody. A day
is two seconds here.

With WORCHFLOW_REDIS_URL and WORCHFLOW_MONGO_URL it runs there, else on a new file.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from datetime import timedelta
from pathlib import Path

from worchflow import Context, Event, Worchflow, WorkerOptions

DAY = timedelta(seconds=2)

app = Worchflow("orders")


class Order(Event[str], name="order"):
    order_id: str
    amount: int


class Decision(Event[None], name="decision", key="order_id"):
    """What a person says of an order; the key says of which."""

    order_id: str
    approved: bool
    by: str


async def ask_for_approval(order_id: str, amount: int) -> None:
    print(f"please decide on {order_id}: {amount} EUR")


async def charge(order_id: str) -> None:
    print(f"charged {order_id}")


@app.function(Order)
async def handle_order(ctx: Context[Order]) -> str:
    order = ctx.data
    await ctx.step.run("Ask", ask_for_approval, order.order_id, order.amount)
    decision = await ctx.step.wait_for_event(
        "Decision", Decision, key=order.order_id, timeout=3 * DAY
    )
    if decision is None:
        return "dropped: nobody decided in three days"
    if not decision.approved:
        return f"refused by {decision.by}"
    await ctx.step.run("Charge", charge, order.order_id)
    return f"approved by {decision.by}"


async def main() -> None:
    # So short that the orders leave their worker at once.
    options = WorkerOptions(concurrency=2, park_for=0.05)
    async with app.client() as client:
        suspended = asyncio.Semaphore(0)
        worker = app.worker(options=options)
        worker.on("execution:suspended", lambda _: suspended.release())
        async with worker:
            order = await client.send(Order(order_id="o-1", amount=250))
            forgotten = await client.send(Order(order_id="o-2", amount=20))
            for _ in (order, forgotten):
                await suspended.acquire()
        waiting = await client.get(order.id)
        print(f"no worker runs, and it is {waiting.status}: {waiting.reason}")

        # From anywhere: a web page, a chat, `worchflow emit decision -A approval:app`.
        await client.emit(Decision(order_id="o-1", approved=True, by="Ada"))

        async with app.worker(options=options):
            print(f"o-1: {await order.result(timeout=60)}")
            print(f"o-2: {await forgotten.result(timeout=60)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        if "WORCHFLOW_REDIS_URL" not in os.environ:
            os.environ["WORCHFLOW_SQLITE_PATH"] = str(Path(temporary, "worchflow.db"))
        asyncio.run(main())
