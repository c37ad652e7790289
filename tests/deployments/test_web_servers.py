"""Web applications under the servers that people run them with."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import httpx2
import pytest

from tests.deployments.conftest import PROGRAMS, Environment

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="gunicorn does not run here"
)

Call = Callable[[str], dict[str, str]]


@contextmanager
def served(environment: Environment, *command: str) -> Generator[Call]:
    """A server until the end of the block: it has to end with 0 when told to."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=PROGRAMS,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        text=True,
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
            with httpx2.Client(base_url=address[0], timeout=30.0) as client:

                def call(path: str) -> dict[str, str]:
                    answer = client.post(path, headers={"Connection": "close"})
                    assert answer.status_code == 200, answer.text
                    found: dict[str, str] = answer.json()
                    return found

                yield call
            server.send_signal(signal.SIGTERM)
            rest = server.communicate(timeout=30)[1]
        except BaseException:
            server.kill()
            print("".join(lines), server.stderr.read())  # noqa: T201 - shown if it fails
            raise
    assert server.returncode == 0, rest
    assert "Traceback" not in "".join(lines) + rest


GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--workers", "2", "--preload")


@pytest.mark.parametrize(
    "application",
    [
        ("flask_shop:app", "--threads", "4"),
        ("django_shop:app",),
        ("fastapi_shop:app", "-k", "uvicorn_worker.UvicornWorker"),
    ],
    ids=["flask", "django", "fastapi"],
)
def test_gunicorn_preloads(
    environment: Environment, application: tuple[str, ...]
) -> None:
    """Both of its processes answer, whatever was open before they were forked."""
    processes: set[str] = set()
    with served(environment, *GUNICORN, *application) as call:
        for number in range(100):
            answer = call(f"/orders/{number}")
            assert answer["status"] == "queued"
            processes.add(answer["process"])
            if len(processes) == 2 and number >= 5:
                break

    assert len(processes) == 2
