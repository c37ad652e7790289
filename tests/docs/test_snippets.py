"""Every Python snippet of README and docs runs and prints what it says."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, run_page, snippets

REDIS = "redis://127.0.0.1:6379/0"
MONGO = "mongodb://127.0.0.1:27017"
RUNNABLE = [path for path in PAGES if any(snippets(path, "python"))]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and its own logger, and nothing from the environment."""
    logger = logging.getLogger("worchflow.execution")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in os.environ:
        if name.startswith("WORCHFLOW_"):
            monkeypatch.delenv(name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", RUNNABLE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_snippets_of_a_page_run_and_print_what_they_say(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    replacements: dict[str, str] = {}
    if any(snippet.needs == "servers" for snippet in snippets(path)):
        mongo = request.getfixturevalue("mongo_url")
        replacements = {
            f"{MONGO}/worchflow": mongo,
            MONGO: mongo,
            REDIS: request.getfixturevalue("redis_url"),
        }

    assert run_page(path, replacements, tmp_path) > 0


def test_the_pages_with_most_promises_have_snippets() -> None:
    names = {path.name for path in RUNNABLE}

    assert {"README.md", "quickstart.md", "steps.md", "retries.md"} <= names


def test_a_snippet_that_prints_something_else_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)  # -> 3\n```\n")

    with pytest.raises(AssertionError, match=r"printed \['2'\]"):
        run_page(_inside_root(page), {}, tmp_path)


def test_a_snippet_that_raises_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nawait missing()\n```\n")

    with pytest.raises(AssertionError, match="NameError"):
        run_page(_inside_root(page), {}, tmp_path)


def test_nothing_of_a_page_is_left_behind(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n# left.py\nx = 1\n```\n```python\nimport left\n```\n")

    run_page(_inside_root(page), {}, tmp_path)

    assert "left" not in sys.modules


def _inside_root(path: Path) -> Path:
    """The page under a path that can be shown relative to the repository."""
    return ROOT / os.path.relpath(path, ROOT)
