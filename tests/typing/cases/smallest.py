"""The smallest program, without a single annotation beyond its signatures."""

from __future__ import annotations

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
    data = ctx.data
    amount = await ctx.step.run("Validate payment", validate, data.amount)
    return await ctx.step.run(
        "Charge provider", charge_card, amount, customer=data.customer_id
    )


async def main() -> None:
    async with app.client() as client, app.worker(concurrency=10):
        handle = await client.send(ProcessPayment(amount=100, customer_id="cust_1"))
        print((await handle.result(timeout=30)).upper())


async def wrong() -> None:
    ProcessPayment(amount="100", customer_id="c")  # BAD
    ProcessPayment(amount=100)  # BAD
    ProcessPayment(amount=100, customer_id="c", tip=1)  # BAD
    async with app.client() as client:
        handle = await client.send(ProcessPayment(amount=1, customer_id="c"))
        number: int = await handle.result()  # BAD
        print(number)


@app.function(ProcessPayment, id="typos")
async def with_typos(ctx: Context[ProcessPayment]) -> str:
    print(ctx.data.customer)  # BAD
    await ctx.step.run("Charge", charge_card, "1", "c")  # BAD
    return ctx.data.amount  # BAD
