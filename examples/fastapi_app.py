"""A web application that sends events and reads results.

It needs, besides Worchflow:

    pip install fastapi uvicorn             to serve it
    pip install fastapi httpx2              to try it out without a server

From the folder above this one:

    uvicorn examples.fastapi_app:web        serve it
    python examples/fastapi_app.py          try it out without a server

`app.lifespan()` opens one client for the whole application. With `concurrency` a
worker runs in the web process too, which is handy while developing; in production
leave it out and start workers as separate processes:

    worchflow worker examples.fastapi_app:app

Callers are strangers here. So a payment with a misspelt field is refused, and what an
exception says, its traceback and the worker's id stay inside.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from worchflow import (
    Context,
    Event,
    Execution,
    ExecutionFailed,
    NonRetryable,
    Page,
    StepRecord,
    Worchflow,
    WorchflowClient,
)
from worchflow.integrations.starlette import answer_errors

LIMIT = 1000

app = Worchflow("payments")


class Receipt(BaseModel):
    transaction: str
    amount: int


class Pay(Event[Receipt], name="pay"):
    model_config = ConfigDict(extra="forbid")  # other fields in a request are a 422
    amount: int
    customer: str


async def charge(amount: int, customer: str) -> Receipt:
    if amount > LIMIT:
        raise NonRetryable(f"{customer} may not spend {amount}")
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

# What strangers are not told: the words and the traceback of an exception, and which
# worker runs it. Leave this out where all callers may know.
PRIVATE_ERROR = {"message", "traceback"}
PRIVATE: dict[str, Any] = {"error": PRIVATE_ERROR, "attempts": True, "worker": True}


class Accepted(BaseModel):
    id: str
    duplicate: bool


@web.post("/payments/{order}", status_code=202)
async def start_payment(order: str, payment: Pay, client: Client) -> Accepted:
    """Accept a payment; a repeated request for one order starts nothing new."""
    handle = await client.send(payment, id=f"payment-{order}")
    return Accepted(id=handle.id, duplicate=handle.duplicate)


@web.get("/payments/{order}", response_model_exclude=PRIVATE)
async def read_payment(order: str, client: Client) -> Execution:
    """How far a payment is; the records of the library are described in OpenAPI."""
    return await client.get(f"payment-{order}")


@web.get("/payments", response_model_exclude={"items": {"__all__": PRIVATE}})
async def list_payments(client: Client, cursor: str | None = None) -> Page[Execution]:
    """The newest payments, fifty at a time."""
    return await client.list(function="pay", cursor=cursor)


@web.get(
    "/payments/{order}/steps",
    response_model_exclude={"__all__": {"error": PRIVATE_ERROR}},
)
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
    except ExecutionFailed as error:
        raise HTTPException(409, "the payment failed") from error


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

        misspelt = {"amount": 1, "customer": "cust_1", "amonut": 2}
        assert browser.post("/payments/2", json=misspelt).status_code == 422
        browser.post("/payments/3", json=order | {"amount": LIMIT + 1})
        answer = browser.get("/payments/3/receipt")
        print(answer.status_code, answer.json())
        assert answer.status_code == 409
        failed = browser.get("/payments/3").json()
        assert failed["error"] == {"type": "NonRetryable", "step": "Charge"}
        assert "worker" not in failed
        assert "may not spend" not in browser.get("/payments").text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORCHFLOW_SQLITE_PATH"] = str(Path(folder, "worchflow.db"))
        try_it()
