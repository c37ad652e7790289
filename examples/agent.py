"""An agent whose model calls are steps, and whose dangerous tool asks a person first.

    python examples/agent.py

Each answer of the model and each result of a tool is recorded, so a crash or a deploy
in the middle costs no call twice. Before the agent deletes anything it asks, and leaves
its worker until somebody answers. The model here is a few lines that stand in for a
real one. With WORCHFLOW_REDIS_URL and WORCHFLOW_MONGO_URL it runs there, else on a new
file.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from worchflow import Context, Event, Worchflow, WorkerOptions

MAX_TURNS = 10

app = Worchflow("agent")
calls: list[str] = []
mailbox: list[str] = []
files = {"draft.txt": 3, "old.log": 9000, "notes.txt": 12}


class CleanUp(Event[str], name="clean-up"):
    goal: str


class Reply(BaseModel):
    """What the model wants next."""

    tool: Literal["list", "delete", "done"]
    argument: str = ""


class Decision(BaseModel):
    """What a person says to a dangerous call."""

    allowed: bool
    reason: str = ""


async def ask_model(goal: str, history: list[str]) -> Reply:
    calls.append("model")
    if not history:
        return Reply(tool="list")
    if history[-1].startswith("files:"):
        return Reply(tool="delete", argument="old.log")
    return Reply(tool="done", argument=f"{goal}: {history[-1]}")


async def list_files() -> str:
    calls.append("list")
    return "files: " + ", ".join(f"{name} ({size} kB)" for name, size in files.items())


async def delete(name: str) -> str:
    calls.append("delete")
    files.pop(name, None)
    return f"{name} is deleted"


async def notify(token_id: str, question: str) -> None:
    print(f"to the owner: {question} (answer with {token_id[:4]}…)")
    mailbox.append(token_id)


@app.function(CleanUp)
async def agent(ctx: Context[CleanUp]) -> str:
    history: list[str] = []
    for _ in range(MAX_TURNS):
        reply = await ctx.step.run("Model", ask_model, ctx.data.goal, history)
        if reply.tool == "done":
            return reply.argument
        if reply.tool == "list":
            history.append(await ctx.step.run("List files", list_files))
            continue
        token = await ctx.step.token("Owner", Decision, timeout="3d")
        question = f"delete {reply.argument}?"
        await ctx.step.run("Notify", notify, token.id, question)
        decision = await token
        if decision is not None and decision.allowed:
            history.append(await ctx.step.run("Delete", delete, reply.argument))
        else:
            history.append(f"not allowed to delete {reply.argument}")
    return "gave up"


async def main() -> None:
    options = WorkerOptions(park_for=0.05)
    async with app.client() as client:
        suspended = asyncio.Event()
        worker = app.worker(options=options)
        worker.on("execution:suspended", lambda _: suspended.set())
        async with worker:
            handle = await client.send(CleanUp(goal="make room"))
            await suspended.wait()
        waiting = await client.get(handle.id)
        print(f"no worker runs, and it is {waiting.status}: {waiting.reason}")

        # From the route of a form, or `worchflow complete TOKEN -d …`.
        await client.complete(mailbox[0], Decision(allowed=True))

        async with app.worker(options=options):
            print(await handle.result(timeout=60))
    print(f"calls: {', '.join(calls)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        if "WORCHFLOW_REDIS_URL" not in os.environ:
            os.environ["WORCHFLOW_SQLITE_PATH"] = str(Path(temporary, "worchflow.db"))
        asyncio.run(main())
