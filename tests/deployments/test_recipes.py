"""The recipes of the page about deployment: its files and commands, as they stand."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments.conftest import TIMEOUT, Environment, served
from tests.docs.pages import ROOT, snippets

PAGE = ROOT / "docs" / "deployment.md"
DJANGO = {
    "mysite/settings.py": """
from pathlib import Path

SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(Path(__file__).parent.parent / "users.db"),
    }
}
""",
    "mysite/urls.py": """
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from views import join

urlpatterns = [path("join/<str:name>", csrf_exempt(join))]
""",
    "mysite/wsgi.py": """
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()
""",
}


# The stores are the same to a program; the first recipe shows it.
on_sqlite = pytest.mark.parametrize("environment", ["sqlite"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every file of the page."""
    folder = tmp_path / "project"
    folder.mkdir()
    for snippet in snippets(PAGE, "python"):
        if snippet.file is not None:
            (folder / snippet.file).write_text(snippet.text)
    return folder


def commands(program: str) -> Iterator[list[str]]:
    """The page's command lines that begin with a word."""
    for snippet in snippets(PAGE, "bash"):
        for line in snippet.text.splitlines():
            words = shlex.split(line)
            if words[:1] == [program]:
                yield words


def command(program: str, target: str) -> list[str]:
    """The one that names a target."""
    (found,) = (words for words in commands(program) if target in words)
    return found


def finish(folder: Path, environment: Environment, *words: str) -> str:
    """Run a module to its end, which has to be 0; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def result_of(folder: Path, environment: Environment, execution: str) -> object:
    """The result of an execution, from the command line."""
    asked = ("worchflow", "executions", "result", execution, "-o", "json")
    found: object = json.loads(finish(folder, environment, *asked))["result"]
    return found


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn"])
def test_fastapi(folder: Path, environment: Environment, server: str) -> None:
    anywhere = ("--port", "0") if server == "uvicorn" else ("--bind", "127.0.0.1:0")
    with served(folder, environment, *command(server, "api:web"), *anywhere) as call:
        assert call("/orders/7")["status"] == "queued"
        assert call("/orders/7")["id"] == "order-7"
        finish(folder, environment, *command("worchflow", "api:app"), "--burst")
        answer = call("/orders/7", method="GET")
        page = call("/orders", method="GET")

    # What callers see is what the page's models list, and nothing else.
    assert answer == {
        "id": "order-7",
        "status": "completed",
        "result": "order 7 is on its way",
    }
    assert page["cursor"] is None
    assert page["items"] == [answer]


@on_sqlite
def test_flask(folder: Path, environment: Environment) -> None:
    gunicorn = command("gunicorn", "shop:web")
    with served(folder, environment, *gunicorn, "--bind", "127.0.0.1:0") as call:
        assert call("/orders/7") == {"id": "order-7", "status": "queued"}
    finish(folder, environment, *command("worchflow", "shop:app"), "--burst")

    assert result_of(folder, environment, "order-7") == "order 7 is on its way"


@on_sqlite
def test_django(folder: Path, environment: Environment) -> None:
    (folder / "mysite").mkdir()
    for name, text in DJANGO.items():
        (folder / name).write_text(text)
    # As a shell of the user: each process has to find its settings by itself.
    environment = {k: v for k, v in environment.items() if not k.startswith("DJANGO_")}
    migrate = ("django", "migrate", "--settings", "mysite.settings")
    finish(folder, environment, *migrate, "--verbosity", "0")
    gunicorn = command("gunicorn", "mysite.wsgi:application")

    with served(folder, environment, *gunicorn, "--bind", "127.0.0.1:0") as call:
        joined = call("/join/ada")["id"]
    finish(folder, environment, *command("worchflow", "flows_worker:app"), "--burst")

    assert result_of(folder, environment, joined) == "welcome ada"


@on_sqlite
def test_process_pools(folder: Path, environment: Environment) -> None:
    assert list(commands("python")) == [["python", "pools.py"]]

    assert finish(folder, environment, "pools") == "14\n"


def services() -> Iterator[list[str]]:
    """What a container and systemd start."""
    (dockerfile,) = (snippet.text for snippet in snippets(PAGE, "dockerfile"))
    (unit,) = (snippet.text for snippet in snippets(PAGE, "ini"))
    started, run = re.search(r"^CMD (.*)$", dockerfile, re.MULTILINE), None
    run = re.search(r"^ExecStart=\S*/(.*)$", unit, re.MULTILINE)
    assert started is not None
    assert run is not None
    yield json.loads(started[1])
    yield shlex.split(run[1])


@on_sqlite
@pytest.mark.parametrize("words", list(services()), ids=["container", "systemd"])
def test_what_a_service_starts_ends_in_order_when_it_is_told_to(
    folder: Path, environment: Environment, words: list[str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stderr is not None
        lines = [worker.stderr.readline()]
        while " serves " not in lines[-1]:
            assert lines[-1], "".join(lines)
            lines.append(worker.stderr.readline())
        worker.send_signal(signal.SIGTERM)
        rest = worker.communicate(timeout=TIMEOUT)[1]

    assert worker.returncode == 0, rest
    assert "worker stopped" in rest
