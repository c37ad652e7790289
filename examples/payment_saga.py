"""Reserve, charge, ship, or undo in reverse order (a saga); survives `kill -9`.

    python examples/payment_saga.py

It sends one order and starts a worker in its own process. While the worker
waits for the courier it is killed. A second worker takes the order over: what was
recorded is not done again. Then the courier refuses for good, and the handler pays
the money back and puts the goods on the shelf again.

Everything the outside world would see is a line in a ledger file. At the end the
ledger is checked: each effect happened once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from worchflow import Context, Event, ExecutionStatus, StepFailed, Worchflow

LEDGER = Path(os.environ.get("SAGA_LEDGER", "ledger.txt"))

app = Worchflow("saga")


class PlaceOrder(Event[str], name="place-order"):
    item: str
    amount: int


class CourierRefused(Exception):
    """The courier does not take the parcel."""


# --- the outside world: a warehouse, a bank, a courier ----------------------------


def note(line: str) -> None:
    """Tell the ledger and whoever watches this process."""
    with LEDGER.open("a") as ledger:
        ledger.write(f"{line}\n")
    print(f"      worker {os.getpid()}: {line}", flush=True)


def reserve(item: str) -> str:
    note(f"reserved one {item}")
    return f"shelf-7/{item}"


def charge(amount: int, key: str) -> str:
    # A real bank gets the key: if the worker died right after this call and before
    # its result was recorded, the bank would see the same key twice and charge once.
    note(f"charged {amount} under the key {key}")
    return f"payment-{amount}"


def happened(effect: str) -> bool:
    return effect in LEDGER.read_text()


async def ship(place: str) -> str:
    first_call = not happened("called the courier")
    note("called the courier")
    if first_call:
        await asyncio.sleep(3600)  # the line is busy: the worker is killed here
    raise CourierRefused(f"nobody collects from {place} today")


def refund(payment: str) -> None:
    note(f"refunded {payment}")


def release(place: str) -> None:
    note(f"released {place}")


# --- the saga ---------------------------------------------------------------------


@app.function(PlaceOrder)
async def place_order(ctx: Context[PlaceOrder]) -> str:
    place = await ctx.step.run("Reserve goods", reserve, ctx.data.item)
    key = ctx.idempotency_key("Charge card")
    payment = await ctx.step.run("Charge card", charge, ctx.data.amount, key)
    try:
        # With its own retries, a step that has used them up raises StepFailed.
        # That is recorded like a result, so a compensation is never followed by
        # another try of what it compensates.
        return await ctx.step.options(retries=2).run("Ship parcel", ship, place)
    except StepFailed as failed:
        await ctx.step.run("Refund card", refund, payment)
        await ctx.step.run("Release goods", release, place)
        return f"cancelled and paid back: {failed.error_message}"


# --- the story --------------------------------------------------------------------


@contextmanager
def worker() -> Generator[subprocess.Popen[str]]:
    """A worker in its own process, whose output can be read line by line."""
    command = [sys.executable, __file__, "worker"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def watch(process: subprocess.Popen[str], until: str) -> None:
    """Show what a worker prints until it says the given words."""
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="")
        if until in line:
            return
    raise SystemExit(f"the worker ended before it said: {until}")


async def story() -> None:
    async with app.client() as client:
        handle = await client.send(PlaceOrder(item="lamp", amount=40), id="order-1")
        print(f"1. accepted {handle.id}, it is {await handle.status()}")

        print("2. the first worker takes it")
        with worker() as first:
            await asyncio.to_thread(watch, first, "called the courier")
            first.send_signal(signal.SIGKILL)
            first.wait()
        print(f"3. worker {first.pid} was killed with SIGKILL in the middle of a step")
        for step in await client.steps(handle.id):
            print(f"      recorded so far: {step.title} -> {step.result}")

        print("4. the second worker takes over")
        with worker() as second:
            await asyncio.to_thread(watch, second, "released")
            result = await handle.result(timeout=30)
        print(f"5. the result: {result}")

        execution = await client.get(handle.id)
        print(
            f"   {execution.status}, {execution.recoveries} recovery, "
            f"{execution.attempt_count} failed attempts"
        )
        assert execution.status is ExecutionStatus.COMPLETED
        for step in await client.steps(handle.id):
            print(f"   {step.title:14} {step.status}, tried {step.attempts} time(s)")


def check_ledger() -> None:
    lines = LEDGER.read_text().splitlines()
    for effect in ("reserved", "charged", "refunded", "released"):
        assert sum(line.startswith(effect) for line in lines) == 1, effect
    print("6. the ledger: reserved, charged, refunded and released once each")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Both workers inherit these; the app above reads the first when it opens.
        os.environ["WORCHFLOW_SQLITE_PATH"] = str(Path(folder, "worchflow.db"))
        os.environ["SAGA_LEDGER"] = str(Path(folder, "ledger.txt"))
        globals()["LEDGER"] = Path(os.environ["SAGA_LEDGER"])
        LEDGER.touch()
        asyncio.run(story())
        check_ledger()


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        asyncio.run(app.worker().run())
    else:
        main()
