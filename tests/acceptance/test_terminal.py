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


def plain_lines(shown: str) -> list[str]:
    """What a terminal shows, without colours."""
    return [line.rstrip() for line in COLOUR.sub("", shown).splitlines()]


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

    assert re.search(rf'^data +{{"text": "{text}"}}$', shown.out, re.MULTILINE)
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


def test_in_a_terminal_each_execution_is_one_line_and_its_short_id_is_enough(
    project: Project, seed: Seed
) -> None:
    alike = "0a0a0a0a-0000-4000-8000-00000000000"
    mine = "invoice-of-november-for-customer-17"
    pay = ("process-payment", {"amount": 5})
    seed(
        {
            "9c1b5d1e-5b0e-4c43-9d6b-0c2f2e5f1a77": pay,
            f"{alike}1": pay,
            f"{alike}2": pay,
            "order-1": ("hold-payment" * 10, {}),
            mine: pay,
        },
        run=False,
    )

    listed = run_in_terminal(project, "executions", "list", COLUMNS="80")
    piped = project.run("executions", "list").out

    header, *rows = plain_lines(listed)
    assert header.split()[:3] == ["ID", "STATUS", "EVENT"]
    shown = [row.split()[0] for row in rows]
    assert sorted(shown) == sorted(
        ["9c1b5d1e", f"{alike}1", f"{alike}2", "order-1", mine[:20]]
    )
    assert all(row.endswith(" ago") and len(row) <= 80 for row in rows)
    assert re.search(r"^order-1 +queued  hold-[\w-]*…", "\n".join(rows), re.MULTILINE)
    for short in shown:
        assert project.run("executions", "show", short, "-o", "json").code == 0
    narrow, *_ = plain_lines(
        run_in_terminal(project, "executions", "list", COLUMNS="70")
    )
    assert narrow.split() == ["ID", "STATUS", "EVENT", "CREATED"]
    assert "9c1b5d1e-5b0e-4c43-9d6b-0c2f2e5f1a77  queued" in piped
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", piped)
