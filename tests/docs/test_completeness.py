"""What the documentation promises to list, it lists completely."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import worchflow
from tests.docs import file_map
from tests.docs.pages import ROOT, snippets
from worchflow import Retry, Worchflow, WorchflowError
from worchflow.definitions.function import FunctionOptions
from worchflow.definitions.step_options import StepOptions
from worchflow.foundations import errors, steps_failed
from worchflow.foundations.limits import PayloadLimits
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.options import BackendOptions, Retention, WorkerOptions
from worchflow.model.records import Execution, StepRecord
from worchflow.worker.worcher import SharedOptions

DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "worchflow"
NAMES = {"Exception": Exception, "Retention": Retention, "SYSTEM": SYSTEM}
"""What the defaults in the tables may name."""


ROW = re.compile(r"^\| `([\w/.]+)` \|", re.MULTILINE)
FIRST_CELL = re.compile(r"^\|([^|]*)\|", re.MULTILINE)
DEFAULT = re.compile(r"^\| `(\w+)` \| `?([^|`]+?)`?(?: \([^|]*\))? \|", re.MULTILINE)
CODE = re.compile(r"^\| `(\w+)` \| (WF\d+) \|", re.MULTILINE)
PATH = re.compile(r"`((?:\w+/)+\w*(?:\.\w+)?|\w+\.py)`")


def page(name: str) -> str:
    return (DOCS / name).read_text()


def test_every_error_is_listed_with_its_code() -> None:
    rows = dict(CODE.findall(page("errors.md")))

    family = {
        name: value.code
        for name, value in (vars(errors) | vars(steps_failed)).items()
        if inspect.isclass(value) and issubclass(value, WorchflowError)
    }
    assert rows == family


def fields(kind: Any) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(kind.__annotations__)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (BackendOptions, "stores-and-configuration.md"),
        (WorkerOptions, "stores-and-configuration.md"),
        (Retention, "stores-and-configuration.md"),
        (PayloadLimits, "stores-and-configuration.md"),
        (FunctionOptions, "events-and-functions.md"),
        (StepOptions, "steps.md"),
        (Retry, "retries.md"),
    ],
)
def test_every_option_has_a_row_in_its_table(kind: Any, name: str) -> None:
    rows = set(ROW.findall(page(name)))

    assert [option for option in fields(kind) if option not in rows] == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (BackendOptions, "stores-and-configuration.md"),
        (WorkerOptions, "stores-and-configuration.md"),
        (Retention, "stores-and-configuration.md"),
        (PayloadLimits, "stores-and-configuration.md"),
        (Retry, "retries.md"),
    ],
)
def test_the_defaults_in_the_tables_are_the_real_ones(kind: Any, name: str) -> None:
    rows = dict(DEFAULT.findall(page(name)))

    for option in dataclasses.fields(kind):
        told = rows[option.name].replace(" MiB", " * 1024 * 1024")
        value = eval(told, NAMES)  # noqa: S307 - our own tables
        assert value == option.default, option.name


def test_every_argument_of_the_app_has_a_row() -> None:
    text = page("stores-and-configuration.md")
    table = text[text.index("| Argument of `Worchflow`") :].partition("\n\n")[0]
    rows = set(re.findall(r"`(\w+)`", "".join(FIRST_CELL.findall(table))))

    arguments = set(inspect.signature(Worchflow.__init__).parameters)
    arguments -= {"self", "shared"}
    arguments |= SharedOptions.__optional_keys__
    assert arguments - rows == set()


@pytest.mark.parametrize("kind", [Execution, StepRecord])
def test_every_field_of_a_record_is_explained(kind: Any) -> None:
    text = page("client.md")

    assert [name for name in fields(kind) if f"`{name}`" not in text] == []


def test_every_public_name_is_mentioned() -> None:
    text = "".join(path.read_text() for path in DOCS.rglob("*.md"))

    missing = [
        name for name in worchflow.__all__ if not re.search(rf"\b{name}\b", text)
    ]
    assert missing == ["__version__"]


def test_every_variable_of_the_environment_is_listed() -> None:
    read = set()
    for path in SOURCE.rglob("*.py"):
        read |= set(re.findall(r"WORCHFLOW_[A-Z_]+[A-Z]", path.read_text()))
    told = page("stores-and-configuration.md")
    command_line = DOCS / "command-line.md"
    if command_line.exists():
        told += command_line.read_text()

    assert {name for name in read if name not in told} == set()


def test_the_architecture_page_lists_every_file() -> None:
    assert file_map.written() == file_map.file_map(), "python -m tests.docs.file_map"


def test_the_architecture_page_names_no_file_that_is_gone() -> None:
    by_hand = page("architecture.md").replace(file_map.written(), "")
    named = set(PATH.findall(by_hand))
    folders = [
        *(SOURCE, SOURCE / "storage" / "sqlite", SOURCE / "storage" / "redis_mongo"),
        ROOT,
    ]

    gone = [name for name in named if not any((f / name).exists() for f in folders)]
    assert gone == []


def test_the_smallest_program_is_the_same_everywhere() -> None:
    example = (ROOT / "examples" / "smallest.py").read_text()
    _, _, program = example.partition("from __future__ import annotations\n\n")

    shown = next(snippets(ROOT / "README.md", "python")).text
    shown = shown.removeprefix("# shop.py\n").replace("  # -> txn-cust_1-100", "")
    assert shown == program


def test_the_version_is_in_the_changelog() -> None:
    assert f"## [{worchflow.__version__}]" in Path(ROOT, "CHANGELOG.md").read_text()
