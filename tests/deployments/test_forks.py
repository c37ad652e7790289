"""Processes that fork: children have their own signals, locks and connections."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.conftest import PROGRAMS, ROUNDS, Environment, Run
from worchflow import Worchflow

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="this system does not fork"
)


@pytest.fixture(autouse=True, params=range(ROUNDS) if ROUNDS > 1 else None)
def _round(request: pytest.FixtureRequest) -> None:
    """Each test as often as `ROUNDS` says."""


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@LOOPS
def test_a_signal_to_a_child_of_a_step_is_the_childs(run: Run, loop: str) -> None:
    interrupted = 100 + signal.SIGINT
    expected = [-signal.SIGTERM, interrupted, -signal.SIGTERM]

    assert run("signals_of_a_child", loop) == f"{expected} None\n"


@LOOPS
def test_a_step_may_use_pools_of_forked_processes(run: Run, loop: str) -> None:
    assert run("pool_in_a_step", "fork", loop, "2") == "{28} None\n"


@pytest.mark.parametrize("environment", ["sqlite"], indirect=True)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_step_may_use_pools_of_processes(run: Run, method: str) -> None:
    assert run("pool_in_a_step", method, "asyncio", "1") == "{28} None\n"


@pytest.mark.parametrize("environment", ["sqlite"], indirect=True)
def test_a_fork_waits_for_who_is_in_a_section(run: Run) -> None:
    assert run("a_fork_waits") == "0\nentered again\n"


@pytest.mark.parametrize("environment", ["sqlite"], indirect=True)
def test_a_child_of_a_step_ends_instead_of_coming_back(run: Run) -> None:
    refused, codes = run("children_that_come_back").splitlines()

    assert 'step "In the child" was started in a forked child' in refused
    assert codes == "[3, 1, 0, 4]"


def test_clients_that_were_used_before_a_fork(run: Run) -> None:
    out = run("clients_before_a_fork")

    refused, *rest = out.splitlines()
    assert "from before the fork" in refused
    assert rest == ["child", "parent 4"]


def test_what_a_child_cannot_have_is_refused(
    run: Run, environment: Environment
) -> None:
    memory, *rest = run("what_a_child_cannot_have").splitlines()

    assert memory.startswith('refused: the database ":memory:" was opened before')
    assert rest.pop(0) == "memory 1"
    if "WORCHFLOW_REDIS_URL" in environment:
        assert rest.pop(0).startswith("refused: the clients given as redis= and db=")
    assert rest.pop(0).startswith("refused: this worker is one of the parent process")
    assert rest == ["None", "a worker in the child"]


@pytest.mark.parametrize("environment", ["sqlite"], indirect=True)
def test_no_child_keeps_the_locks_of_a_parent_that_is_killed(
    environment: Environment,
) -> None:
    program = str(PROGRAMS / "killed_while_a_child_lives.py")
    with subprocess.Popen(
        [sys.executable, program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            database = Path(environment["WORCHFLOW_SQLITE_PATH"])
            with Worchflow("shop", sqlite=database).client().sync as client:
                client.send({"name": "order", "data": 1})
                parent.kill()
                parent.wait()
                client.send({"name": "order", "data": 1})
        finally:
            os.kill(child, signal.SIGKILL)
