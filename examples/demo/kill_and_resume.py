"""Kills a worker in the middle of an execution and shows how another goes on.

What is claimed at the end is read from a file that the steps themselves write, so
it would show a step that ran twice. Exit code 0 only if none of the recorded did.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ORDER = "order-1001"
STEPS = (
    "Reserve the item",
    "Charge the card",
    "Write the invoice",
    "Pack the parcel",
    "Post the parcel",
)
KILL_AFTER = 3
PATIENCE = 30.0

COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def paint(text: str, code: int) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text


def headline(text: str) -> None:
    print(f"\n{paint(text, 1)}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    what: str
    step: str
    pid: int
    value: str


def read_ledger(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return [Entry(what, step, int(pid), value) for what, step, pid, value in rows]


class Demo:
    """The folder of one run, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.ledger = folder / "ledger.txt"
        self.workers: list[subprocess.Popen[str]] = []
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("WORCHFLOW_")
        } | {
            "WORCHFLOW_SQLITE_PATH": str(folder / "worchflow.db"),
            "DEMO_LEDGER": str(self.ledger),
        }

    def worchflow(self, *arguments: str) -> str:
        """Run a command of the command line; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "worchflow", "--app", "shop:app", *arguments],
            cwd=HERE,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=2 * PATIENCE,
            check=True,
        )
        return done.stdout

    def show(self) -> dict[str, Any]:
        """The execution and its steps as the store has them."""
        shown: dict[str, Any] = json.loads(
            self.worchflow("executions", "show", ORDER, "-o", "json")
        )
        return shown

    def start_worker(self, name: str, colour: int) -> subprocess.Popen[str]:
        """A worker in its own process; its log appears here."""
        worker = subprocess.Popen(
            [sys.executable, "-m", "worchflow", "worker", "shop:app"],
            cwd=HERE,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )

        def relay() -> None:
            for line in worker.stderr or ():
                say(f"{paint(f'worker {name} |', colour)} {line.rstrip()}")

        threading.Thread(target=relay, daemon=True).start()
        self.workers.append(worker)
        return worker

    def end(self) -> None:
        """Let no worker outlive the demo, however it ends."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"demo: waited {PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Story:
    """What happened: from the ledger, and from the store at the kill and the end."""

    killed: int
    resumed: int
    ledger: list[Entry]
    recorded_at_kill: list[str]
    recorded_at_end: list[str]
    result: str

    def starts(self, step: str, pid: int) -> int:
        return sum((e.what, e.step, e.pid) == ("start", step, pid) for e in self.ledger)

    def cut_off(self) -> list[str]:
        """The steps that ran when the worker was killed."""
        return [
            step
            for step in STEPS
            if step not in self.recorded_at_kill and self.starts(step, self.killed)
        ]

    def verdict(self, step: str) -> str:
        """What became of one step, in words."""
        if step in self.recorded_at_kill:
            again = self.starts(step, self.resumed)
            return "RAN AGAIN" if again else "not run again: its record was read"
        if step in self.cut_off():
            return "was cut off without a record: ran again"
        return "ran for the first time"

    def broken_promises(self) -> list[str]:
        """Every promise this run broke; none is the point of the demo."""
        broken = []
        for step in STEPS:
            starts = [e for e in self.ledger if (e.what, e.step) == ("start", step)]
            if step in self.recorded_at_kill and len(starts) != 1:
                broken.append(f'"{step}" was recorded and started {len(starts)} times')
            if len(starts) > 2:  # one kill can repeat the step it cut off once
                broken.append(f'"{step}" started {len(starts)} times')
        if self.recorded_at_end != list(STEPS):
            broken.append(f"the records at the end are {self.recorded_at_end}")
        if len(self.recorded_at_kill) < KILL_AFTER:
            broken.append("the kill came before the third record")
        if not any(e.pid == self.resumed for e in self.ledger):
            broken.append("the second worker ran no step")
        done = {e.step: e.value for e in self.ledger if e.what == "done"}
        if self.result != done.get(STEPS[-1]):
            broken.append(f"the result {self.result!r} is not the last step's")
        if done.get("Charge the card", "?") not in self.result:
            broken.append("the result does not carry the payment that was made")
        return broken


def run(demo: Demo) -> Story:
    headline("1. A worker starts, and an order is sent")
    first = demo.start_worker("A", 36)
    say(f"worker A is process {first.pid}")
    demo.worchflow(
        *("send", "ship-order", "--id", ORDER, "-d", '{"item": "lamp", "price": 40}')
    )
    say(f"the event ship-order was accepted as the execution {ORDER}")

    def is_in_the_fourth() -> bool:
        fourth = STEPS[KILL_AFTER]
        return any(each.step == fourth for each in read_ledger(demo.ledger))

    # A step starts once the one before it is recorded: three are, the store will say.
    wait_until("the fourth step", is_in_the_fourth)
    first.send_signal(signal.SIGKILL)
    first.wait()
    headline("2. Worker A was killed with SIGKILL, while a step was running")
    say(f"process {first.pid} is gone, and it could tidy up nothing")
    say("this is what the store knows (worchflow executions show):\n")
    for line in demo.worchflow("executions", "show", ORDER).splitlines():
        say(paint(f"  {line}", 2))
    at_kill = [step["title"] for step in demo.show()["steps"]]

    headline("3. A second worker starts: nobody tells it about the order")
    second = demo.start_worker("B", 35)
    say(f"worker B is process {second.pid}")
    result = json.loads(
        demo.worchflow("executions", "result", ORDER, "--timeout", f"{PATIENCE}")
    )
    second.terminate()
    second.wait()
    at_end = [step["title"] for step in demo.show()["steps"]]
    ledger = read_ledger(demo.ledger)
    return Story(first.pid, second.pid, ledger, at_kill, at_end, result)


def report(story: Story) -> int:
    headline("4. What really ran: counted in the file that the steps wrote")
    columns = f"{'step':<18} {'started in A':>12} {'started in B':>12}  what B did"
    say(paint(columns, 4))
    for step in STEPS:
        first = story.starts(step, story.killed)
        second = story.starts(step, story.resumed)
        say(f"{step:<18} {first:>12} {second:>12}  {story.verdict(step)}")
    say("")
    say(f"result: {story.result}")
    broken = story.broken_promises()
    if broken:
        headline(paint("BROKEN: " + "; ".join(broken), 31))
        return 1
    count = len(story.recorded_at_kill)
    headline(
        paint(f"OK: {count} recorded steps, none of them ran twice; result right.", 32)
    )
    for step in story.cut_off():
        say(f'"{step}" was cut off before its record, so it ran again. An effect on')
        say("the outside world can happen twice there; ctx.idempotency_key() helps.")
    return 0


def main() -> int:
    headline("Worchflow: a worker dies in the middle of an order, another finishes it")
    with tempfile.TemporaryDirectory(prefix="worchflow-demo-") as folder:
        say(f"everything is kept in one SQLite file in {folder}")
        began = time.monotonic()
        demo = Demo(Path(folder))
        try:
            code = report(run(demo))
        finally:
            demo.end()
    say(paint(f"(took {time.monotonic() - began:.0f} s)", 2))
    return code


if __name__ == "__main__":
    sys.exit(main())
