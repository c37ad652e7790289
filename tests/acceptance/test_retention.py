"""`worchflow retention`: how long what has ended is kept, and removing it now."""

from __future__ import annotations

import os
import pty
import subprocess

from tests.acceptance.conftest import Seed
from tests.command_line import Project

APP = ("--app", "shop:app")
PAY = ("process-payment", {"amount": 5})
DECLINE = ("decline-payment", {"text": "no"})
NOW = ("retention", "run", "--older-than", "0s")


def ids(project: Project) -> list[str]:
    listed = project.run("executions", "list", "-o", "json").json["executions"]
    return [each["id"] for each in listed]


def test_the_retention_of_an_app_is_shown(project: Project) -> None:
    shop = project.folder / "shop.py"
    text = shop.read_text().replace(
        'Worchflow("shop")',
        'Worchflow("shop", retention=Retention(completed="1d", cancelled=None))',
    )
    shop.write_text(f"from worchflow import Retention\n{text}")

    kept = {"completed": 86400.0, "failed": 30 * 86400.0, "cancelled": None}
    kept |= {"events": 7 * 86400.0}
    shown = project.run(*APP, "retention", "show", "-o", "json").json["retention"]
    assert {each["status"]: each["seconds"] for each in shown} == kept
    table = project.run(*APP, "retention", "show").out.splitlines()
    assert [line.split(maxsplit=1) for line in table[1:]] == [
        ["cancelled", "forever"],
        ["completed", "1 d"],
        ["failed", "30 d"],
        ["events", "7 d"],
    ]
    default = project.run("retention", "show", "-o", "jsonl").out.splitlines()
    assert '{"status": "completed", "seconds": 604800.0}' in default


def test_what_has_ended_is_removed_when_asked_for(project: Project, seed: Seed) -> None:
    seed({"order-1": PAY, "order-2": PAY, "order-3": DECLINE})

    # By its retention nothing goes yet.
    done = project.run("retention", "run", "--yes")
    assert (done.code, done.out) == (0, "0\n")
    assert len(ids(project)) == 3

    done = project.run(*NOW, "-y", "--status", "completed", "-o", "json")
    assert done.json == {"removed": 2}
    assert ids(project) == ["order-3"]
    assert "removed 2 execution(s)" in done.err
    assert project.run("executions", "show", "order-1").code == 4

    assert project.run(*NOW, "-y", "--limit", "5").out == "1\n"
    assert ids(project) == []


def test_nothing_is_removed_without_a_yes(project: Project, seed: Seed) -> None:
    seed({"order-1": PAY})

    refused = project.run(*NOW)

    assert refused.code == 2
    assert "cancelled and completed and failed executions" in refused.err
    assert "add --yes" in refused.err
    assert answer_in_terminal(project, b"n\n") == 1
    assert ids(project) == ["order-1"]
    assert answer_in_terminal(project, b"y\n") == 0
    assert ids(project) == []


def test_only_what_has_ended_can_be_meant(project: Project) -> None:
    refused = project.run(*NOW, "-y", "--status", "queued")

    assert refused.code == 2
    assert "status='queued'" in refused.err
    assert project.run("retention", "run", "--older-than", "soon").code == 2
    assert not project.database.exists()


def answer_in_terminal(project: Project, answer: bytes) -> int:
    """Run it where a person is asked; give the exit code."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        project.command(*NOW),
        cwd=project.folder,
        env=project.environment,
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    os.write(controller, answer)
    _, error = process.communicate(timeout=25)
    os.close(controller)
    assert b"Permanently remove" in error
    return process.returncode
