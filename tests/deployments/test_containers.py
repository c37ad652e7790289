"""A worker that is the first process of a container, and is stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import Process
from tests.deployments.conftest import PROGRAMS, Environment

FIRST_PROCESS = ("unshare", "-Ur", "--fork", "--pid", "--mount-proc")
"""Runs a command with the process id 1: signals without a handler are dropped there."""


def is_there() -> bool:
    """Whether a user of this machine may do that."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*FIRST_PROCESS, "true"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.skipif(not is_there(), reason="no process namespaces here")
@pytest.mark.parametrize("environment", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("slow", "line", "left"),
    [
        ("module", "module begun", False),
        ("lifespan", "lifespan entered", True),
        ("nothing", " serves tick ", True),
    ],
)
def test_the_first_process_heeds_sigterm(
    environment: Environment, slow: str, line: str, left: bool
) -> None:
    command = (sys.executable, "-m", "worchflow", "worker", "slow_start:app")
    with subprocess.Popen(
        [*FIRST_PROCESS, *command],
        cwd=PROGRAMS,
        env=environment | {"SLOW": slow},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as popen:
        try:
            process = Process(popen)
            process.wait_for_line(line)
            (worker,) = children(popen.pid)
            os.kill(worker, signal.SIGTERM)
            ended = process.wait()
        finally:
            if popen.poll() is None:
                os.killpg(popen.pid, signal.SIGKILL)

    assert ended.code == 0, ended.err
    assert ("lifespan left" in ended.err) == left
    assert "Traceback" not in ended.err
    assert re.search("SIGTERM received", ended.err)


def children(pid: int) -> list[int]:
    """The processes that a process has started, as it sees them from outside."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(each) for each in listed.split()]
