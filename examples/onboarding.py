"""An onboarding series: a welcome, then reminders days apart, through a deploy.

    python examples/onboarding.py

The execution sleeps between two mails, without a worker: the first worker is stopped
after the welcome, and another one, as a deploy would start it, sends the rest. Days are
tenths of a second here. Mails are steps, so nobody gets one twice.

With WORCHFLOW_REDIS_URL and WORCHFLOW_MONGO_URL it runs there, else on a new file.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from datetime import timedelta
from pathlib import Path

from worchflow import Context, Event, ExecutionStatus, Worchflow, WorkerOptions

DAY = timedelta(seconds=0.1)
REMINDERS = (("Have you tried it?", 3), ("A trick that helps", 7), ("Goodbye?", 20))
"""What is sent, and how many days after the mail before."""

app = Worchflow("onboarding")
mails: list[str] = []


class SignedUp(Event[int], name="signed-up"):
    who: str


async def mail(who: str, subject: str) -> None:
    mails.append(f"{subject} -> {who}")
    print(mails[-1])


@app.function(SignedUp)
async def onboard(ctx: Context[SignedUp]) -> int:
    await ctx.step.run("Welcome", mail, ctx.data.who, "Welcome!")
    for subject, days in REMINDERS:
        await ctx.step.sleep("Wait for days", days * DAY)
        await ctx.step.run("Remind", mail, ctx.data.who, subject)
    return 1 + len(REMINDERS)


async def main() -> None:
    # So short that even these days are long enough to leave the worker.
    options = WorkerOptions(park_for=0.05)
    async with app.client() as client:
        async with app.worker(options=options):
            handle = await client.send(SignedUp(who="ada@example.com"))
            async for update in handle.updates():
                if update.status is ExecutionStatus.SLEEPING:
                    break
        sleeping = await client.get(handle.id)
        print(f"no worker runs, and it is {sleeping.status}: {sleeping.reason}")

        async with app.worker(options=options) as worker:
            sent = await handle.result(timeout=60)
            print(f"{sent} mails sent, {len(set(mails))} of them different")
            print(f"resumed {worker.parking.replayed} times, 1 attempt")
            assert len((await client.get(handle.id)).attempts) == 1
            assert sent == len(mails) == len(set(mails))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        if "WORCHFLOW_REDIS_URL" not in os.environ:
            os.environ["WORCHFLOW_SQLITE_PATH"] = str(Path(temporary, "worchflow.db"))
        asyncio.run(main())
