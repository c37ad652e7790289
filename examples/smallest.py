"""The smallest program: one event, one function of two steps, one worker."""

from __future__ import annotations

import asyncio

from worchflow import Context, Event, Worchflow

app = Worchflow("shop")


class ProcessPayment(Event[str], name="process-payment"):
    amount: int
    customer_id: str


def validate(amount: int) -> int:
    return amount


async def charge_card(amount: int, customer: str) -> str:
    return f"txn-{customer}-{amount}"


@app.function(ProcessPayment, retries=3)
async def process_payment(ctx: Context[ProcessPayment]) -> str:
    amount = await ctx.step.run("Validate payment", validate, ctx.data.amount)
    return await ctx.step.run(
        "Charge provider", charge_card, amount, customer=ctx.data.customer_id
    )


async def main() -> None:
    async with app.client() as client, app.worker(concurrency=10):
        handle = await client.send(ProcessPayment(amount=100, customer_id="cust_1"))
        print(await handle.result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
