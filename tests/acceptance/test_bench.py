"""`worchflow bench` on real stores: figures, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymongo
import pytest
import redis

from tests.command_line import Outcome, Project
from tests.waiting import until
from worchflow.bench.driver import Program, ProgramFailed, wait_for

LITTLE = ("bench", "--quick", "--executions", "40", "--output", "json")


def bench(project: Project, *arguments: str, **environment: str) -> Outcome:
    """Run it to its end, which takes longer than other commands do."""
    done = subprocess.run(
        project.command(*LITTLE, *arguments),
        cwd=project.folder,
        env=project.environment | environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def measured(outcome: Outcome) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The results by workload and system, each with a figure."""
    assert outcome.code == 0, outcome.err
    found = {}
    for each in outcome.json["results"]:
        assert each["values"][each["leading"]] >= 0
        assert len(each["figures"]) == 1
        found[each["workload"], each["system"]] = each
    return found


@pytest.mark.timeout(180)
def test_it_measures_the_embedded_store_beside_its_limit(project: Project) -> None:
    files = set(project.folder.iterdir())

    outcome = bench(project, "--only", "w1,W2,W7")

    found = measured(outcome)
    ours, limit = "Worchflow, SQLite, strict", "bare writes, SQLite, strict"
    assert set(found) == {
        *(("W1", ours), ("W1", limit), ("W2", ours), ("W2", limit)),
        ("W7", ours),
    }
    assert found["W1", ours]["values"]["executions/s"] > 0
    # Which is faster, and by how much, needs a quiet machine.
    assert found["W1", limit]["advantage"] > 0
    assert outcome.json["machine"]["worchflow"]
    assert "W1 queue pre-filled, run 1 of 1, Worchflow" in outcome.err
    assert set(project.folder.iterdir()) == files


@pytest.mark.redis_mongo
@pytest.mark.timeout(180)
def test_it_measures_redis_and_mongodb_and_leaves_nothing_in_them(
    project: Project, redis_url: str, mongo_url: str
) -> None:
    outcome = bench(
        project,
        *("--only", "W1,W4,W5"),
        WORCHFLOW_REDIS_URL=redis_url,
        WORCHFLOW_MONGO_URL=mongo_url,
    )

    systems = {system for _, system in measured(outcome)}
    assert systems == {
        "Worchflow, Redis + MongoDB, strict",
        "bare writes, Redis + MongoDB, strict",
    }
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter("worchflow_bench_*")) == []
    mongo: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongo_url) as mongo:
        names = mongo.list_database_names()
    assert [each for each in names if each.startswith("worchflow_bench_")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "W1,W9"), '--only names no workload "W9"'),
        (("--only", "W1,"), "has an empty name in it"),
        (("--runs", "0"), "--runs=0 must be a whole number from 1 to 1000"),
        (("--executions", "-1"), "--executions=-1 must be a whole number"),
        (("--workers", "65"), "--workers=65 must be a whole number from 1 to 64"),
        (("-c", "0"), "--concurrency=0 must be a whole number"),
        (("--durability", "some"), "durability='some' must be"),
    ],
)
def test_wrong_options_are_told_before_anything_runs(
    project: Project, arguments: tuple[str, str], message: str
) -> None:
    outcome = project.run("bench", *arguments)

    assert outcome.code == 2
    assert message in outcome.err
    assert "WF1001" in outcome.err
    assert outcome.out == ""


def test_half_of_the_servers_is_told(project: Project) -> None:
    outcome = project.run("bench", WORCHFLOW_REDIS_URL="redis://127.0.0.1:1")

    assert outcome.code == 2
    assert "WORCHFLOW_MONGO_URL is not set" in outcome.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.timeout(60)
async def test_a_signal_ends_its_programs_and_removes_its_files(
    project: Project, number: signal.Signals
) -> None:
    files = set(project.folder.iterdir())

    with project.start("bench", "--runs", "1000", "--quick") as process:
        process.wait_for_line("run 1 of 1000")
        await until(lambda: programs_of(project))
        process.send_signal(number)
        outcome = process.wait()

    assert outcome.code == 130
    assert "interrupted" in outcome.err
    # One that was just being started ends as soon as it listens.
    await until(lambda: not programs_of(project))
    assert set(project.folder.iterdir()) == files


@pytest.mark.timeout(60)
async def test_its_programs_do_not_outlive_a_bench_that_is_killed(
    project: Project,
) -> None:
    arguments = ("--quick", "--runs", "1000", "--only", "W7")
    with project.start("bench", *arguments) as process:
        process.wait_for_line("run 1 of 1000")
        process.send_signal(signal.SIGKILL)
        process.wait()

    await until(lambda: not programs_of(project))


def programs_of(project: Project) -> list[str]:
    """The running programs that measure in the project's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text().replace("\0", " ")
        except OSError:
            continue
        if "worchflow.bench.programs" in command and str(project.folder) in command:
            found.append(command)
    return found


SAYS = (
    "import sys, json, os, time; say = lambda **l: print(json.dumps(l), flush=True)\n"
)


def program(text: str) -> Program:
    return Program((sys.executable, "-c", SAYS + text), {"role": "worker"})


def test_a_program_that_fails_is_told_with_what_it_printed() -> None:
    with (
        program("sys.exit('no such table')") as failing,
        pytest.raises(ProgramFailed, match="the worker ended\nno such table"),
    ):
        failing.answer()


def test_a_program_that_cannot_be_started_is_told() -> None:
    with pytest.raises(ProgramFailed, match="cannot be started"):
        Program(("/no/such/python",), {})


def test_what_all_processes_of_a_program_complete_is_counted() -> None:
    """A library may fork workers, each of which counts its own."""
    text = """
say(ready=True)
say(done=3, last=1.5, pid=1)
print("a line for people")
say(done=2, last=2.5, pid=2)
say(done=4, last=2.0, pid=1)
input()
"""
    with program(text) as counting:
        assert counting.answer() == {"ready": True}
        assert wait_for([counting], 6) == (6, 2.5)


def test_who_is_slow_is_measured_by_what_is_complete_in_time() -> None:
    with program("say(ready=True); say(done=3, last=1.5, pid=1); input()") as slow:
        assert wait_for([slow], 1000, at_most=0.0) == (3, 1.5)
