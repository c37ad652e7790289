"""A program that forgets to close things ends all the same, quietly and at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROLOGUE = """
import asyncio, logging, sys, threading, time
from worchflow import Context, Worchflow

app = Worchflow("forgetful", **{where!r})

@app.function("work")
async def work(ctx: Context[None]) -> str:
    return await ctx.step.run("work", lambda: "done")

@app.function("block")
async def block(ctx: Context[None]) -> None:
    await ctx.step.run("block", began.wait_for_ever)

class Began(threading.Event):
    def wait_for_ever(self) -> None:
        self.set()
        threading.Event().wait()

began = Began()

async def started() -> None:
    while not began.is_set():
        await asyncio.sleep(0.005)
"""

PROGRAMS = {
    "a client that is never closed": """
async def main():
    client = app.client()
    await client.send(work())
    print("end")
asyncio.run(main())
""",
    "a worker that is never stopped": """
async def main():
    client = app.client()
    worker = app.worker()
    await worker.start()
    handle = await client.send(work())
    print(await handle.result(timeout=10))
    print("end")
asyncio.run(main())
""",
    "a sync client that is never closed": """
client = app.client()
client.sync.send(work())
print("end")
""",
    "a worker stopped while a thread of it never ends": """
async def main():
    async with app.client() as client:
        worker = app.worker()
        await worker.start()
        await client.send(block())
        await started()
        await worker.stop(timeout=0)
    print("end")
asyncio.run(main())
""",
    "a worker left alone while a thread of it never ends": """
async def main():
    client = app.client()
    worker = app.worker()
    await worker.start()
    await client.send(block())
    await started()
    print("end")
asyncio.run(main())
""",
    "an error in the middle": """
async def main():
    async with app.client() as client, app.worker():
        await client.send(block())
        await started()
        print("end")
        sys.exit(0)
import worchflow.worker.worcher
worchflow.worker.worcher.Worcher.stop.__kwdefaults__
worchflow.worker.worcher.Worcher.stop.__defaults__ = (0,)
asyncio.run(main())
""",
}


ON_ONE_LOOP_AFTER_ANOTHER = """
async def count():
    await client.counts()
client = app.client()
loop = asyncio.new_event_loop()
loop.run_until_complete(count())
loop.close()
async def main():
    async with client:
        await count()
    print("end")
asyncio.run(main())
"""

ONE_RUN_AFTER_ANOTHER = """
async def main():
    handle = await client.send(work())
    assert await handle.status() == "queued"
logging.basicConfig(level=logging.WARNING)
client = app.client()
for _ in range(3):
    asyncio.run(main())
print("end")
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_ends(program: str, where: dict[str, Any], tmp_path: Path) -> None:
    done = run(PROGRAMS[program], where, tmp_path)

    assert done.stdout.endswith("end\n")
    assert done.returncode == 0, done.stderr
    shown = [line for line in done.stderr.splitlines() if "still runs" not in line]
    assert shown == []


def test_a_client_outlives_a_loop_that_was_just_closed(
    where: dict[str, Any], tmp_path: Path
) -> None:
    """Nothing cancelled its tasks, and Python complains of that, as of any others."""
    done = run(ON_ONE_LOOP_AFTER_ANOTHER, where, tmp_path)

    assert done.stdout.endswith("end\n"), done.stderr
    assert done.returncode == 0, done.stderr


def test_a_client_is_closed_with_its_loop_without_a_warning(
    where: dict[str, Any], tmp_path: Path
) -> None:
    """The loop lets no asynchronous generator begin then; a warning is an error."""
    done = run(ONE_RUN_AFTER_ANOTHER, where, tmp_path, "-W", "error")

    assert (done.stdout, done.stderr) == ("end\n", "")


def run(
    program: str, where: dict[str, Any], tmp_path: Path, *flags: str
) -> subprocess.CompletedProcess[str]:
    plain = {name: str(value) for name, value in where.items()}
    file = tmp_path / "program.py"
    file.write_text(PROLOGUE.format(where=plain) + program)
    flags = flags or ("-W", "error", "-W", "ignore::ResourceWarning")
    return subprocess.run(
        [sys.executable, *flags, str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
