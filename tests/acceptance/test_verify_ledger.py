"""`worchflow verify-ledger`: a user's own app, killed workers, the judge's words."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Project
from tests.waiting import until
from worchflow.ledger import Kind, Ledger, Plan, read

BANK = """
from __future__ import annotations

import asyncio
from pathlib import Path

from worchflow import Context, Event, SyncContext, Worchflow
from worchflow.ledger import LedgerMiddleware

app = Worchflow("bank", middleware=[LedgerMiddleware("ledger")])


class Transfer(Event[int], name="transfer"):
    amount: int
    gate: str


class Report(Event[int], name="report"):
    pages: int


def withdraw(amount: int) -> int:
    return amount


async def deposit(amount: int, gate: str) -> dict[str, int]:
    while not Path(gate).exists():
        await asyncio.sleep(0.01)
    return {"deposited": amount}


@app.function(Transfer, retries=2)
async def transfer(ctx: Context[Transfer]) -> int:
    amount = await ctx.step.run("Withdraw", withdraw, ctx.data.amount)
    put = await ctx.step.options(key="b").run("Deposit", deposit, amount, ctx.data.gate)
    return put["deposited"]


@app.function(Report, retries=1)
def report(ctx: SyncContext[Report]) -> int:
    pages = sum(ctx.step.run("Print", abs, n) for n in range(ctx.data.pages))
    if ctx.attempt == 1:
        raise RuntimeError("out of paper")
    return pages
