"""A web application that sends events and reads results.

    uvicorn examples.fastapi_app:web        serve it
    python examples/fastapi_app.py          try it out without a server

`app.lifespan()` opens one client for the whole application. With `concurrency` a
worker runs in the web process too, which is handy while developing; in production
leave it out and start workers as processes of their own:

    worchflow worker examples.fastapi_app:app
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from worchflow import (
    Context,
    Event,
    Execution,
    Page,
    StepRecord,
    Worchflow,
    WorchflowClient,
)
from worchflow.integrations.starlette import answer_errors

app = Worchflow("payments")


class Receipt(BaseModel):
    transaction: str
    amount: int


class Pay(Event[Receipt], name="pay"):
    amount: int
    customer: str


async def charge(amount: int, customer: str) -> Receipt:
    return Receipt(transaction=f"txn-{customer}", amount=amount)


@app.function(Pay, retries=3)
async def pay(ctx: Context[Pay]) -> Receipt:
    return await ctx.step.run("Charge", charge, ctx.data.amount, ctx.data.customer)


# --- the web side -----------------------------------------------------------------

web = FastAPI(lifespan=app.lifespan(concurrency=4))
answer_errors(web)  # an unknown id is a 404, other data under an id a 409, and so on


def open_client(request: Request) -> WorchflowClient:
    """The client that the lifespan opened."""
    client: WorchflowClient = request.state.worchflow
    return client


Client = Annotated[WorchflowClient, Depends(open_client)]


class Accepted(BaseModel):
    id: str
    duplicate: bool


@web.post("/payments/{order}", status_code=202)
async def start_payment(order: str, payment: Pay, client: Client) -> Accepted:
    """Accept a payment; a repeated request for one order starts nothing new."""
    handle = await client.send(payment, id=f"payment-{order}")
    return Accepted(id=handle.id, duplicate=handle.duplicate)


@web.get("/payments/{order}")
async def read_payment(order: str, client: Client) -> Execution:
    """How far a payment is; the records of the library are described in OpenAPI."""
    return await client.get(f"payment-{order}")


@web.get("/payments")
async def list_payments(client: Client, cursor: str | None = None) -> Page[Execution]:
    """The newest payments, fifty at a time."""
    return await client.list(function="pay", cursor=cursor)


@web.get("/payments/{order}/steps")
async def read_steps(order: str, client: Client) -> list[StepRecord]:
    """What a payment has done so far."""
    return await client.steps(f"payment-{order}")


@web.get("/payments/{order}/receipt")
async def wait_for_receipt(order: str, client: Client) -> Receipt:
    """Wait up to ten seconds for the receipt."""
    try:
        return await client.handle(f"payment-{order}", Pay).result(timeout=10)
    except TimeoutError as error:
        raise HTTPException(504, "not done yet") from error


def try_it() -> None:
    from fastapi.testclient import TestClient  # noqa: PLC0415 - only to try it out

    with TestClient(web) as browser:
        order = {"amount": 100, "customer": "cust_1"}
        for duplicate in (False, True):
            answer = browser.post("/payments/1", json=order)
            print(answer.status_code, answer.json())
            assert answer.json() == {"id": "payment-1", "duplicate": duplicate}

        answer = browser.get("/payments/1/receipt")
        print(answer.status_code, answer.json())
        assert answer.json() == {"transaction": "txn-cust_1", "amount": 100}

        answer = browser.get("/payments/1")
        print(answer.status_code, answer.json()["status"], answer.json()["result"])
        assert answer.json()["status"] == "completed"
        assert browser.get("/payments").json()["items"] == [answer.json()]
        steps = browser.get("/payments/1/steps").json()
        assert [step["title"] for step in steps] == ["Charge"]
        assert "Execution" in browser.get("/openapi.json").text

        other = browser.post("/payments/1", json=order | {"amount": 7})
        print(other.status_code, other.json())
        assert other.status_code == 409
        assert browser.get("/payments/2").status_code == 404


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORCHFLOW_SQLITE_PATH"] = str(Path(folder, "worchflow.db"))
        try_it()
