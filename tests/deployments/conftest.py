"""Programs of users, each in processes of its own, on both stores."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

PROGRAMS = Path(__file__).parent / "programs"
ROUNDS = int(os.environ.get("WORCHFLOW_FORK_ROUNDS", "1"))
"""How often each test of forks runs: some of what can go wrong needs bad luck."""
TIMEOUT = 60.0
"""Seconds for a program that hangs; each ends within a few."""

Environment = dict[str, str]
Run = Callable[..., str]


@pytest.fixture(params=["sqlite", "redis_mongo"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Environment:
    """What names the store to a program."""
    if request.param == "sqlite":
        store = {"WORCHFLOW_SQLITE_PATH": str(tmp_path / "worchflow.db")}
    else:
        store = {
            "WORCHFLOW_REDIS_URL": request.getfixturevalue("redis_url"),
            "WORCHFLOW_MONGO_URL": request.getfixturevalue("mongo_url"),
            "WORCHFLOW_PREFIX": request.getfixturevalue("prefix"),
        }
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WORCHFLOW_")
    }
    return others | store


@pytest.fixture
def run(environment: Environment) -> Iterator[Run]:
    """Runs a program to its end and returns what it printed.

    It fails the test unless it ends with 0. What is left of its processes is killed.
    """
    groups: list[int] = []

    def run(name: str, *arguments: str, **more: str) -> str:
        command = [sys.executable, "-W", "default", str(PROGRAMS / f"{name}.py")]
        with subprocess.Popen(
            [*command, *arguments],
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as program:
            groups.append(program.pid)
            try:
                out, err = program.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                out, err = program.communicate()
                pytest.fail(f"{name} hangs:\n{out}\n{err}")
        assert program.returncode == 0, f"{out}\n{err}"
        return out

    yield run
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue


Call = Callable[..., dict[str, Any]]


@contextmanager
def served(folder: Path, environment: Environment, *command: str) -> Generator[Call]:
    """A server until the end of the block: it has to end with 0 when told to."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as server:
        assert server.stderr is not None
        lines: list[str] = []
        try:
            address = None
            while address is None:
                line = server.stderr.readline()
                assert line, "".join(lines)
                lines.append(line)
                address = re.search(r"http://127\.0\.0\.1:\d+", line)
            # uvicorn tells its address before its processes listen.
            patient = httpx2.HTTPTransport(retries=8)
            with httpx2.Client(
                base_url=address[0], timeout=30.0, transport=patient
            ) as client:

                def call(path: str, method: str = "POST") -> dict[str, Any]:
                    answer = client.request(
                        method, path, headers={"Connection": "close"}
                    )
                    assert answer.status_code == 200, answer.text
                    found: dict[str, Any] = answer.json()
                    return found

                yield call
            server.send_signal(signal.SIGTERM)
            rest = server.communicate(timeout=30)[1]
        except BaseException:
            os.killpg(server.pid, signal.SIGKILL)
            print("".join(lines), server.stderr.read())  # noqa: T201 - shown if it fails
            raise
    assert server.returncode == 0, rest
    assert "Traceback" not in "".join(lines) + rest