"""
KILLED = ("--executions", 1, "--fault", "kill=1", "--mid-step", 1)


@pytest.fixture
def bank(project: Project) -> Project:
    """A project whose app writes a ledger, and names itself in a file."""
    project.write("bank.py", BANK)
    project.write("worchflow.toml", 'app = "bank:app"\n')
    return project


def wait_until(ledger: Path, kind: Kind, title: str, count: int = 1) -> None:
    """Wait until so many lines of a step are there."""

    def are_there() -> bool:
        lines = [line for line in read(ledger)[0] if line.kind is kind]
        return sum(line.step.startswith(title) for line in lines) >= count

    asyncio.run(until(are_there))


def test_a_users_own_app_proves_that_a_kill_lost_and_repeated_nothing(
    bank: Project,
) -> None:
    gate, ledger = bank.folder / "gate", Ledger(bank.folder / "ledger")
    data = json.dumps({"amount": 7, "gate": str(gate)})
    assert bank.run("send", "transfer", "-d", data, "--id", "t-1").code == 0
    assert bank.run("send", "report", "-d", '{"pages": 3}', "--id", "r-1").code == 0
    with bank.start("worker") as worker:
        wait_until(ledger.path, Kind.ACKED, "Print", 3)
        wait_until(ledger.path, Kind.START, "Deposit")
        with ledger.fault("kill", worker.pid):
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    ledger.calm()
    undone = bank.run("verify-ledger", "ledger", "--stores", *KILLED)
    assert undone.code == 1
    assert "VIOLATION: accepted and lost: " in undone.out

    gate.touch()
    assert bank.run("worker", "--burst").code == 0

    proved = bank.run("-o", "json", "verify-ledger", "ledger", "--stores", *KILLED)
    assert proved.code == 0, proved
    assert proved.json["passed"] is True
    assert proved.json["violations"] == proved.json["doubts"] == []
    assert proved.json["figures"]["executions accepted"] == 2
    assert proved.json["figures"]["faults: kill"] == 1
    lines, torn = read(ledger.path)
    starts = [line.step[:-9] for line in lines if line.kind is Kind.START]
    assert torn == 0
    assert sorted(starts) == [
        "Deposit",
        "Deposit",
        "Print",
        "Print",
        "Print",
        "Withdraw",
    ]

    more = bank.run("verify-ledger", "ledger", "--stores", "--fault", "kill=2")
    assert more.code == 5
    assert "PROVES NOTHING: kill: 1 hit work in progress of 2 planned" in more.out


def test_a_step_that_ran_again_without_a_fault_on_the_ledger_is_found(
    bank: Project,
) -> None:
    gate, ledger = bank.folder / "gate", Ledger(bank.folder / "ledger")
    data = json.dumps({"amount": 7, "gate": str(gate)})
    assert bank.run("send", "transfer", "-d", data, "--id", "t-1").code == 0
    with bank.start("worker") as worker:
        wait_until(ledger.path, Kind.START, "Deposit")
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    gate.touch()
    assert bank.run("worker", "--burst").code == 0
    ledger.calm()

    told = bank.run("verify-ledger", "ledger", "--stores", "--executions", 1)

    assert told.code == 1
    assert "VIOLATION: step repeated without a cause: 1" in told.out
    assert "VIOLATION: taken from a live owner: 1" in told.out
    assert "please report it with the ledger" in told.err


def plain_ledger(folder: Path) -> Ledger:
    """The smallest ledger that proves something."""
    ledger = Ledger(folder / "ledger")
    ledger.plan(Plan(executions=1))
    ledger.write(Kind.ACCEPTED, execution="e", status="completed", value=5)
    ledger.write(Kind.START, execution="e", step="a", token=1)
    ledger.write(Kind.ACKED, execution="e", step="a", token=1, value="x")
    ledger.calm()
    ledger.write(Kind.DRAINED)
    ledger.write(Kind.ENDED, execution="e", status="completed", value=5)
    return ledger


def test_a_ledger_with_its_own_plan_needs_no_option(project: Project) -> None:
    plain_ledger(project.folder)

    told = project.run("verify-ledger", "ledger")

    assert told.code == 0
    assert told.out.endswith("passed\n")
    assert told.err == ""
    assert project.run("verify-ledger", "ledger", "-o", "jsonl").out.count("\n") == 1


def test_a_broken_promise_weighs_more_than_a_doubt(project: Project) -> None:
    ledger = plain_ledger(project.folder)
    ledger.write(Kind.START, execution="e", step="a", token=1)

    told = project.run("-o", "json", "verify-ledger", "ledger", "--executions", 2)

    assert told.code == 1
    assert [each["kind"] for each in told.json["violations"]] == [
        "recorded step started again",
        "step repeated without a cause",
        "too many repeats",
    ]
    assert told.json["doubts"] == ["1 executions accepted of 2 planned"]


def test_several_files_are_one_ledger(project: Project) -> None:
    plain_ledger(project.folder)
    other = Ledger(project.folder / "other")
    other.write(Kind.START, execution="e", step="a", token=1)

    assert project.run("verify-ledger", "ledger", "other").code == 1


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("", "the ledger has 0 plans"),
        ("not a ledger\n", "1 line(s) cannot be read"),
        ('{"kind": "sta', "1 line(s) cannot be read"),
        ("\0" * 1000, "1 line(s) cannot be read"),
    ],
)
def test_a_file_that_is_no_ledger_proves_nothing(
    project: Project, text: str, doubt: str
) -> None:
    project.write("ledger", text)

    told = project.run("verify-ledger", "ledger")

    assert told.code == 5
    assert f"PROVES NOTHING: {doubt}" in told.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "FILE"),
        (("missing",), "the ledger missing cannot be read"),
        (("..",), "the ledger .. cannot be read"),
        (("ledger", "--fault", "kill"), "write it as kill=300"),
        (("ledger", "--fault", "=3"), "write it as kill=300"),
        (("ledger", "--fault", "kill=-1"), "write it as kill=300"),
        (("ledger", "--fault", "kill=1", "--fault", "kill=2"), "given twice"),
        (("ledger", "--executions", "0"), "--executions"),
        (("ledger", "--slots", "many"), "--slots"),
        (("ledger", "--drained-within", "soon"), "write it as 90s, 5m, 2h or 7d"),
        (("ledger", "ledger", "--slots", "2"), "the ledger has 2 plans"),
    ],
)
def test_wrong_input_is_told_with_the_way_out(
    project: Project, arguments: tuple[str, ...], told: str
) -> None:
    plain_ledger(project.folder)

    outcome = project.run("verify-ledger", *arguments)

    assert outcome.code == 2
    assert told in outcome.err
    assert outcome.out == ""


def test_asking_stores_that_are_away_is_told(project: Project) -> None:
    ledger = plain_ledger(project.folder)
    ledger.write(Kind.ACCEPTED, execution="f")
    urls: dict[str, Any] = {
        "WORCHFLOW_REDIS_URL": "redis://127.0.0.1:1/0",
        "WORCHFLOW_MONGO_URL": "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100",
    }

    told = project.run("verify-ledger", "ledger", "--stores", **urls)

    assert told.code == 3
    assert told.out == ""
