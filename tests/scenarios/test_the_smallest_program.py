"""A function of two steps runs, and its sender gets the typed result."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from worchflow import Context, Event, ExecutionStatus, SyncContext, Worchflow


class Receipt(BaseModel):
    transaction: str
    amount: int


class Pay(Event[Receipt], name="pay"):
    amount: int
    customer: str


def validate(amount: int) -> int:
    return amount


async def charge(amount: int, customer: str) -> Receipt:
    return Receipt(transaction=f"txn-{customer}", amount=amount)


async def test_the_sender_gets_the_typed_result(app: Worchflow[Any]) -> None:
    @app.function(Pay, retries=3)
    async def pay(ctx: Context[Pay]) -> Receipt:
        amount = await ctx.step.run("Validate", validate, ctx.data.amount)
        return await ctx.step.run("Charge", charge, amount, customer=ctx.data.customer)

    async with app.client() as client, app.worker(concurrency=10):
        handle = await client.send(Pay(amount=100, customer="cust_1"))

        result = await handle.result(timeout=10)

        assert result == Receipt(transaction="txn-cust_1", amount=100)
        execution = await client.get(handle.id)
        assert execution.status is ExecutionStatus.COMPLETED
        assert execution.data == {"amount": 100, "customer": "cust_1"}
        assert execution.attempt_count == 0
        assert execution.function_id == "pay"
        steps = await client.steps(handle.id)
        assert [step.title for step in steps] == ["Validate", "Charge"]
        assert steps[0].result == 100


async def test_a_plain_handler_runs_in_a_thread(app: Worchflow[Any]) -> None:
    @app.function(Pay)
    def pay(ctx: SyncContext[Pay]) -> Receipt:
        amount = ctx.step.run("Validate", validate, ctx.data.amount)
        return ctx.step.run("Charge", charge, amount, ctx.data.customer)

    async with app.client() as client, app.worker():
        handle = await client.send(Pay(amount=7, customer="a"))

        assert (await handle.result(timeout=10)).amount == 7


async def test_a_failed_attempt_resumes_after_the_last_recorded_step(
    app: Worchflow[Any],
) -> None:
    calls: list[str] = []

    def first() -> int:
        calls.append("first")
        return 1

    def second() -> int:
        calls.append("second")
        if calls.count("second") < 3:
            raise ConnectionError("the provider is down")
        return 2

    @app.function("flaky", retries=3, retry_delay=0.01)
    async def flaky(ctx: Context[None]) -> int:
        return await ctx.step.run("first", first) + await ctx.step.run("second", second)

    async with app.client() as client, app.worker():
        handle = await client.send(flaky())

        assert await handle.result(timeout=10) == 3
        assert calls == ["first", "second", "second", "second"]
        assert (await client.get(handle.id)).attempt_count == 2
