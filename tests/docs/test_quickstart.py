"""The commands of the quickstart work, typed as they stand there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, snippets

PAGE = ROOT / "docs" / "quickstart.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the quickstart's `shop.py`."""
    for snippet in snippets(PAGE, "python"):
        if snippet.file == "shop.py":
            (tmp_path / "shop.py").write_text(snippet.text)
    return tmp_path


def command(beginning: str) -> list[str]:
    lines = "".join(snippet.text for snippet in snippets(PAGE, "bash")).splitlines()
    return shlex.split(next(line for line in lines if line.startswith(beginning)))


def run(words: list[str], folder: Path) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WORCHFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(90)
def test_an_event_is_sent_run_and_shown(folder: Path) -> None:
    assert run(command("worchflow send"), folder) == "order-16\n"
    # What the reader ends with Ctrl-C ends here when nothing is left to do.
    run([*command("worchflow worker"), "--burst"], folder)

    assert "order-16" in run(command("worchflow executions list"), folder)
    shown = run(command("worchflow executions show"), folder)
    told = next(s.text for s in snippets(PAGE, "text") if "order-16" in s.text)
    for line in told.splitlines():
        # All but how long it took.
        words = [word for word in line.split() if word not in {"0", "1", "ms"}]
        assert [word for word in words if word not in shown] == []
