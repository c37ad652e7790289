"""The demo's app: an order in five steps of about a second each.

Every step appends a line to a file when it starts and when it is done, outside of
Worchflow's own records: that file is the proof of what really ran, and where.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import uuid4

from worchflow import Context, Event, Worchflow

SECONDS = float(os.environ.get("DEMO_STEP_SECONDS", "1"))
LEDGER = Path(os.environ.get("DEMO_LEDGER", "ledger.txt"))

app = Worchflow("shop")


class ShipOrder(Event[str], name="ship-order"):
    item: str
    price: int


def note(what: str, step: str, value: str = "") -> None:
    """Append one line; a small append to a file is never torn or lost by a kill."""
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(f"{what}\t{step}\t{os.getpid()}\t{value}\n")


async def work(step: str, value: str) -> str:
    note("start", step)
    await asyncio.sleep(SECONDS)
    note("done", step, value)
    return value


async def reserve(item: str) -> str:
    return await work("Reserve the item", f"shelf-7/{item}")


async def charge(price: int) -> str:
    return await work("Charge the card", f"payment-{price}-{uuid4().hex[:8]}")


async def invoice(payment: str) -> str:
    return await work("Write the invoice", f"invoice for {payment}")


async def pack(place: str) -> str:
    return await work("Pack the parcel", f"parcel from {place}")


async def post(parcel: str, invoice: str) -> str:
    return await work("Post the parcel", f"{parcel}, {invoice}")


@app.function(ShipOrder)
async def ship_order(ctx: Context[ShipOrder]) -> str:
    place = await ctx.step.run("Reserve the item", reserve, ctx.data.item)
    payment = await ctx.step.run("Charge the card", charge, ctx.data.price)
    paper = await ctx.step.run("Write the invoice", invoice, payment)
    parcel = await ctx.step.run("Pack the parcel", pack, place)
    return await ctx.step.run("Post the parcel", post, parcel, paper)
