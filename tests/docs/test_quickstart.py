"""The commands of the quickstart work, typed as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Snippet, snippets
from tests.docs.test_links import commands

PAGE = ROOT / "docs" / "quickstart.md"
SHELL = list(snippets(PAGE, "bash"))
FILES = list(snippets(PAGE, "python"))
SPAN = r"\d+(?:\.\d+)? (?:ms|s|min)\b"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the quickstart's files."""
    for snippet in FILES:
        (tmp_path / str(snippet.file)).write_text(snippet.text)
    return tmp_path


def command(beginning: str) -> list[str]:
    lines = "".join(snippet.text for snippet in SHELL).splitlines()
    return shlex.split(next(line for line in lines if line.startswith(beginning)))


def run(words: list[str], folder: Path) -> str:
    """Run a Python module, or a file, with its arguments; what it printed."""
    words = words if words[0].endswith(".py") else ["-m", *words]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WORCHFLOW_")}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def timeless(shown: str) -> list[list[str]]:
    """Its lines as words, without the moments and how long something took."""
    moments = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "MOMENT", shown)
    return [line.split() for line in re.sub(SPAN, "SPAN", moments).splitlines()]


@pytest.mark.timeout(90)
def test_an_event_is_sent_run_and_shown(folder: Path) -> None:
    assert run(command("worchflow send"), folder) == "order-16\n"
    # What the reader ends with Ctrl-C ends here when nothing is left to do.
    run([*command("worchflow worker"), "--burst"], folder)

    assert "order-16" in run(command("worchflow executions list"), folder)
    shown = run(command("worchflow executions show"), folder)
    told = next(s.text for s in snippets(PAGE, "text") if "order-16" in s.text)
    assert timeless(shown) == timeless(told)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("snippet", FILES, ids=lambda snippet: snippet.file)
def test_every_block_of_python_is_a_file_that_runs(
    snippet: Snippet, folder: Path
) -> None:
    assert snippet.file is not None
    if snippet.needs is not None:  # run where there are servers, with the whole page
        compile(snippet.text, snippet.file, "exec")
        return

    assert run([snippet.file], folder).splitlines() == snippet.printed


def test_a_command_is_named_as_it_is_found_after_the_step_before() -> None:
    is_active = False
    for words in (words for snippet in SHELL for words in commands(snippet)):
        if words == ["source", ".venv/bin/activate"]:
            is_active = True
        elif words[0] in {"pip", "python", "worchflow"}:
            assert is_active, words
        assert not words[0].startswith(".venv/bin/"), words
