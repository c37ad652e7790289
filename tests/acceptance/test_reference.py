"""`docs/command-line.md` knows every command, option, exit code and JSON field."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from tests.acceptance.conftest import Seed
from tests.command_line import Project
from worchflow import WaitRecord
from worchflow.cli import failures
from worchflow.cli.settings import KINDS, variable

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
COMMANDS = (
    *("worker", "send", "emit", "executions list", "executions show"),
    *("executions result", "executions retry", "executions cancel"),
    "verify-ledger",
    *("retention show", "retention run", "migrate", "bench", "config show"),
)
SHARED = {"--app", "--output", "--help"}


def section(heading: str) -> str:
    """The text under one heading."""
    found = re.search(
        rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found is not None, heading
    return found[1]


def fields(heading: str, of: str = "Field") -> list[str]:
    """The names in the first column of the table under a heading that begins so."""
    _, _, table = section(heading).partition(f"| {of} |")
    rows = re.findall(r"^\| (`.*?) \|", table.partition("\n\n")[0], re.MULTILINE)
    return re.findall(r"`(\w+)`", " ".join(rows))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_its_place_in_the_reference(
    project: Project, command: str
) -> None:
    helped = project.run(*command.split(), "--help", COLUMNS="200")
    options = set(re.findall(r"^ +.*?(--[a-z-]+)", helped.out, re.MULTILINE))

    assert helped.code == 0
    assert SHARED & options
    text = section(command)
    assert {each for each in options - SHARED if each not in text} == set()
    assert f"[`{command}`]" in PAGE


def test_every_exit_code_is_explained() -> None:
    listed = {int(n) for n in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}

    used = {code for _, code in failures.EXIT_CODES}
    used |= {failures.INTERNAL, failures.TIMED_OUT, failures.INTERRUPTED, 0, 141}
    assert listed == used


def test_every_setting_is_listed() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \|", section("Configuration"), re.MULTILINE
    )

    assert rows == [(name, variable(name)) for name in KINDS]


def test_the_json_shapes_are_the_documented_ones(project: Project, seed: Seed) -> None:
    seed({"order-0001": ("process-payment", {"amount": 5})})
    asked = {
        "executions list": ("executions", "list"),
        "executions result": ("executions", "result", "order-0001"),
        "executions cancel": ("executions", "cancel", "held-0001"),
        "send": (
            *("send", "process-payment", "-d", '{"amount": 5, "customer": "ada"}'),
            *("--id", "order-0001", "--wait"),
        ),
        "config show": ("config", "show"),
    }
    seed({"held-0001": ("hold-payment", {"gate": "x"})}, run=False)

    for heading, arguments in asked.items():
        printed = project.run(*arguments, "-o", "json")
        block = re.search(r"```json\n(.*?)\n```", section(heading), re.DOTALL)
        assert block is not None
        documented = json.loads(block[1])
        assert list(printed.json) == list(documented), heading
    shown = project.run("executions", "show", "order-0001", "-o", "json").json
    setting = project.run("config", "show", "-o", "json").json["settings"][0]
    more = ["waiting", "steps", "waits", "children"]
    assert list(shown) == [*fields("An execution in JSON"), *more]
    step_fields = fields("executions show", "Field of a step")
    assert list(shown["steps"][0]) == step_fields
    waits = [each.name for each in dataclasses.fields(WaitRecord)]
    assert waits[1:] == fields("executions show", "Field of a wait")
    assert f'"{next(iter(setting))}": ' in section("config show")
