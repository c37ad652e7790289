"""Web applications under the servers that people run them with."""

from __future__ import annotations

import sys

import pytest

from tests.deployments.conftest import PROGRAMS, Environment, served

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="gunicorn does not run here"
)

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
    with served(PROGRAMS, environment, *GUNICORN, *application) as call:
        for number in range(100):
            answer = call(f"/orders/{number}")
            assert answer["status"] == "queued"
            processes.add(answer["process"])
            if len(processes) == 2 and number >= 5:
                break

    assert len(processes) == 2
