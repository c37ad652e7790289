"""What a terminal gets: colour only there, nothing hostile, `--help` at once."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

from tests.acceptance.conftest import Seed
from tests.command_line import Project
from worchflow import __version__

COLOUR = re.compile(r"\x1b\[[0-9;]+m")


def run_in_terminal(project: Project, *arguments: str, **environment: str) -> str:
    """Run a command whose stdout and stderr are a terminal; give what it showed."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        project.command(*arguments),
        cwd=project.folder,
        env=project.environment | {"TERM": "xterm-256color"} | environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(controller, 65536):
            shown += chunk
    except OSError:  # the last writer has closed it
        pass
    finally:
        os.close(controller)
        process.wait(timeout=25)
    return shown.decode()


def test_colour_is_for_terminals_that_want_it(project: Project, seed: Seed) -> None:
    seed({"order-1": ("process-payment", {"amount": 5})})
    list_them = ("executions", "list")

    assert COLOUR.search(run_in_terminal(project, *list_them))
    assert "\x1b" not in run_in_terminal(project, *list_them, NO_COLOR="1")
    assert "\x1b" not in run_in_terminal(project, *list_them, TERM="dumb")
    assert "\x1b" not in project.run(*list_them).out


def test_an_error_is_coloured_only_in_a_terminal(project: Project) -> None:
    show = ("executions", "show", "no-such-order")

    assert COLOUR.search(run_in_terminal(project, *show))
    assert "\x1b" not in run_in_terminal(project, *show, NO_COLOR="1")


def test_no_stored_text_reaches_the_terminal_as_a_command(
    project: Project, seed: Seed
) -> None:
    hostile = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
    seed({"declined-1": ("decline-payment", {"text": hostile})})

    shown = "".join(
        run_in_terminal(project, "executions", *command, NO_COLOR="1")
        for command in (
            ("show", "declined-1"),
            ("show", "declined-1", "-o", "json"),
            ("list", "-o", "jsonl"),
            ("result", "declined-1"),
        )
    )

    assert "NonRetryable" in shown
    assert all(each.isprintable() or each in "\r\n\t" for each in shown)


def test_a_narrow_pipe_shortens_nothing(project: Project, seed: Seed) -> None:
    text = "a very long text " * 40
    seed({"declined-1": ("decline-payment", {"text": text})})

    shown = project.run("executions", "show", "declined-1", COLUMNS="40")
    listed = project.run("executions", "list", COLUMNS="40")

    assert f'data      {{"text": "{text}"}}\n' in shown.out
    assert len(listed.out.splitlines()) == 2


def test_a_reader_that_has_enough_ends_the_command_quietly(
    project: Project, seed: Seed
) -> None:
    seed(
        {f"order-{n}": ("process-payment", {"amount": n}) for n in range(3)}, run=False
    )
    reader, writer = os.pipe()
    os.close(reader)

    listed = subprocess.run(
        project.command("executions", "list"),
        cwd=project.folder,
        env=project.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=25,
        check=False,
    )
    os.close(writer)

    assert listed.returncode == 141
    assert listed.stderr == ""


def test_help_and_version_load_no_driver(project: Project) -> None:
    code = (
        "import sys; sys.argv = ['worchflow', '--help']\n"
        "from worchflow.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    drivers = {'pymongo', 'redis', 'bson', 'sqlite3', 'rich'}\n"
        "    print('loaded', *drivers & set(sys.modules), file=sys.stderr)\n"
    )
    helped = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )

    assert helped.returncode == 0
    assert helped.stderr == "loaded\n"
    assert "executions" in helped.stdout
    assert project.run("--version").out == f"worchflow {__version__}\n"


def test_a_mistyped_command_is_refused_with_the_right_one(project: Project) -> None:
    refused = project.run("executons")

    assert refused.code == 2
    assert "Did you mean 'executions'?" in refused.err
